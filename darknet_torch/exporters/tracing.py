"""What exporters share: the exported module, which sizes may vary, an example input."""

import copy
import warnings
from collections.abc import Callable
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.heads.boxes import cxcywh_to_xyxy
from darknet_torch.inference.layouts import NAMES, arranged
from darknet_torch.layers.traced import HasPlainForm
from darknet_torch.network import Network
from darknet_torch.network.folding import fold
from darknet_torch.network.origin import Layout

__all__ = [
    "Exported",
    "Varying",
    "dynamic_shapes",
    "example",
    "output_names",
    "prepared",
    "program",
    "varying",
    "with_plain_layers",
]


class Exported(nn.Module):
    """The module that is exported: float32 input and outputs, whatever it computes in.

    Args:
        network: its batch norm folded, on the CPU.
        contents: "raw" or "boxes".
        dtype: of the network's weights.
        layout: of contents "boxes": how they are arranged, see `inference/layouts.py`.
    """

    def __init__(
        self,
        network: Network,
        contents: str,
        dtype: torch.dtype,
        layout: Layout = "boxes+scores",
    ) -> None:
        super().__init__()
        self.network, self.contents, self.dtype, self.layout = network, contents, dtype, layout
        self.heads = network.plan.head_layers

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the file's outputs.

        Args:
            images: (B, C, H, W) in 0..1, RGB, or (B, inputs).

        Returns:
            The raw maps, or the last layer's output where there is no head; for "boxes" a pair of
            boxes (B, N, 4), xyxy in fractions of the input, and scores (B, N, classes), objectness
            included, no threshold applied; or these in another layout.
        """
        raw = self.network(images.to(self.dtype))
        if isinstance(raw, Tensor):
            return raw.float()
        raw = tuple(each.float() for each in raw)
        return raw if self.contents == "raw" else self._boxes(raw, images)

    def _boxes(self, raw: tuple[Tensor, ...], images: Tensor) -> tuple[Tensor, ...]:
        size = (images.shape[2], images.shape[3])
        decoded = [head.decode(each, size) for head, each in zip(self.heads, raw, strict=True)]
        most = self.network.plan.classes
        scores = [_padded(each.scores, most - each.scores.shape[2]) for each in decoded]
        boxes = torch.cat([each.boxes for each in decoded], dim=1)
        return arranged(cxcywh_to_xyxy(boxes), torch.cat(scores, dim=1), self.layout, size)


def _padded(scores: Tensor, columns: int) -> Tensor:
    return F.pad(scores, (0, columns)) if columns else scores


def prepared(
    network: Network,
    contents: str = "raw",
    dtype: str = "float32",
    layout: Layout = "boxes+scores",
) -> Exported:
    """Return the module that is exported: batch norm folded, in a precision, on the CPU.

    Raises:
        UsageError: the network has recurrent layers, or no head for contents "boxes".
    """
    if network.stateful:
        raise UsageError("networks with recurrent layers cannot be exported: they keep a state")
    if contents not in ("raw", "boxes"):
        raise UsageError(f"contents={contents}: must be raw or boxes")
    if contents == "boxes" and not network.plan.heads:
        raise UsageError("contents=boxes: the network has no head that yields boxes; take raw")
    if dtype not in ("float32", "float16"):
        raise UsageError(f"dtype={dtype}: must be float32 or float16")
    precision: torch.dtype = getattr(torch, dtype)
    folded = fold(network if _is_plain(network) else copy.deepcopy(network).cpu().float())
    return Exported(folded.to(precision), contents, precision, layout).eval()


def with_plain_layers(exported: Exported) -> None:
    """Replace layers by their plain forms, where they have some."""
    network = exported.network
    for node in network.plan:
        if isinstance(node.layer, HasPlainForm) and (to := node.layer.plain(*node.input_shapes)):
            network.layers[node.index] = _Plain(to)


class _Plain(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _is_plain(network: Network) -> bool:
    return all(p.device.type == "cpu" and p.dtype == torch.float32 for p in network.parameters())


def program(
    exported: Exported, *, dynamic_batch: bool = True, dynamic_size: bool | None = None
) -> torch.export.ExportedProgram:
    """Trace an exported network.

    Args:
        exported: see `prepared`.
        dynamic_batch: whether the batch may vary.
        dynamic_size: whether height and width may vary; None where that is possible.

    Raises:
        UsageError: `dynamic_size` is True and a layer fixes the size.
    """
    varies = exported.network.plan.size_varies
    if dynamic_size and not varies:
        raise UsageError("dynamic_size: a layer of this network fixes the size of its input")
    if dynamic_size is False or not varies:
        return _traced(exported, dynamic_batch, size=False)
    # torch takes a map of one row or column for a constant; at twice the size it has two.
    for scale in (1, 2):
        try:
            return _traced(exported, dynamic_batch, size=True, scale=scale)
        except RuntimeError as error:  # of which torch.export's are
            reason = str(error).splitlines()[0]
    if dynamic_size:
        raise UsageError(f"dynamic_size: torch cannot export this network so: {reason}")
    return _traced(exported, dynamic_batch, size=False)


class Varying(TypedDict):
    """Which sides of the input may vary, as `Origin.of` takes it."""

    dynamic_batch: bool
    dynamic_size: bool


def varying(traced: torch.export.ExportedProgram) -> Varying:
    """Return whether batch, and H and W, of a program's input may vary."""
    name = traced.graph_signature.user_inputs[0]
    images = next(node for node in traced.graph.nodes if node.name == name).meta["val"]
    free = [not isinstance(side, int) for side in images.shape]
    return {"dynamic_batch": free[0], "dynamic_size": free[-1] and len(free) == 4}


def _traced(
    exported: Exported, batch: bool, *, size: bool, scale: int = 1
) -> torch.export.ExportedProgram:
    shapes = dynamic_shapes(exported.network, batch=batch, size=size)
    images = example(exported.network, batch=2 if batch else 1, scale=scale)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(exported, (images,), dynamic_shapes=(shapes,))


def example(network: Network, batch: int = 2, scale: int = 1) -> Tensor:
    """Return an input of zeros, its sides those of the network times `scale`.

    torch would take a batch of one for a constant.
    """
    shape = network.plan.input
    if shape.is_vector:
        return torch.zeros(batch, shape.c)
    return torch.zeros(batch, shape.c, scale * shape.h, scale * shape.w)


def dynamic_shapes(network: Network, *, batch: bool, size: bool) -> dict[int, Any]:
    """Return the dimensions that may vary: the batch; H and W in multiples of the stride."""
    varying: dict[int, Any] = {}
    if batch:
        varying[0] = torch.export.Dim("batch", min=1)
    if size:
        plan = network.plan
        whole = not all(node.layer.takes_smaller_images for node in plan)
        for axis, name in ((2, "rows"), (3, "columns")):
            step, side = plan.stride[axis - 2], plan.input[axis - 1]
            least = side // step if whole else 2 if step > 1 else max(2, side // 2)
            dim = torch.export.Dim(name, min=least, max=4096)
            varying[axis] = step * dim if step > 1 else dim
    return varying


def output_names(network: Network, contents: str, layout: Layout = "boxes+scores") -> list[str]:
    """Return the names of the outputs: `raw0`, `raw1` ... or `output`; or those of a layout."""
    if contents != "raw":
        return list(NAMES[layout])
    heads = network.plan.heads
    return [f"raw{number}" for number in range(len(heads))] if heads else ["output"]
