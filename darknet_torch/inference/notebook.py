"""How detections are shown in a notebook: the image with boxes, and a table."""

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import Protocol

from PIL import Image

from darknet_torch.errors import DarknetError
from darknet_torch.inference.detection_formats import Detection
from darknet_torch.safety.text import html_row

__all__ = ["NotebookDisplay"]

LARGEST = 1024
"""Longest side of the image in pixels."""
ROWS = 100
"""Most rows of the table."""


class _Drawable(Protocol):
    """What `Detections` have."""

    @property
    def path(self) -> str | None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Detection]: ...

    def draw(self) -> Image.Image: ...

    def _repr_png_(self) -> bytes | None: ...


class NotebookDisplay:
    """What Jupyter calls of detections, to show them."""

    def _repr_png_(self: _Drawable) -> bytes | None:
        """Return the image with boxes as PNG; None where the image is not at hand."""
        if self.path is None:
            return None
        try:
            image = self.draw()
        except DarknetError:  # it was moved, or is no longer what it was
            return None
        image.thumbnail((LARGEST, LARGEST))
        content = BytesIO()
        image.save(content, "PNG")
        return content.getvalue()

    def _repr_html_(self: _Drawable) -> str:
        """Return the image with boxes, and a table of the objects, as HTML."""
        png = self._repr_png_()
        source = "" if png is None else b64encode(png).decode()
        image = f'<img src="data:image/png;base64,{source}" alt="detections">' if source else ""
        title = f"<p>{escape(repr(self))}</p>"
        return f"<div>{title}{image}{_table(list(self))}</div>"


def _table(detections: list[Detection]) -> str:
    head = html_row("th", ["class", "score", "left", "top", "right", "bottom"])
    rows = [
        html_row("td", [d.name, f"{d.score:.2f}", *map(round, d.box)]) for d in detections[:ROWS]
    ]
    more = len(detections) - ROWS
    note = f"<p>and {more} more</p>" if more > 0 else ""
    return f"<table>{head}{''.join(rows)}</table>{note}" if detections else ""
