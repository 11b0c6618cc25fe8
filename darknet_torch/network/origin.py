"""The record of its network in a file's metadata, for converted files and checkpoints.

A file holds it as text, key by key, wherever its format keeps metadata:

| key | value |
|---|---|
| `cfg`, `dialect`, `mode` | the plan is made from them; mode: "normal" or "darknet" |
| `names` | class names, one a line |
| `header` | of the weights file: major, minor, revision, seen |
| `contents` | "raw", "boxes" or "detections", see `network.Contents` |
| `layout` | of "boxes": "boxes+scores", "ultralytics" or "deepstream", see `inference/layouts.py` |
| `images` | type, arrangement and size of the input, see `Images` |
| `dtype` | "float32", "float16", "bfloat16", "float64" or "int8", of the weights |
| `input` | width x height x channels of the input, or the number of values |
| `batch`, `size` | "dynamic" or "1"; "dynamic" or "fixed" |
| `letterbox` | "true" or "false": how images are meant to be brought to the input |
| `threshold`, `nms`, `nms_kind` | of "detections": the settings of NMS in the file |

All others (`producer`, `classes`, `stride`, `heads`, `anchors`) are notes for people.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal, Self, get_args

from darknet_torch.errors import WeightsError
from darknet_torch.network.network import Header, Network
from darknet_torch.network.plan import Plan
from darknet_torch.network.runnable import Contents
from darknet_torch.parsing.options import Mode
from darknet_torch.safety.text import printable
from darknet_torch.version import __version__

__all__ = ["KEYS", "Images", "Layout", "Origin"]

Layout = Literal["boxes+scores", "ultralytics", "deepstream"]
"""How a converted file of contents "boxes" arranges them, see `inference/layouts.py`."""
Images = Literal["float32", "uint8", "uint8-letterbox", "uint8-stretch"]
"""Input of a converted file: float32 (B, C, H, W) in 0..1, or uint8 (B, H, W, C) in 0..255.

The last two take images of any size, bring them to the input, and yield boxes in pixels of them.
"""

KEYS = (
    *("cfg", "dialect", "mode", "names", "header", "contents", "dtype", "input", "batch", "size"),
    *("letterbox", "threshold", "nms", "nms_kind", "layout", "images"),
)
DTYPES = ("float32", "float16", "bfloat16", "float64", "int8")
FRACTION = r"(0|1)(\.\d+)?(e-?\d+)?|\d+(\.\d+)?e-\d+"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The record; see this module's docstring for the keys.

    Args:
        cfg: text of the cfg; "" where a file has none (it was not written by this package).
        dynamic_batch: whether the batch may vary; else it is 1.
        dynamic_size: whether height and width may vary, in multiples of the stride.
        letterbox: whether images keep their aspect ratio; None where the file has no such key.
        threshold: lowest score of a detection; only with contents "detections".
        nms: IoU that NMS allows; only with contents "detections".
        nms_kind: kind of NMS; only with contents "detections".
        layout: how "boxes" are arranged.
        images: type and arrangement of the input.
        notes: for people; nothing reads them.
    """

    cfg: str = ""
    dialect: str = ""
    mode: Mode = "normal"
    names: tuple[str, ...] = ()
    header: Header = Header()
    contents: Contents = "raw"
    dtype: str = "float32"
    input: str = ""
    dynamic_batch: bool = True
    dynamic_size: bool = True
    letterbox: bool | None = None
    threshold: float | None = None
    nms: float | None = None
    nms_kind: str | None = None
    layout: Layout = "boxes+scores"
    images: Images = "float32"
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_cfg(self) -> bool:
        """Whether the network can be made from the file alone."""
        return bool(self.cfg and self.dialect)

    @property
    def takes_bytes(self) -> bool:
        """Whether the input is uint8 (B, H, W, C)."""
        return self.images != "float32"

    @property
    def takes_any_size(self) -> bool:
        """Whether images of any size are resized inside, and boxes are in pixels of them."""
        return self.images not in ("float32", "uint8")

    @classmethod
    def of(
        cls,
        network: Network,
        *,
        contents: Contents = "raw",
        dtype: str = "float32",
        dynamic_batch: bool = True,
        dynamic_size: bool | None = None,
        threshold: float | None = None,
        nms: float | None = None,
        nms_kind: str | None = None,
    ) -> Self:
        """Return the record of a network; `dynamic_size` None: where no layer fixes it."""
        plan = network.plan
        return cls(
            cfg=plan.text,
            dialect=plan.context.dialect.name,
            mode=plan.context.mode,
            names=network.names,
            header=network.header,
            contents=contents,
            dtype=dtype,
            input=str(plan.input),
            dynamic_batch=dynamic_batch,
            dynamic_size=plan.size_varies if dynamic_size is None else dynamic_size,
            letterbox=plan.letterbox,
            threshold=threshold,
            nms=nms,
            nms_kind=nms_kind,
            notes=_notes(plan),
        )

    def to_text(self) -> dict[str, str]:
        """Return the metadata that a file keeps; `from_text` reads it."""
        text = {
            "cfg": self.cfg,
            "dialect": self.dialect,
            "mode": self.mode,
            "names": "\n".join(map(printable, self.names)),
            "header": " ".join(map(str, self.header)),
            "contents": self.contents,
            "dtype": self.dtype,
            "input": self.input,
            "batch": "dynamic" if self.dynamic_batch else "1",
            "size": "dynamic" if self.dynamic_size else "fixed",
            "layout": self.layout,
            "images": self.images,
        }
        options = {"threshold": self.threshold, "nms": self.nms, "nms_kind": self.nms_kind}
        text |= {key: str(value) for key, value in options.items() if value is not None}
        if self.letterbox is not None:
            text["letterbox"] = str(self.letterbox).lower()
        # what is no text is escaped: no format has a place for it
        return {key: printable(value, keep="\n") for key, value in {**self.notes, **text}.items()}

    @classmethod
    def from_text(cls, text: Mapping[Any, object], path: str | PathLike[str]) -> Self:
        """Return the record that a file holds.

        A file without cfg and dialect is not of this package: all is at its default. Files of older
        versions lack some keys, or have lists for `names` and `header`.

        Raises:
            WeightsError: a value is not what its key needs.
        """
        cfg, dialect = _text(text, "cfg"), _text(text, "dialect")
        if not cfg or not dialect:
            return cls()
        return cls(
            # a text of a single line would be taken for a path
            cfg=cfg if "\n" in cfg else f"{cfg}\n",
            dialect=dialect,
            mode="darknet" if text.get("mode") == "darknet" else "normal",
            names=_names(text.get("names"), path),
            header=_header(text.get("header"), path),
            contents=_one_of(text, "contents", get_args(Contents), path),
            dtype=_one_of(text, "dtype", DTYPES, path),
            input=_text(text, "input"),
            dynamic_batch=text.get("batch") != "1",
            dynamic_size=text.get("size") != "fixed",
            letterbox={"true": True, "false": False}.get(_text(text, "letterbox")),
            threshold=_fraction(text, "threshold", path),
            nms=_fraction(text, "nms", path),
            nms_kind=_text(text, "nms_kind") or None,
            layout=_one_of(text, "layout", get_args(Layout), path),
            images=_one_of(text, "images", get_args(Images), path),
            notes={str(k): v for k, v in text.items() if k not in KEYS and isinstance(v, str)},
        )


def _notes(plan: Plan) -> dict[str, str]:
    """Return the notes for people."""
    anchors = [",".join(f"{anchor:g}" for anchor in head.anchors) for head in plan.head_layers]
    return {
        "producer": f"darknet_torch {__version__}",
        "classes": str(plan.classes),
        "stride": " x ".join(str(step) for step in reversed(plan.stride)),
        "heads": ", ".join(f"{index} {plan[index].name}" for index in plan.heads),
        "anchors": "; ".join(anchors),
    }


def _text(text: Mapping[Any, object], key: str) -> str:
    value = text.get(key)
    return value if isinstance(value, str) else ""


def _one_of(text: Mapping[Any, object], key: str, known: Any, path: str | PathLike[str]) -> Any:
    value = text.get(key, known[0])
    if value not in known:
        raise WeightsError(f"{path}: {key} {value!r:.60}: must be {', '.join(known)}")
    return value


def _fraction(text: Mapping[Any, object], key: str, path: str | PathLike[str]) -> float | None:
    value = text.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(FRACTION, value) or float(value) > 1:
        raise WeightsError(f"{path}: {key} {value!r:.60}: must be from 0 to 1")
    return float(value)


def _names(value: object, path: str | PathLike[str]) -> tuple[str, ...]:
    names = value.split("\n") if isinstance(value, str) and value else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{path}: names: must be a list of words")
    return tuple(names)


def _header(value: object, path: str | PathLike[str]) -> Header:
    if value is None:
        return Header()
    words = value.split() if isinstance(value, str) else value
    texts = [str(word) for word in words] if isinstance(words, list) else []
    if len(texts) == 4 and all(re.fullmatch("[0-9]{1,20}", word) for word in texts):
        header = Header(*map(int, texts))
        if max(header[:3]) <= 10_000 and header.seen < 2**64:
            return header
    raise WeightsError(f"{path}: header {value!r:.60}: must be major, minor, revision and seen")
