"""Options as dataclass fields: defaults, forks, unknown and duplicate keys."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import darknet_torch as dt
from darknet_torch.errors import CfgError, DarknetWarning
from darknet_torch.layers.registry import registered
from darknet_torch.parsing.dialect import ALEXEYAB, DIALECTS, HANK_AI, PJREDDIE, Dialect
from darknet_torch.parsing.options import Activation, Context, bind, option
from darknet_torch.parsing.parser import Section, parse


def section(*lines: str, folder: Path | None = None) -> Section:
    return parse("\n".join(("[thing]", *lines)), "my.cfg", folder)[0]


@dataclass(frozen=True)
class Thing:
    size: int = option(1, check=lambda n: n > 0, expected="at least 1")
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
    for nothing in ("size", "size="):
        with pytest.warns(DarknetWarning, match="size: no value behind it"):
            assert bind(Thing, section(nothing), Context(ALEXEYAB)).size == 1
    assert thing("theirs=3", dialect=PJREDDIE).theirs == 3.0


def test_defaults_of_forks() -> None:
    for dialect, expected in ((PJREDDIE, 90), (ALEXEYAB, 200), (HANK_AI, 200)):
        absent = {"default": 90, "in_fork": {ALEXEYAB: 200}}
        declared = dataclass(frozen=True)(
            type("T", (), {"__annotations__": {"value": int}, "value": option(**absent)})
        )
        assert bind(declared, section(), Context(dialect)).value == expected
        assert bind(declared, section("value=7"), Context(dialect)).value == 7


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [("pjreddie", (90, 30, 0.5, 1e-7)), ("alexeyab", (200, 200, 0.2, 1e-6))],
)
def test_defaults_that_differ_in_training(dialect: str, expected: tuple[float, ...]) -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=25\n[yolo]\n[region]\n[dropout]"
    plan = dt.plan(text, dialect=dialect)
    yolo, region, dropout = (node.layer for node in plan)
    assert (yolo.max, region.max, dropout.probability, plan.net.eps) == expected


def test_option_of_the_other_fork() -> None:
    message = r"my.cfg:2: \[thing\] theirs: only pjreddie has this option, alexeyab ignores it"
    with pytest.warns(DarknetWarning, match=message):
        bound = bind(Thing, section("theirs=3", "size=2"), Context(ALEXEYAB))
    assert (bound.theirs, bound.size) == (9.0, 2)
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


def test_range() -> None:
    with pytest.raises(CfgError, match=r"^my.cfg:3: \[thing\] size=0: must be at least 1$"):
        thing("word=relu", "size=0")


def test_every_field_of_every_layer_type_can_be_read() -> None:
    """The annotation is the parser: a type without converter would fail only when it is used."""
    for name, entries in registered().items():
        for cls, only in entries:
            for dialect in DIALECTS.values():
                if dialect.knows(only):
                    bind(
                        cls, Section(name), Context(dialect), section=Section(name), dialect=dialect
                    )
