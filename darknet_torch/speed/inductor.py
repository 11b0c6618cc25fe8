"""Programs that Inductor compiles for one shape of input, with oneDNN's packed convolutions."""

from collections.abc import Callable, Sequence
from importlib import import_module, util

import torch
from torch import Tensor, nn

from darknet_torch.errors import warn
from darknet_torch.safety.subprocesses import without_current_folder
from darknet_torch.speed.card_graph import for_a_card
from darknet_torch.speed.onednn import PackedConv, register_lowering, tracing

__all__ = ["Outputs", "can_compile", "compiled_for", "trace"]

Outputs = Tensor | tuple[Tensor, ...]

MOST_READS = 3
"""What reads more values, such as a maximum of 2 x 2, is computed once for all its uses; Inductor's
default is 4."""
SETTINGS = {
    "freezing": True,
    "realize_reads_threshold": MOST_READS,
    "cpp.dynamic_threads": True,  # as many as the caller has
    "size_asserts": False,  # packed weights have other strides than their stand-ins
    "fx_graph_cache": False,  # its keys know packed convolutions by number only
}
"""Of Inductor, while it compiles."""


def compiled_for(network: nn.Module, x: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Compile a network for one shape of input, with its constants frozen.

    Inductor's settings are restored afterwards. Packed weights are inputs of the program, as their
    layout depends on the number of threads of the caller. On a CPU the program is one call into
    C++, which releases the GIL, without the guards of torch.compile, which take as long as a layer.

    Tracing changes how modules are called in the whole process: while it runs, no other thread may
    call this network.

    Args:
        network: its modules may have a `PackedConv` as `conv`.
        x: an input of that shape, on the network's device.

    Returns:
        A function from such an input to a tuple of outputs.
    """
    inductor, config = import_module("torch._inductor"), import_module("torch._inductor.config")
    convs = _packed_convs(network)
    inputs = (x, *(_stand_in(conv, x.device) for conv in convs))
    register_lowering()
    settings = SETTINGS | {"cpp_wrapper": x.device.type == "cpu"}
    with torch.no_grad(), config.patch(settings), without_current_folder():
        graph = trace(network, convs, inputs)
        graph = for_a_card(graph) if x.is_cuda else graph
        run = inductor.compile(graph, list(inputs))
    weights: dict[int, list[Tensor]] = {}  # by the number of threads

    def call(x: Tensor) -> tuple[Tensor, ...]:
        threads = torch.get_num_threads()
        if threads not in weights:
            weights[threads] = [conv.weight(conv.traced_shape) for conv in convs]
        return tuple(run(x, *weights[threads]))

    return call


def _packed_convs(network: nn.Module) -> list[PackedConv]:
    """Return the packed convolutions of a network, in its order."""
    convs = (getattr(module, "conv", None) for module in network.modules())
    return [conv for conv in convs if isinstance(conv, PackedConv)]


def trace(
    network: nn.Module, convs: Sequence[PackedConv], inputs: tuple[Tensor, ...]
) -> torch.fx.GraphModule:
    """Return the graph of a network: its input and packed weights -> a tuple of tensors.

    Args:
        network: the network.
        convs: its packed convolutions.
        inputs: its input, and a stand-in for the weights of each of `convs`.
    """
    graph = torch.export.export(_WithWeights(network, convs), inputs).module()
    graph.graph.set_codegen(torch.fx.graph.CodeGen())  # no lists and tuples to take apart
    graph.recompile()
    return graph


class _WithWeights(nn.Module):
    """A network that takes stand-ins for its packed weights as further inputs."""

    def __init__(self, network: nn.Module, convs: Sequence[PackedConv]) -> None:
        super().__init__()
        self.network, self.keys = network, [conv.key for conv in convs]

    def forward(self, x: Tensor, *weights: Tensor) -> Outputs:
        with tracing(dict(zip(self.keys, weights, strict=True))):
            outputs: Outputs = self.network(x)
        return outputs


def _stand_in(conv: PackedConv, device: torch.device) -> Tensor:
    """Return a tensor of the weights' size; its values are never read."""
    empty = torch.empty(conv.size, dtype=conv.dtype, device=device)
    return empty.contiguous(memory_format=conv.layout)


def can_compile(device: torch.device) -> bool:
    """Return whether the compiler that Inductor needs is installed; DarknetWarning if not."""
    if device.type == "cuda":
        missing = "" if util.find_spec("triton") else "no triton"
    else:
        missing = "" if _has_cpp_compiler() else "no C++ compiler"
    if missing:
        warn(f"not compiled: {missing} is installed")
    return not missing


def _has_cpp_compiler() -> bool:
    try:
        builder, errors = (
            import_module(f"torch._inductor.{name}") for name in ("cpp_builder", "exc")
        )
        missing = errors.InvalidCxxCompiler
    except (ImportError, AttributeError):  # another torch: compiling itself will tell
        return True
    try:
        return bool(builder.get_cpp_compiler())
    except missing:
        return False
