"""Darknet's command lines in our words: those of the page, and what the errors say."""

import re
import shlex
from pathlib import Path

import pytest

from darknet_torch.cli import main
from darknet_torch.cli.command import _parser
from darknet_torch.cli.darknet_commands import hint_for, translated

PAGE = Path(__file__).parents[2] / "docs" / "from-darknet.md"
ROWS = re.findall(r"^\| `darknet (.+)` \| `(darknet-torch .+)` \|$", PAGE.read_text(), re.MULTILINE)
INPUT = " < list.txt"


def test_the_page_has_all_commands() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize(("darknet", "ours"), ROWS)
def test_rows_of_the_page(darknet: str, ours: str) -> None:
    """What the page says is what the hint says, and the command takes it."""
    assert translated(shlex.split(darknet.removesuffix(INPUT))) == ours.removesuffix(INPUT)
    words = shlex.split(re.sub(r" [<>] \S+", "", ours))
    _parser().parse_args(words[1:])


@pytest.mark.parametrize(
    ("darknet", "ours"),
    [
        ("detector test", "detect CFG WEIGHTS -"),
        (
            "detector test a.data a.cfg a.w 'a b.jpg' -i 1",
            "detect a.cfg a.w 'a b.jpg' --names a.data --device cuda:1",
        ),
        ("detector map a.data a.cfg a.w -thresh .3", "evaluate a.cfg a.w a.data --confidence .3"),
        ("detector demo a.data a.cfg a.w", "video a.cfg a.w 0 --names a.data"),
        ("detector train a.data a.cfg -gpus 0,1", "train a.cfg --scratch a.data"),
        ("rnn train a.cfg", "train a.cfg --scratch TEXT"),
        (
            "detector test a.data a.cfg a.w x.jpg -nogpu -out",
            "detect a.cfg a.w x.jpg --names a.data --device cpu --json > ''",
        ),
    ],
)
def test_words_that_are_missing_or_odd(darknet: str, ours: str) -> None:
    assert translated(shlex.split(darknet)) == f"darknet-torch {ours}"


def test_other_words_are_none_of_darknets() -> None:
    assert translated(["detector"]) is None
    assert translated(["detect", "a.cfg"]) is None  # which is ours, too
    assert hint_for("--threshold") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "detector test a.data a.cfg a.w a.jpg",
            "detector: a command of Darknet's; here it is: darknet-torch detect a.cfg "
            "a.w a.jpg --names a.data",
        ),
        (
            "detect a.cfg a.w a.jpg -hier .5",
            "detect: -hier: an option of Darknet's, here --hier-threshold",
        ),
        (
            "detect a.cfg a.w a.jpg -dont_show",
            "detect: -dont_show: an option of Darknet's that is not needed: no window is opened",
        ),
        (
            "train a.cfg a.w a.data -map",
            "train: -map: an option of Darknet's that is not needed: mAP is always "
            "measured, --eval-every says how often",
        ),
    ],
)
def test_errors(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"darknet-torch: {message}\n"
