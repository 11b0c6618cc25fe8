"""Fonts for labels in any script: the one that is asked for, or the first that has the letters.

Pillow brings one font, of plain Latin letters. For others these are tried: the fonts of matplotlib
(extra `plot`), which have Latin, Greek, Cyrillic, Hebrew and Arabic letters, and fonts that systems
have, by the names of their files. `DARKNET_TORCH_FONT` names a file that comes before them.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from PIL import ImageFont

from darknet_torch.errors import UsageError

__all__ = ["font_for", "load_font"]

SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "msyh.ttc", "PingFang.ttc"),
    *("Hiragino Sans GB.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    *("meiryo.ttc", "malgun.ttf", "AppleSDGothicNeo.ttc", "NanumGothic.ttf", "Nirmala.ttf"),
    *("NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "NotoSansArabic-Regular.ttf"),
    *("LeelawUI.ttf", "Thonburi.ttc", "unifont.otf", "unifont.ttf"),
)
"""Files that Pillow looks for in the folders of the system, of Linux, Windows and macOS."""
_NO_LETTER = "\U0010ffff"
_INVISIBLE = frozenset(" \u200c\u200d\ufe0e\ufe0f")

Font = ImageFont.FreeTypeFont


def load_font(path: str | os.PathLike[str], size: int = 10) -> Font:
    """Return the font in a file.

    Raises:
        UsageError: no such file, or no font.
    """
    try:
        return ImageFont.truetype(os.fspath(path), size)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no font that can be read (.ttf, .otf, .ttc)") from error


def font_for(text: str, size: int, path: str | os.PathLike[str] | None = None) -> Font | None:
    """Return the first font that has all letters of a text, None if there is none.

    Args:
        text: on one line.
        size: in pixels.
        path: a font that comes first; None is that of `DARKNET_TORCH_FONT`, if it is set.

    Raises:
        UsageError: `path` is no font.
    """
    letters = frozenset(text) - _INVISIBLE
    given = path if path is not None else os.environ.get("DARKNET_TORCH_FONT") or None
    for name in _names(None if given is None else os.fspath(given)):
        font = _font(name)
        if font is not None and all(_has(name, letter) for letter in letters):
            return _sized(name, size)
    return None


def _names(given: str | None) -> Iterator[str]:
    """Yield the files of fonts in their order; "" is Pillow's own."""
    if given is not None:
        load_font(given)
        yield given
    yield ""
    spec = find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        yield str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
    yield from SYSTEM_FONTS


@lru_cache(maxsize=64)
def _font(name: str) -> Font | None:
    try:
        return cast(Font, ImageFont.load_default(20)) if not name else ImageFont.truetype(name, 20)
    except (OSError, ValueError):  # not on this system
        return None


@lru_cache(maxsize=64)
def _sized(name: str, size: int) -> Font | None:
    font = _font(name)
    return None if font is None else font.font_variant(size=size)


@lru_cache(maxsize=1 << 14)
def _has(name: str, letter: str) -> bool:
    """Return whether a font has a letter: what it lacks looks like what is no letter at all."""
    font = _font(name)
    return font is not None and _picture(font, letter) != _picture(font, _NO_LETTER)


def _picture(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
