"""Fonts: which of them is taken for a text, and what is none."""

from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw

from darknet_torch.errors import UsageError
from darknet_torch.images import fonts
from darknet_torch.images.fonts import font_for, load_font

TTF = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
DEJAVU, SERIF = TTF / "DejaVuSans.ttf", TTF / "DejaVuSerif.ttf"


@pytest.fixture(autouse=True)
def without_fonts_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    monkeypatch.delenv("DARKNET_TORCH_FONT", raising=False)


def family(text: str, path: Path | None = None) -> str | None:
    font = font_for(text, 17, path)
    assert font is None or font.size == 17
    return None if font is None else font.getname()[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog 0.84", "Aileron"),
        ("", "Aileron"),
        ("vélo", "DejaVu Sans"),
        ("собака 0.8", "DejaVu Sans"),
        ("سيارة", "DejaVu Sans"),
        ("汽车", None),
        ("dog 汽", None),
    ],
)
def test_the_first_font_with_the_letters(text: str, expected: str | None) -> None:
    assert family(text) == expected


def test_a_font_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert family("dog", SERIF) == family("собака", SERIF) == "DejaVu Serif"
    monkeypatch.setenv("DARKNET_TORCH_FONT", str(SERIF))
    assert family("dog") == "DejaVu Serif"
    assert family("dog", DEJAVU) == "DejaVu Sans"
    last_resort = TTF / "cmb10.ttf"  # has no Cyrillic letters
    assert family("собака", last_resort) == "DejaVu Sans"


def test_fonts_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "find_spec", lambda name: None)
    assert family("vélo") is None
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ("no such font.ttf", str(SERIF)))
    assert family("vélo") == "DejaVu Serif"


def test_what_is_no_font(tmp_path: Path) -> None:
    (tmp_path / "a.ttf").write_bytes(b"abc" * 100)
    for path in (tmp_path / "a.ttf", tmp_path / "b.ttf", tmp_path):
        with pytest.raises(UsageError, match="no font that can be read"):
            font_for("dog", 10, path)
    assert load_font(DEJAVU, 12).size == 12


def test_a_letter_that_is_there_is_seen() -> None:
    image = Image.new("L", (60, 30))
    font = font_for("Ж", 20)
    assert font is not None
    ImageDraw.Draw(image).text((5, 3), "Ж", 255, font=font)
    assert image.getbbox()
