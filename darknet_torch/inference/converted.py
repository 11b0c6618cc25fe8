"""Converted files as networks: what `export` wrote, run by the program that it was written for.

    network = load("yolov4-tiny.onnx", engine="openvino")
    found = detect(network, "dog.jpg")

A file tells its plan by the cfg in its metadata. TorchScript and .pt2 files are programs: load
only those that you trust.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError
from darknet_torch.files import is_file
from darknet_torch.inference.engines import ENGINES, Runner, _is_package, _module, _package
from darknet_torch.network.plan import Plan

__all__ = ["Converted", "metadata"]


class Converted(nn.Module):
    """A file that runs in an engine, with the face of a Network.

    plan, names: as of a Network; contents: "raw", "boxes" or "detections", as exported;
    letterbox: how pictures were meant to be brought to the input, None if the file does not say.
    Raises UsageError where the engine is not installed or cannot run the file.
    """

    def __init__(
        self, path: Path, plan: Plan, names: Sequence[str], engine: str, told: dict[str, str]
    ) -> None:
        super().__init__()
        self.plan, self.names, self.engine, self.path = plan, tuple(names), engine, path
        self.told = told
        self.contents = told.get("contents", "raw")
        self.letterbox = {"true": True, "false": False}.get(told.get("letterbox", ""))
        self.one_by_one = told.get("batch", "dynamic") == "1"
        self._must_suit(told)
        self._run = _started(path, engine)

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input that the file asks for, in pixels."""
        return self.plan.input.w, self.plan.input.h

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the file yields for (B, C, H, W) in 0..1: maps, boxes or detections.

        raw: as a Network; boxes: (B, N, 4) xyxy in fractions of the input and (B, N, classes);
        detections: (K, 7), number in the batch, box, score, class.
        Raises UsageError for an input that the file does not take.
        """
        self._must_take(tuple(x.shape))
        x = x.float().cpu()
        found = [self._outputs(part) for part in (x.split(1) if self.one_by_one else (x,))]
        if self.contents == "detections":
            return torch.cat([_numbered(rows, i) for i, (rows,) in enumerate(found)])
        joined = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        return joined if self.plan.heads else joined[0]

    def _outputs(self, x: Tensor) -> list[Tensor]:
        found = self._run(x.contiguous().numpy())
        # OpenCV gives None for a tensor without values
        return [torch.zeros(0, 7) if each is None else torch.as_tensor(each) for each in found]

    def _must_take(self, shape: tuple[int, ...]) -> None:
        wanted = self.plan.input
        sides = (wanted.c,) if wanted.is_vector else tuple(wanted)
        free = 1 if self.told.get("size") != "fixed" and not wanted.is_vector else len(sides)
        if len(shape) != len(sides) + 1 or shape[1 : free + 1] != sides[:free]:
            raise UsageError(f"input {shape}: {self.path} takes (B, {', '.join(map(str, sides))})")

    def _must_suit(self, told: dict[str, str]) -> None:
        if self.engine == "opencv" and told.get("nms_kind", "default") != "default":
            raise UsageError(
                f"{self.path}: OpenCV does not come back from the loop that nms_kind="
                f"{told['nms_kind']} is; export contents=boxes, or nms_kind=standard"
            )
        if told.get("size") == "fixed" and told["input"] != str(self.plan.input):
            raise UsageError(
                f"{self.path}: was exported for an input of {told['input']} only,"
                f" not {self.plan.input}"
            )


def _numbered(rows: Tensor, start: int) -> Tensor:
    """Let pictures that ran one by one keep their numbers: (K, 7) -> (K, 7)."""
    return torch.cat((rows[:, :1] + start, rows[:, 1:]), dim=1)


def metadata(path: Path) -> dict[str, str]:
    """Return what `export` wrote about the network into a file; empty if it wrote nothing."""
    if not is_file(path):
        raise UsageError(f"{path}: cannot be read: no such file")
    try:
        if path.suffix == ".onnx":
            model = _module("onnx").load(path, load_external_data=False)
            return {each.key: each.value for each in model.metadata_props}
        if path.suffix == ".xml":
            return _openvino_metadata(path)
        return _torch_metadata(path)
    except UsageError:
        raise
    except Exception as error:  # parsers of other people's, each with errors of its own
        raise UsageError(f"{path}: is no such file, or damaged: {_first_line(error)}") from error


KEYS = (
    *("contents", "dialect", "cfg", "names", "input", "batch", "size", "letterbox", "dtype"),
    *("threshold", "nms", "nms_kind"),
)


def _openvino_metadata(path: Path) -> dict[str, str]:
    model = _module("openvino").Core().read_model(path)
    found = {key: ("darknet_torch", key) for key in KEYS}
    return {
        key: str(model.get_rt_info(list(place)).astype(str))
        for key, place in found.items()
        if model.has_rt_info(list(place))
    }


def _torch_metadata(path: Path) -> dict[str, str]:
    if _is_package(path):
        return {key: value for key, value in _package(path).get_metadata().items() if key in KEYS}
    files: dict[str, Any] = dict.fromkeys(KEYS, "")
    if path.suffix == ".pt2":
        torch.export.load(path, extra_files=files)
    else:
        torch.jit.load(str(path), _extra_files=files)
    texts = {key: v.decode() if isinstance(v, bytes) else v for key, v in files.items()}
    return {key: text for key, text in texts.items() if text}


def _started(path: Path, engine: str) -> Runner:
    each = ENGINES[engine]
    _module(each.package)
    try:
        return each.start(path)
    except Exception as error:
        raise UsageError(f"{path}: {engine} cannot run it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
