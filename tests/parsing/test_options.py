"""Typed options: C's numbers, words, forks, and what an error says."""

import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import darknet_torch as dt
from darknet_torch.errors import CfgError, DarknetWarning, UsageError
from darknet_torch.layers.activation import activate
from darknet_torch.layers.registry import registered
from darknet_torch.parsing.c_numbers import atof, atoi
from darknet_torch.parsing.dialect import ALEXEYAB, DIALECTS, HANK_AI, PJREDDIE, Dialect
from darknet_torch.parsing.options import Activation, Context, FileName, bind, option
from darknet_torch.parsing.parser import Section, parse

SPACE = " \t\n\v\f\r"


def c_atoi(text: str) -> int:
    """C's atoi on numbers without end, one character after the other."""
    place, sign, value = 0, 1, 0
    while place < len(text) and text[place] in SPACE:
        place += 1
    if place < len(text) and text[place] in "+-":
        sign = -1 if text[place] == "-" else 1
        place += 1
    while place < len(text) and text[place] in "0123456789":
        value = 10 * value + "0123456789".index(text[place])
        place += 1
    return sign * value


def c_atof(text: str) -> float:
    """C's atof for decimal numbers: the longest beginning that is one."""
    text = text.lstrip(SPACE)
    for end in range(len(text), 0, -1):
        head = text[:end]
        if set(head) <= set("0123456789+-.eE"):
            try:
                return float(head)
            except ValueError:
                continue
    return 0.0


LIKE_NUMBERS = st.text(alphabet="0123456789+-.eEx#, ", max_size=12)


@given(LIKE_NUMBERS | st.text(max_size=6) | st.integers().map(str))
@example("4#four")
@example("3.9")
@example("-")
@example("+7")
@example("--1")
@example("0000000000000000000005")
@example("\u0663")  # a digit in Arabic, none in C
def test_integers_as_c_reads_them(text: str) -> None:
    value = c_atoi(text)
    if abs(value) < 2**31:  # beyond, C overflows, and _integer refuses
        assert atoi(text) == value
    else:
        assert abs(atoi(text)) >= 2**31


@given(LIKE_NUMBERS | st.text(max_size=6) | st.floats(allow_nan=False).map(repr))
@example(".5x")
@example("1e")
@example("1e+")
@example("1.e2")
@example(".")
@example("-.5e-1#c")
@example("1e0005")
@example("0.5e-0001")
@example("\u0663.5")
def test_reals_as_c_reads_them(text: str) -> None:
    if text.lstrip(SPACE + "+-")[:1].lower() not in ("i", "n"):  # C's inf and nan: no cfg has them
        value = c_atof(text)
        if abs(value) < 3.4e38:
            assert atof(text) == pytest.approx(value, rel=1e-12, abs=1e-300)
        else:
            assert abs(atof(text)) >= 3.4e38


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
    ("kind", "text", "wanted"),
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
def test_types(kind: Any, text: str, wanted: object) -> None:
    value = read(kind, text)
    assert value == wanted
    assert isinstance(wanted, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    ("dialect", "comment_ends", "wanted"),
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
    dialect: Dialect, comment_ends: bool, wanted: tuple[int, ...]
) -> None:
    assert read(tuple[int, ...], "1,2#a,3", dialect, comment_ends=comment_ends) == wanted


def test_inline_comment_ends_a_word_in_one_fork() -> None:
    assert read(Activation, "leaky#c", HANK_AI) == "leaky"
    with pytest.raises(CfgError, match=r"leaky#c: unknown; did you mean leaky\?"):
        read(Activation, "leaky#c", ALEXEYAB)


@dataclass(frozen=True)
class Thing:
    size: int = option(1, check=lambda n: n > 0, wanted="at least 1")
    twice: int = option(lambda o: 2 * o.size)
    where: str = option("here", key="from")
    theirs: float = option(0.5, only=PJREDDIE, absent=9.0)
    same: float = option(0.5, only=PJREDDIE)
    word: Literal["relu", "softmax"] = option("softmax")
    activation: Activation = option(Activation("linear"))
    given: int = 7


def thing(*lines: str, dialect: Dialect = ALEXEYAB, mode: Any = "normal", **given: Any) -> Thing:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return bind(Thing, section(*lines), Context(dialect, mode), **given)


def test_defaults() -> None:
    assert thing() == Thing(1, 2, "here", 9.0, 0.5, "softmax", Activation("linear"), 7)
    assert thing("size=3") == Thing(3, 6, "here", 9.0, 0.5, "softmax", Activation("linear"), 7)
    assert thing("size=3", "twice=1").twice == 1
    assert thing("from=there").where == "there"
    assert thing(given=8).given == 8
    assert thing("size").size == 1  # a line without = is absent
    assert thing("theirs=3", dialect=PJREDDIE).theirs == 3.0


def test_defaults_of_forks() -> None:
    for dialect, wanted in ((PJREDDIE, 90), (ALEXEYAB, 200), (HANK_AI, 200)):
        absent = {"default": 90, "in_fork": {ALEXEYAB: 200}}
        declared = dataclass(frozen=True)(
            type("T", (), {"__annotations__": {"value": int}, "value": option(**absent)})
        )
        assert bind(declared, section(), Context(dialect)).value == wanted
        assert bind(declared, section("value=7"), Context(dialect)).value == 7


@pytest.mark.parametrize(
    ("dialect", "wanted"), [("pjreddie", (90, 30, 0.5, 1e-7)), ("alexeyab", (200, 200, 0.2, 1e-6))]
)
def test_defaults_that_differ_in_training(dialect: str, wanted: tuple[float, ...]) -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=25\n[yolo]\n[region]\n[dropout]"
    plan = dt.plan(text, dialect=dialect)
    yolo, region, dropout = (node.layer for node in plan)
    assert (yolo.max, region.max, dropout.probability, plan.net.eps) == wanted


def test_option_of_the_other_fork() -> None:
    message = r"my.cfg:2: \[thing\] theirs: only pjreddie has this option, alexeyab ignores it"
    with pytest.warns(DarknetWarning, match=message):
        found = bind(Thing, section("theirs=3", "size=2"), Context(ALEXEYAB))
    assert (found.theirs, found.size) == (9.0, 2)
    with pytest.raises(CfgError, match=message):
        thing("theirs=3", mode="strict")


def test_unknown_option() -> None:
    message = r"my.cfg:3: \[thing\] siez: unknown option; did you mean size\?"
    for mode in ("normal", "darknet"):
        with pytest.warns(DarknetWarning, match=message):
            bind(Thing, section("size=2", "siez=3"), Context(ALEXEYAB, mode))  # type: ignore[arg-type]
    with pytest.raises(CfgError, match=message):
        thing("size=2", "siez=3", mode="strict")
    with pytest.raises(CfgError, match=r"qqqqqq: unknown option$"):
        thing("qqqqqq=3", mode="strict")


def test_duplicates() -> None:
    message = r"my.cfg:3: \[thing\] size: stands here twice, the first one counts"
    with pytest.warns(DarknetWarning, match=message):
        assert bind(Thing, section("size=2", "size=3"), Context(ALEXEYAB)).size == 2
    with pytest.raises(CfgError, match=r"\[thing\] size: stands here twice, hank-ai refuses that"):
        thing("size=2", "size=3", dialect=HANK_AI)


def test_unknown_activation() -> None:
    with pytest.raises(
        CfgError, match=r"my.cfg:2: .*activation=leeky: unknown; did you mean leaky\?"
    ):
        thing("activation=leeky")
    with pytest.raises(CfgError, match="dialect alexeyab or hank-ai knows it, pjreddie does not"):
        thing("activation=mish", dialect=PJREDDIE)
    with pytest.raises(CfgError, match=r"activation=qqqqqqq: unknown \("):
        thing("activation=qqqqqqq", mode="strict")
    assert thing("activation=leeky", mode="darknet").activation == "relu"
    assert thing("activation=mish", mode="darknet", dialect=PJREDDIE).activation == "relu"
    assert thing("activation=mish", mode="darknet").activation == "mish"


def test_every_known_activation_can_be_computed() -> None:
    import torch

    for dialect in DIALECTS.values():
        for name in dialect.activations:
            assert activate(name, torch.zeros(1, 2, 1, 1)).shape == (1, 2, 1, 1), name


def test_word_of_a_literal() -> None:
    with pytest.raises(
        CfgError, match=r"my.cfg:2: .*word=rellu: must be one of relu, softmax; did"
    ):
        thing("word=rellu")
    assert thing("word=rellu", mode="darknet").word == "softmax"  # Darknet takes its default


def test_range() -> None:
    with pytest.raises(CfgError, match=r"^my.cfg:3: \[thing\] size=0: must be at least 1$"):
        thing("word=relu", "size=0")


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
    wanted = [
        folder / name for folder in (beside, here, extra) for name in ("data/my.tree", "my.tree")
    ]
    for path in wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(here)
    for path in wanted:
        found = file_name("data/my.tree", beside, extra).find()
        assert found.samefile(path)
        path.unlink()
    with pytest.raises(CfgError) as caught:
        file_name("data/my.tree", beside, extra).find()
    message = str(caught.value)
    assert re.match(r"my.cfg:3: \[thing\] tree=data/my.tree: no such file; looked for ", message)
    listed = re.findall(r"[^ ,]*my\.tree", message.partition("looked for ")[2])
    assert [os.path.normpath(here / path) for path in listed] == [str(path) for path in wanted]


def test_a_text_has_no_place_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.tree").touch()
    assert file_name("my.tree", None).find().samefile(tmp_path / "my.tree")
    assert file_name(str(tmp_path / "my.tree"), None).find() == tmp_path / "my.tree"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", ".", "/"])
def test_a_name_that_can_be_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="no such file"):
        file_name(name, tmp_path).find()


def test_every_field_of_every_layer_type_can_be_read() -> None:
    """The annotation is the parser: a type without converter would fail only when it is used."""
    for name, entries in registered().items():
        for cls, only in entries:
            for dialect in DIALECTS.values():
                if dialect.knows(only):
                    bind(
                        cls, Section(name), Context(dialect), section=Section(name), dialect=dialect
                    )
