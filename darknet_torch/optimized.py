"""Network -> the same answers, sooner: batch norm folded, weights packed once, compiled on request.

What costs the plain network its time on a CPU: every call brings all weights into the blocked
layout that oneDNN computes in, and each activation is another pass over memory. Packed weights and
activations inside the product remedy both without a compiler; Inductor does the same and fuses
what is left, for some seconds (per size of input) of compiling.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from importlib import import_module, util
from typing import Literal, cast

import torch
from torch import Tensor, nn

from darknet_torch.errors import DarknetWarning, UsageError
from darknet_torch.fold import fold
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network
from darknet_torch.packed import Cast, packed
from darknet_torch.winograd import with_winograd

__all__ = ["Optimized", "optimize"]

Dtype = Literal["float32", "bfloat16", "float16"]
Outputs = Tensor | tuple[Tensor, ...]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
PATIENCE = 16
"""How often another shape of input than the first must come before it is compiled too."""
MOST_SHAPES = 8
"""How many shapes are compiled, each with its copy of the weights; others run as without."""
LONG_SUM = 288
"""A sum of so many products is long: 32 channels of 3 x 3. bfloat16's errors of 0.4 % cancel in it.
"""
MOSTLY_LONG = 0.9
"""Share of long sums from which on a network is computed in bfloat16 throughout.

In networks of fewer channels the short sums would move the boxes; in float32 they do not."""


def optimize(
    network: Network,
    *,
    dtype: Dtype = "float32",
    compile: bool = True,  # noqa: A002
    memory_format: Literal["channels_last", "contiguous"] | None = None,
) -> "Optimized":
    """Return a copy of a network for inference only, faster, with the same raw maps in float32.

    dtype: what is computed in; float16 and bfloat16 want a processor that has them. In networks of
        few channels, such as mobilenets, bfloat16 is for long sums only, the rest is float32.
    compile: let Inductor compile, at the first call (5 to 40 s); where no C++ compiler is
        installed there is one DarknetWarning, and all is as with False. The first shape of input
        is compiled at once, another when it has come often, the rest runs as with False.
    memory_format: None is the faster one, channels_last.

    On a GPU every shape is a CUDA graph, recorded at its first call. Networks with recurrent
    layers only get their batch norm folded; they keep their state from call to call.
    Raises UsageError for an unknown dtype or memory_format, or a network without values.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype}: must be one of {', '.join(DTYPES)}")
    if memory_format is not None and memory_format not in FORMATS:
        raise UsageError(f"memory_format={memory_format}: must be one of {', '.join(FORMATS)}")
    layout = FORMATS[memory_format or "channels_last"]
    folded = fold(network)
    if dtype == "bfloat16" and not folded.stateful and _share_of_long_sums(folded) < MOSTLY_LONG:
        _let_long_sums_be_bfloat16(folded)
    else:
        folded.to(DTYPES[dtype])
    for parameter in folded.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    compiled = compile and not folded.stateful and _can_compile(folded)
    return Optimized(folded, layout, DTYPES[dtype], compiled=compiled)


class Optimized(nn.Module):
    """A network that only computes; make it with `optimize`. It stands wherever a Network does.

    plan, names, input_size: those of the network; dtype: what it computes in; compiles: whether
    Inductor compiles it.
    """

    def __init__(
        self, folded: Network, layout: torch.memory_format, dtype: torch.dtype, *, compiled: bool
    ) -> None:
        super().__init__()
        self.plan, self.names, self.layout, self.dtype = folded.plan, folded.names, layout, dtype
        first = next(folded.parameters(), torch.empty(0))
        self.device, self._takes = first.device, first.dtype
        self.compiles = compiled
        # Inductor packs by itself: it must see plain convolutions, not those packed already.
        plain = self.compiles or folded.stateful or self.device.type == "cuda"
        self.network = folded if plain else packed(folded, layout)
        self._fixed: dict[tuple[int, ...], Callable[[Tensor], Outputs]] = {}
        self._seen: Counter[tuple[int, ...]] = Counter()
        self.eval()

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input that the cfg asks for, in pixels."""
        return self.plan.input.w, self.plan.input.h

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Outputs:
        """Compute what `Network.forward` does: (B, channels, H, W) in 0..1 -> float32 raw maps."""
        x, _ = self.network.check(x)
        x = x.to(self.device, self._takes)
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.layout)
        found = self._runner(x)(x)
        return found.float() if isinstance(found, Tensor) else tuple(y.float() for y in found)

    def reset(self) -> None:
        """Forget the state of recurrent layers."""
        self.network.reset()

    def _runner(self, x: Tensor) -> Callable[[Tensor], Outputs]:
        """Return what computes inputs of this shape, made now if its time has come."""
        shape = tuple(x.shape)
        wanted = self.compiles or self.device.type == "cuda"
        if not wanted or self.network.stateful or shape in self._fixed:
            return self._fixed.get(shape, self._any_shape)
        self._seen[shape] += 1
        due = not self._fixed or self.device.type == "cuda" or self._seen[shape] >= PATIENCE
        if not due or len(self._fixed) >= MOST_SHAPES:
            return self._any_shape
        return self._made(x)

    @cached_property
    def _any_shape(self) -> Network:
        """What computes the shapes that nothing was made for."""
        return packed(self.network, self.layout) if self.compiles else self.network

    def _made(self, x: Tensor) -> Callable[[Tensor], Outputs]:
        run: Callable[[Tensor], Outputs] = self.network
        if self.compiles:
            try:
                run = _compiled(with_winograd(self.network), x)
            except _compiler_errors() as error:
                first = str(error).strip().splitlines()[0]
                warnings.warn(f"not compiled: {first}", DarknetWarning, stacklevel=5)
                run, self.compiles = self._any_shape, False
        self._fixed[tuple(x.shape)] = _CudaGraph(run, x) if x.is_cuda else run
        return self._fixed[tuple(x.shape)]


class _CudaGraph:
    """One recorded pass for one shape of input: a single launch instead of one a kernel."""

    def __init__(self, run: Callable[[Tensor], Outputs], x: Tensor) -> None:
        self.x = x.clone()
        aside = torch.cuda.Stream(x.device)
        aside.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(aside):  # the first calls choose algorithms and take memory
            for _ in range(3):
                run(self.x)
        torch.cuda.current_stream(x.device).wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.y = run(self.x)

    def __call__(self, x: Tensor) -> Outputs:
        """Run again; copies, since the next run writes over this one's results."""
        self.x.copy_(x)
        self.graph.replay()
        return self.y.clone() if isinstance(self.y, Tensor) else tuple(y.clone() for y in self.y)


def _share_of_long_sums(network: Network) -> float:
    """Return by operations how much of a network's convolutions are long sums."""
    flops = {True: 0, False: 0}
    for node, layer in zip(network.plan, network.layers, strict=True):
        if isinstance(layer, ConvBlock):
            flops[_is_long(layer)] += node.layer.flops(*node.input_shapes)
    return flops[True] / max(1, sum(flops.values()))


def _is_long(layer: nn.Module) -> bool:
    return isinstance(layer, ConvBlock) and layer.conv.weight[0].numel() >= LONG_SUM


def _let_long_sums_be_bfloat16(network: Network) -> None:
    for index, layer in enumerate(network.layers):
        if next(layer.parameters(), None) is not None:
            dtype = torch.bfloat16 if _is_long(layer) else torch.float32
            network.layers[index] = Cast(layer, dtype)


def _compiled(network: Network, x: Tensor) -> Callable[[Tensor], Outputs]:
    """Compile for x's shape, weights frozen; settings are those of before when it returns."""
    inductor = import_module("torch._inductor.config")
    dynamo = import_module("torch._dynamo.config")
    run: Callable[[Tensor], Outputs] = torch.compile(network, fullgraph=True, dynamic=False)
    # One function is compiled for all networks of a process, hence the limit.
    with inductor.patch(freezing=True), dynamo.patch(recompile_limit=1024):
        run(x)
    return run


def _compiler_errors() -> type[Exception]:
    return cast(type[Exception], import_module("torch._dynamo.exc").TorchDynamoException)


def _can_compile(network: Network) -> bool:
    """Say whether what Inductor needs is installed; DarknetWarning if not."""
    if next(network.parameters(), torch.empty(0)).is_cuda:
        missing = "" if util.find_spec("triton") else "no triton"
    else:
        missing = "" if _has_cpp_compiler() else "no C++ compiler"
    if missing:
        warnings.warn(f"not compiled: {missing} is installed", DarknetWarning, stacklevel=3)
    return not missing


def _has_cpp_compiler() -> bool:
    builder, errors = (import_module(f"torch._inductor.{name}") for name in ("cpp_builder", "exc"))
    try:
        return bool(builder.get_cpp_compiler())
    except errors.InvalidCxxCompiler:
        return False
