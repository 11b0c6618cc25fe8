"""Network -> the same outputs, faster: batch norm folded, weights packed once, compiled on request.

On a CPU, a plain network spends time on converting all weights to the blocked layout of oneDNN at
every call, and on another pass over memory for each activation. Packed weights and activations
fused into the convolutions avoid both without a compiler; Inductor fuses the operations between
convolutions, for some seconds (per size of input) of compiling. Networks of tiny layers are
compiled by oneDNN itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor

from darknet_torch.errors import UsageError, warn
from darknet_torch.exporters.calibration_options import Calibration
from darknet_torch.layers.traced import is_jit_traced, is_symbolic
from darknet_torch.network import Network, Runnable, as_network
from darknet_torch.network.cuda_graph import CudaGraph
from darknet_torch.network.float32 import Products, float32_products
from darknet_torch.network.folding import fold
from darknet_torch.network.network import RawNetwork
from darknet_torch.speed.card_conv import choose_splits
from darknet_torch.speed.dtypes import (
    DTYPES,
    Dtype,
    computed_in,
    layer_dtypes,
    run_sample,
    type_name,
    warn_if_rough,
)
from darknet_torch.speed.freed_memory import keep_freed_memory
from darknet_torch.speed.inductor import Outputs, can_compile, compiled_for
from darknet_torch.speed.int8_conv import Quantization
from darknet_torch.speed.onednn_graph import graph_of, has_tiny_layers
from darknet_torch.speed.packed_layers import between_float32, packed
from darknet_torch.speed.winograd import WinogradConv

__all__ = ["Dtype", "Optimized", "optimize"]

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
PATIENCE = 16
"""Number of calls after which a shape of input other than the first is compiled too."""
UNCOMPILED = (RuntimeError, ImportError, AttributeError, TypeError)
"""Errors of the compiler, and of parts without public names, which torch may lack."""
MOST_SHAPES = 8
"""Most shapes that are compiled; others run without."""


def optimize(
    network: Runnable,
    *,
    dtype: Dtype = "float32",
    compile: bool = True,  # noqa: A002
    memory_format: Literal["channels_last", "contiguous"] | None = None,
    calibration: Calibration | str | PathLike[str] | None = None,
) -> "Optimized":
    """Return a copy of a network for inference only, faster, with the same raw maps in float32.

    On a GPU every shape of input is a CUDA graph, recorded at its first call. Networks with
    recurrent layers only get their batch norm folded; they keep their state from call to call.
    On Linux the process then keeps the memory that it frees (`speed.freed_memory`).

    Args:
        network: a Network with values.
        dtype: the type that it computes in. Where the processor does not multiply float16 or
            bfloat16 there is one DarknetWarning, and it is float32, which is faster there than an
            emulation. In networks of few channels, such as mobilenets, bfloat16 is for long sums
            only; layers whose values come near the end of float16 stay in float32. If the outputs
            for the sample image are far from those in float32, a DarknetWarning names the layer.
            "tf32" is float32 whose factors a graphics card may round to 10 bits of mantissa.
            "int8": convolutions multiply in 8 bits, but for the first, those before heads, and
            those that would cost more than `Calibration.max_drop` points of mAP; on processors
            with VNNI or AMX.
        compile: let Inductor compile, at the first call (5 to 50 s); where no C++ compiler is
            installed there is one DarknetWarning, and all is as with False. The first shape of
            input is compiled at once, another when it has come often, the rest runs as with False.
            Networks of tiny layers need neither: oneDNN compiles them on a CPU, in a second; with
            False, the shapes that have come often.
        memory_format: layout of maps and weights; None is the faster one, channels_last.
        calibration: for int8: a data set, or images without labels (then what is lost is not
            measured). A `Calibration` has more to choose.

    Returns:
        A network that detects, classifies and evaluates like the one given.

    Raises:
        UsageError: an unknown dtype or memory_format, a network without values, no Network, or
            int8 without calibration.
        DataError: no image that can be used for calibration.
    """
    network = as_network(network)
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype}: must be one of {', '.join(DTYPES)}")
    if memory_format is not None and memory_format not in MEMORY_FORMATS:
        raise UsageError(
            f"memory_format={memory_format}: must be one of {', '.join(MEMORY_FORMATS)}"
        )
    if calibration is not None and dtype != "int8":
        raise UsageError(f"calibration: for dtype=int8 only, not {dtype}")
    keep_freed_memory()
    layout = MEMORY_FORMATS[memory_format or "channels_last"]
    folded = fold(network, copy=True)
    for parameter in folded.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    kind = computed_in(folded, dtype)
    sample = None if kind == torch.float32 else run_sample(folded)
    dtypes = [kind] * len(folded.plan) if sample is None else layer_dtypes(folded, kind, sample)
    if sample is not None and not folded.stateful and set(dtypes) == {torch.float32}:
        warn(f"{dtype}: no layer of this network is computed in it, all are in float32")
        kind, sample = torch.float32, None
    int8: dict[int, Quantization] = {}
    if dtype == "int8":
        from darknet_torch.speed.int8 import quantizations_for  # with data sets and scores

        int8 = quantizations_for(folded, calibration, layout)
    tiny = kind != torch.float16 and not int8 and has_tiny_layers(folded)
    compiled = compile and not folded.stateful and (tiny or can_compile(folded.device))
    products: Products = "tf32" if dtype == "tf32" and folded.device.type == "cuda" else "ieee"
    how = {"compiled": compiled, "tiny": tiny}
    optimized = Optimized(folded, layout, kind, dtypes, products=products, int8=int8, **how)
    if sample is not None:
        rough = run_sample(optimized.network, optimized.input_dtype)
        warn_if_rough(rough, sample, folded.plan, kind)
    return optimized


class Optimized(RawNetwork):
    """A network for inference only, made by `optimize`; it is `Runnable`, like a Network.

    Attributes:
        plan: that of the network.
        names: of its classes.
        dtype: the type that it computes in, but for `int8_layers`.
        int8_layers: the layers whose convolutions multiply in 8 bits.
        compiles: whether it is compiled at its first call.
        one_by_one: whether it runs the images of a batch one at a time, as Winograd's convolutions
            of a single one stay in the cache.
    """

    def __init__(
        self,
        folded: Network,
        layout: torch.memory_format,
        dtype: torch.dtype,
        dtypes: Sequence[torch.dtype],
        *,
        compiled: bool,
        tiny: bool = False,
        products: Products = "ieee",
        int8: Mapping[int, Quantization] | None = None,
    ) -> None:
        super().__init__()
        self.plan, self.names, self.layout, self.dtype = folded.plan, folded.names, layout, dtype
        self.device, self.products = folded.device, products
        self.compiles, self.int8_layers = compiled, tuple(int8 or {})
        self._graph_of = partial(graph_of, between_float32(folded, dtypes)) if tiny else None
        if folded.stateful:
            self.network = folded.to(dtype)
        else:
            fuses = compiled and not tiny
            self.network = packed(folded, dtypes, layout, compiled=fuses, quantizations=int8)
        self.one_by_one = any(isinstance(each, WinogradConv) for each in self.network.layers)
        self.input_dtype = dtype if folded.stateful else torch.float32
        reading = {dtypes[node.index] for node in folded.plan if -1 in node.inputs}
        on_card = self.device.type == "cuda" and len(reading) == 1
        self.read_dtype = reading.pop() if on_card else torch.float32
        self._runners: dict[tuple[int, ...], Callable[[Tensor], Outputs]] = {}
        self._calls: Counter[tuple[int, ...]] = Counter()
        self._lock = Lock()
        self.eval()

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle it without its programs, which are made again when they are needed."""
        return self.__dict__ | {"_runners": {}, "_calls": Counter(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = Lock()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Optimized":
        """Refuse to move: `to`, `half`, `cuda` and their kind all come here."""
        here = torch.empty(0, dtype=self.dtype, device=self.device)
        there = fn(here)
        if (there.dtype, there.device) != (here.dtype, here.device):
            raise UsageError(
                f"an optimized network stays on {here.device} and in {type_name(here.dtype)}; for"
                f" {there.device} and {type_name(there.dtype)}, optimize the Network again"
            )
        return self

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call it at once, and gain."""
        return self.device.type == "cpu" and not self.network.stateful

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Outputs:
        """Compute what `Network.forward` does: (B, channels, H, W) in 0..1 -> float32 raw maps."""
        if is_symbolic(x) or is_jit_traced():
            raise UsageError("an optimized network cannot be traced; trace or export its Network")
        x, _ = self.network.check(x)
        x = x.to(self.device, self.input_dtype)
        if self.one_by_one and len(x) > 1:
            outputs = [self._outputs(image) for image in x.split(1)]
            joined = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
        else:
            joined = self._outputs(x)
        return joined if self.plan.heads else joined[0]

    def _outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        run = self._runners.get(tuple(x.shape))
        if isinstance(run, CudaGraph):  # which has recorded how it multiplies, and copies x
            return tuple(y.to(torch.float32, copy=True) for y in run(x))
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.layout)
        with float32_products(self.device, self.products):
            outputs = (run or self._without_runner())(x)
        copies = isinstance(self._runners.get(tuple(x.shape)), CudaGraph)
        return tuple(y.to(torch.float32, copy=copies) for y in _as_tuple(outputs))

    def _without_runner(self) -> Callable[[Tensor], Outputs]:
        compiles = self.compiles or self._graph_of is not None or self.device.type == "cuda"
        makes = compiles and not self.network.stateful
        return self._run_locked if makes else self.network

    def reset(self) -> None:
        """Forget the state of recurrent layers."""
        self.network.reset()

    def _run_locked(self, x: Tensor) -> Outputs:
        """Run a shape without a program, or make one; Inductor: one thread, see `compiled_for`."""
        with self._lock:
            run = self._runner(x)
            if self._graph_of is None:
                return run(x)
        return run(x)

    def _runner(self, x: Tensor) -> Callable[[Tensor], Outputs]:
        """Return the function for inputs of this shape, made now if it has been called often."""
        shape = tuple(x.shape)
        if shape in self._runners:  # by the thread before
            return self._runners[shape]
        self._calls[shape] += 1
        at_once = self.device.type == "cuda" or (self.compiles and not self._runners)
        due = at_once or self._calls[shape] >= PATIENCE
        if not due or len(self._runners) >= MOST_SHAPES:
            return self.network
        return self._make_runner(x)

    def _make_runner(self, x: Tensor) -> Callable[[Tensor], Outputs]:
        run: Callable[[Tensor], Outputs] = self.network
        if x.is_cuda:
            choose_splits(self.network, x.to(self.read_dtype))
        if self._graph_of is not None:
            try:
                run = self._graph_of(x)
            except RuntimeError:  # from now on it is a network as any other
                self._graph_of = None
        if self._graph_of is None and self.compiles:
            try:
                run = compiled_for(self.network, x.to(self.read_dtype))
            except UNCOMPILED as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                warn(f"not compiled: {first}")
                self.compiles = False
        if x.is_cuda:
            own = torch.empty_like(x, dtype=self.read_dtype).copy_(x)  # in its memory format
            run = CudaGraph(lambda x, run=run: _as_tuple(run(x)), [own])
        self._runners[tuple(x.shape)] = run
        return run


def _as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
