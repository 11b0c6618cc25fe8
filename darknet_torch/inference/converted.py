"""Converted files as networks: what `export` wrote, run by the program that it was written for.

    network = load("yolov4-tiny.onnx", engine="openvino")
    detections = detect(network, "dog.jpg")

A file's cfg, in its metadata, gives its plan. TorchScript and .pt2 files are programs: load only
those that you trust.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.files import is_file
from darknet_torch.inference.engines import (
    first_line,
    import_engine,
    is_package,
    load_package,
    read_exported,
    read_openvino,
    start,
)
from darknet_torch.network import Contents
from darknet_torch.network.origin import KEYS, Origin
from darknet_torch.network.plan import Plan

__all__ = ["Converted", "read_origin"]


class Converted(nn.Module):
    """A file that runs in an engine, with the interface of a Network: it is `Runnable`.

    Args:
        path: the file.
        plan: of the network that was converted.
        names: of its classes.
        engine: what runs it, a key of `engines.ENGINES`.
        origin: the record of its network in the file's metadata, see `read_origin`.

    Raises:
        UsageError: the engine is not installed, or cannot run the file.
    """

    def __init__(
        self, path: Path, plan: Plan, names: Sequence[str], engine: str, origin: Origin
    ) -> None:
        super().__init__()
        self.plan, self.names, self.engine, self.path = plan, tuple(names), engine, path
        self.origin = origin
        self._must_suit_engine()
        self._must_suit_plan()
        self._run = start(path, engine)

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
        """The type of the weights in the file."""
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
        outputs = [self._outputs(part) for part in self._batches(x)]
        if self.contents == "detections":
            return torch.cat([_numbered(rows, i) for i, (rows,) in enumerate(outputs)])
        joined = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
        return joined if self.plan.heads else joined[0]

    def _batches(self, x: Tensor) -> Sequence[Tensor]:
        return (x,) if self.origin.dynamic_batch else x.split(1)

    def _outputs(self, x: Tensor) -> list[Tensor]:
        try:
            outputs = self._run(x.contiguous().numpy())
        except Exception as error:  # engines have errors of their own
            raise UsageError(f"{self.path}: {self.engine}: {first_line(error)}") from error
        # OpenCV gives None for a tensor without values
        return [torch.zeros(0, 7) if y is None else torch.as_tensor(y) for y in outputs]

    def _must_take(self, shape: tuple[int, ...]) -> None:
        expected = self.plan.input
        sides = (expected.c,) if expected.is_vector else tuple(expected)
        varies = self.origin.dynamic_size and not expected.is_vector
        fixed = 1 if varies else len(sides)
        if len(shape) != len(sides) + 1 or shape[1 : fixed + 1] != sides[:fixed]:
            raise UsageError(f"input {shape}: {self.path} takes (B, {', '.join(map(str, sides))})")

    def _must_suit_engine(self) -> None:
        kind = self.origin.nms_kind
        if self.engine == "opencv" and kind not in (None, "default"):
            raise UsageError(
                f"{self.path}: OpenCV does not come back from the loop of nms_kind={kind};"
                f" export contents=boxes, or nms_kind=standard"
            )

    def _must_suit_plan(self) -> None:
        exported, size = self.origin.input, str(self.plan.input)
        if not self.origin.dynamic_size and exported and exported != size:
            raise UsageError(
                f"{self.path}: was exported for an input of {exported} only, not {size}"
            )


def _numbered(rows: Tensor, start: int) -> Tensor:
    """Number the images of (K, 7) from `start` on, of a batch that ran one by one."""
    return torch.cat((rows[:, :1] + start, rows[:, 1:]), dim=1)


def read_origin(path: Path) -> Origin:
    """Return the record of its network in a converted file's metadata; defaults without metadata.

    Raises:
        UsageError: the file cannot be read, or what reads it is not installed.
        WeightsError: a value of its metadata is not what its key needs.
    """
    if not is_file(path):
        raise UsageError(f"{path}: cannot be read: no such file")
    read = METADATA.get(path.suffix.lower(), _torchscript)
    try:
        return Origin.from_text(read(path), path)
    except DarknetError:
        raise
    except Exception as error:  # other people's parsers, each with errors of its own
        raise UsageError(f"{path}: is no such file, or damaged: {first_line(error)}") from error


def _onnx(path: Path) -> Mapping[str, str]:
    model = import_engine("onnx").load(path, load_external_data=False)
    return {each.key: each.value for each in model.metadata_props}


def _openvino(path: Path) -> Mapping[str, str]:
    model = read_openvino(path)
    paths = {key: ["darknet_torch", key] for key in KEYS}
    return {
        key: str(model.get_rt_info(keys).astype(str))
        for key, keys in paths.items()
        if model.has_rt_info(keys)
    }


def _torch_export(path: Path) -> Mapping[str, str]:
    if is_package(path):
        metadata: Mapping[str, str] = load_package(path).get_metadata()
        return metadata
    return _extra_files(lambda files: read_exported(path, files))


def _torchscript(path: Path) -> Mapping[str, str]:
    return _extra_files(lambda files: torch.jit.load(str(path), _extra_files=files))


def _extra_files(load: Callable[[dict[str, Any]], object]) -> Mapping[str, str]:
    """Load a file of torch and return the texts beside its program."""
    files: dict[str, Any] = dict.fromkeys(KEYS, "")
    load(files)
    texts = {key: v.decode() if isinstance(v, bytes) else v for key, v in files.items()}
    return {key: text for key, text in texts.items() if text}


METADATA: Mapping[str, Callable[[Path], Mapping[str, str]]] = {
    ".onnx": _onnx,
    ".xml": _openvino,
    ".pt2": _torch_export,
}
"""Ending of a file -> the function that reads its metadata; all others are TorchScript."""
