"""The text of an option -> a value: types, ranges, words, activations, and files."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from darknet_torch.errors import CfgError, UsageError
from darknet_torch.layers.activation import activate
from darknet_torch.parsing.dialect import ALEXEYAB, DIALECTS, HANK_AI, PJREDDIE, Dialect
from darknet_torch.parsing.options import Activation, Context, FileName, bind, option
from darknet_torch.parsing.parser import Section, parse


def section(*lines: str, folder: Path | None = None) -> Section:
    return parse("\n".join(("[thing]", *lines)), "my.cfg", folder)[0]


def read(
    kind: Any, text: str, dialect: Dialect = ALEXEYAB, mode: Any = "normal", **given: Any
) -> Any:
    """Bind one option `value` of a type made for it."""
    declared = option(given.pop("default", None), **given)
    cls = dataclass(frozen=True)(
        type("T", (), {"__annotations__": {"value": kind}, "value": declared})
    )
    return bind(cls, section(f"value={text}"), Context(dialect, mode)).value


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (int, "4#four", 4),
        (int, "-3", -3),
        (int, "abc", 0),
        (float, ".25x", 0.25),
        (float, "-1e2", -100.0),
        (bool, "1", True),
        (bool, "0", False),
        (bool, "2.5", True),
        (bool, "yes", False),
        (str, "a=b#c", "a=b#c"),
        (int | None, "5", 5),
        (tuple[int, ...], "1,2 , 3", (1, 2, 3)),
        (tuple[int, ...], "-1, 61", (-1, 61)),
        (tuple[int, ...], "1,,3,", (1, 0, 3, 0)),  # as many items as commas, and one
        (tuple[int, ...], "7", (7,)),
        (tuple[float, ...], "1.5,x,.5e1", (1.5, 0.0, 5.0)),
        (Literal["one", "two"], "two", "two"),
        (Activation, "leaky", "leaky"),
    ],
)
def test_types(kind: Any, text: str, expected: object) -> None:
    value = read(kind, text)
    assert value == expected
    assert isinstance(expected, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    ("dialect", "comment_ends", "expected"),
    [
        (PJREDDIE, True, (1, 2, 3)),
        (ALEXEYAB, True, (1, 2)),
        (HANK_AI, True, (1, 2)),
        (PJREDDIE, False, (1, 2, 3)),
        (ALEXEYAB, False, (1, 2, 3)),
        (HANK_AI, False, (1, 2)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_lists_that_a_comment_ends(
    dialect: Dialect, comment_ends: bool, expected: tuple[int, ...]
) -> None:
    assert read(tuple[int, ...], "1,2#a,3", dialect, comment_ends=comment_ends) == expected


def test_inline_comment_ends_a_word_in_one_fork() -> None:
    assert read(Activation, "leaky#c", HANK_AI) == "leaky"
    with pytest.raises(CfgError, match=r"leaky#c: unknown; did you mean leaky\?"):
        read(Activation, "leaky#c", ALEXEYAB)


def test_unknown_activation() -> None:
    with pytest.raises(
        CfgError, match=r"my.cfg:2: .*activation=leeky: unknown; did you mean leaky\?"
    ):
        read(Activation, "leeky")
    with pytest.raises(CfgError, match="dialect alexeyab or hank-ai knows it, pjreddie does not"):
        read(Activation, "mish", PJREDDIE)
    with pytest.raises(CfgError, match=r"activation=qqqqqqq: unknown; there are elu, gelu"):
        read(Activation, "qqqqqqq", mode="strict")
    assert read(Activation, "leeky", mode="darknet") == "relu"
    assert read(Activation, "mish", PJREDDIE, "darknet") == "relu"
    assert read(Activation, "mish", mode="darknet") == "mish"


def test_every_known_activation_can_be_computed() -> None:
    for dialect in DIALECTS.values():
        for name in dialect.activations:
            assert activate(name, torch.zeros(1, 2, 1, 1)).shape == (1, 2, 1, 1), name


def test_word_of_a_literal() -> None:
    words = Literal["relu", "softmax"]
    with pytest.raises(
        CfgError, match=r"my.cfg:2: .*value=rellu: must be one of relu, softmax; did"
    ):
        read(words, "rellu", default="softmax")
    taken = read(words, "rellu", mode="darknet", default="softmax")
    assert taken == "softmax"  # Darknet takes its default


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "2147483648"),
        (int, "-2147483649"),
        (int, "9" * 5000),
        (tuple[int, ...], "1,99999999999"),
        (float, "1e39"),
        (float, "-1e400"),
        (float, "9" * 400),
        (tuple[float, ...], "1,1e1000"),
        (bool, "99999999999"),
    ],
)
def test_too_large_numbers(kind: Any, text: str) -> None:
    with pytest.raises(
        CfgError, match=r"^my.cfg:2: \[thing\] value=.*too large a number"
    ) as caught:
        read(kind, text)
    assert len(str(caught.value)) < 120


def test_largest_numbers() -> None:
    assert read(int, "2147483647") == 2**31 - 1
    assert read(int, "-2147483648") == -(2**31)
    assert read(float, "3.4e38") == 3.4e38
    assert math.isclose(read(float, "1e-300"), 1e-300)


def test_mode() -> None:
    with pytest.raises(UsageError, match="strict, normal, darknet"):
        Context(ALEXEYAB, "loose")  # type: ignore[arg-type]


def file_name(name: str, folder: Path | None, *extra: Path) -> FileName:
    made = section("size=1", f"tree={name}", folder=folder)
    return FileName(name, "tree", made, extra)


def test_a_file_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here, extra = (tmp_path / name for name in ("beside", "here", "extra"))
    candidates = [
        folder / name for folder in (beside, here, extra) for name in ("data/my.tree", "my.tree")
    ]
    for path in candidates:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(here)
    for path in candidates:
        assert file_name("data/my.tree", beside, extra).resolve().samefile(path)
        path.unlink()
    with pytest.raises(CfgError) as caught:
        file_name("data/my.tree", beside, extra).resolve()
    message = str(caught.value)
    assert re.match(r"my.cfg:3: \[thing\] tree=data/my.tree: no such file; looked for ", message)
    listed = re.findall(r"[^ ,]*my\.tree", message.partition("looked for ")[2])
    assert [os.path.normpath(here / path) for path in listed] == [str(path) for path in candidates]


def test_a_text_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.tree").touch()
    assert file_name("my.tree", None).resolve().samefile(tmp_path / "my.tree")
    assert file_name(str(tmp_path / "my.tree"), None).resolve() == tmp_path / "my.tree"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", ".", "/"])
def test_a_name_that_can_be_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="no such file"):
        file_name(name, tmp_path).resolve()
