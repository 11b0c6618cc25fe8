"""Converted files as networks: what `export` wrote, run by the program that it was written for.

    network = load("yolov4-tiny.onnx", engine="openvino")
    detections = detect(network, "dog.jpg")

A file's cfg, in its metadata, gives its plan. TorchScript and .pt2 files are programs, which can do
anything on this machine: they are loaded only where the caller says that they are trusted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.inference.converted_outputs import check_outputs
from darknet_torch.inference.engines import lacks_loop, start
from darknet_torch.inference.layouts import in_256_steps
from darknet_torch.network import Contents
from darknet_torch.network.float32 import float32_products
from darknet_torch.network.origin import Origin
from darknet_torch.network.plan import Plan
from darknet_torch.network.summary import one_line
from darknet_torch.safety.text import first_line

__all__ = ["Converted"]


class Converted(nn.Module):
    """A file that runs in an engine, with the interface of a Network: it is `Runnable`.

    Args:
        path: the file.
        plan: of the network that was converted.
        names: of its classes.
        engine: what runs it, a key of `engines.ENGINES`.
        origin: the record of its network in the file's metadata, see `metadata.read_origin`.
        trusted: whether the file may run code of its own: TorchScript and .pt2 files do.

    Raises:
        UsageError: the engine is not installed, cannot run the file, or would have to trust it.
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        names: Sequence[str],
        engine: str,
        origin: Origin,
        *,
        trusted: bool = False,
    ) -> None:
        super().__init__()
        self.plan, self.names, self.engine, self.path = plan, tuple(names), engine, path
        self.origin, self.trusted = origin, trusted
        self._sized = plan
        self._must_suit_engine()
        self._must_suit_plan()
        self._run = start(path, engine, trusted=trusted)

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle it without the engine's session, which reads the file again."""
        return self.__dict__ | {"_run": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned; UsageError where the file is gone."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._run = start(self.path, self.engine, trusted=self.trusted)

    def __repr__(self) -> str:
        kind = f"Converted by {self.engine}"
        return f"{one_line(kind, self.plan)[:-1]}, {self.path})"

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input that the file needs, in pixels."""
        return self.plan.input.w, self.plan.input.h

    @property
    def device(self) -> torch.device:
        """The processor: engines read their input from its memory."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights in the file; those of layers in 8 bits have a scale beside."""
        dtype: torch.dtype = getattr(torch, self.origin.dtype)
        return dtype

    @property
    def input_dtype(self) -> torch.dtype:
        """float32, whatever the file computes in."""
        return torch.float32

    @property
    def contents(self) -> Contents:
        """What it returns, as it was exported: see `network.Contents`."""
        return self.origin.contents

    @property
    def letterbox(self) -> bool:
        """Whether a detector's images keep their aspect ratio, as exported."""
        return self.plan.letterbox if self.origin.letterbox is None else self.origin.letterbox

    @property
    def concurrent(self) -> bool:
        """Engines have threads of their own, so that several callers gain nothing."""
        return False

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the file's outputs, see `network.Contents`.

        Args:
            x: (B, C, H, W) in 0..1, RGB, or (B, inputs).

        Raises:
            UsageError: the file does not take such an input.
        """
        self._must_take(tuple(x.shape))
        x = x.float().cpu()
        batches = (x,) if self.origin.dynamic_batch else x.split(1)
        with float32_products(x.device):  # of the engine torch; others have settings of their own
            outputs = [self._outputs(part) for part in batches]
        if self.contents == "detections":
            return torch.cat([_numbered(rows, i) for i, (rows,) in enumerate(outputs)])
        joined = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
        return joined if self.plan.heads else joined[0]

    def _outputs(self, x: Tensor) -> list[Tensor]:
        try:
            outputs = self._run(self._input(x))
        except Exception as error:  # engines have errors of their own
            raise UsageError(f"{self.path}: {self.engine}: {first_line(error)}") from error
        plan = self.plan if self.plan.input.is_vector else self._plan_of_size(*x.shape[2:])
        try:
            return check_outputs(
                outputs, plan, self.contents, len(x), self.origin.layout, self.origin.takes_any_size
            )
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}") from None

    def _input(self, x: Tensor) -> Array:
        """Return images as the file takes them; those of uint8 are rounded to 256 steps."""
        if self.origin.takes_bytes:
            x = in_256_steps(x).permute(0, 2, 3, 1)
        return x.contiguous().numpy()

    def _plan_of_size(self, height: int, width: int) -> Plan:
        """Return the plan for a size of input; the last one is kept."""
        if (self._sized.input.h, self._sized.input.w) != (height, width):
            self._sized = self.plan.resized(height, width)
        return self._sized

    def _must_take(self, shape: tuple[int, ...]) -> None:
        expected = self.plan.input
        sides = (expected.c,) if expected.is_vector else tuple(expected)
        varies = self.origin.dynamic_size and not expected.is_vector
        fixed = 1 if varies else len(sides)
        if len(shape) != len(sides) + 1 or shape[1 : fixed + 1] != sides[:fixed]:
            raise UsageError(f"input {shape}: {self.path} takes (B, {', '.join(map(str, sides))})")

    def _must_suit_engine(self) -> None:
        kind = self.origin.nms_kind
        if lacks_loop(self.engine, kind):
            raise UsageError(
                f"{self.path}: OpenCV does not come back from the loop of nms_kind={kind};"
                f" export contents=boxes, or nms_kind=standard"
            )

    def _must_suit_plan(self) -> None:
        if self.contents != "raw" and not self.plan.heads:
            raise UsageError(f"{self.path}: contents {self.contents}: its cfg has no head")
        exported, size = self.origin.input, str(self.plan.input)
        if not self.origin.dynamic_size and exported and exported != size:
            raise UsageError(
                f"{self.path}: was exported for an input of {exported} only, not {size}"
            )


def _numbered(rows: Tensor, start: int) -> Tensor:
    """Number the images of (K, 7) from `start` on, of a batch that ran one by one."""
    return torch.cat((rows[:, :1] + start, rows[:, 1:]), dim=1)
