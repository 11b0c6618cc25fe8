"""Options of the command stand anywhere; a word that is wrong is an error of one line."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest

from darknet_torch.cli import main
from darknet_torch.cli.verb_parser import VerbParser
from darknet_torch.errors import UsageError
from darknet_torch.version import __version__


def parse(*words: str) -> dict[str, object]:
    """What a verb with one needed word, one more and any number sees of a command line."""

    def add(parser: VerbParser) -> None:
        parser.add_argument("cfg")
        parser.add_argument("weights", nargs="?", default="none")
        parser.add_argument("images", nargs="*")
        parser.add_argument("--threshold", type=float)
        parser.add_argument("-o", "--out")
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--need", required="--need" in words)

    parser = VerbParser(prog="tool")
    parser.add_argument("--version", action="store_true")
    verbs = parser.add_subparsers(required=True)
    verbs.add_parser("run").module = SimpleNamespace(add=add, run="its function")
    group = verbs.add_parser("group").add_subparsers(required=True)
    group.add_parser("inner").module = SimpleNamespace(add=add, run="another")
    found = vars(parser.parse_args(words))
    return {key: value for key, value in found.items() if value not in (None, False)}


@pytest.mark.parametrize("verb", ["run", "group inner"])
def test_options_stand_anywhere(verb: str) -> None:
    """Every order of two options among four other words gives what their order at the end does."""
    words, options = ["a.cfg", "b.weights", "c.jpg", "-"], [["--threshold", ".4"], ["-o", "x"]]
    expected = parse(*verb.split(), *words, *itertools.chain(*options))
    assert expected["images"] == ["c.jpg", "-"]
    for first, second in itertools.product(range(5), repeat=2):
        mixed: list[list[str]] = [[word] for word in words]
        mixed.insert(first, options[0])
        mixed.insert(second, options[1])
        assert parse(*verb.split(), *itertools.chain(*mixed)) == expected


def test_options_stand_before_the_verb() -> None:
    assert parse("--threshold", ".4", "run", "a.cfg") == parse("run", "a.cfg", "--threshold", ".4")
    inner = parse("group", "inner", "a.cfg", "--json")
    assert parse("group", "--json", "inner", "a.cfg") == inner
    assert parse("--json", "group", "inner", "a.cfg") == inner


def test_what_is_not_given_has_its_default() -> None:
    assert parse("run", "--json", "a.cfg") == {
        "json": True,
        "cfg": "a.cfg",
        "weights": "none",
        "images": [],
        "run": "its function",
        "verb": "run",
    }
    assert parse("run", "--need", "x", "a.cfg")["need"] == "x"


def test_words_behind_two_dashes_are_no_options() -> None:
    assert parse("run", "--json", "a.cfg", "b", "--", "--out")["images"] == ["--out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run a.cfg --treshold .4 b", "run: --treshold: no such option; did you mean --threshold?"),
        ("run a.cfg -thresh .4 b", "run: -thresh: an option of Darknet's, here --threshold"),
        ("run a.cfg --qqq=4", "run: --qqq: no such option; tool run --help lists all"),
        ("run --threshold x a", "run: --threshold: invalid float value: 'x'; tool run --help"),
        ("run --json", "run: the following arguments are required: cfg"),
        ("rum a.cfg", "rum: no such verb; did you mean run?"),
        ("group innr", "group: innr: no such verb; did you mean inner?"),
        ("", "the following arguments are required"),
    ],
)
def test_wrong_words(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words.split())
    assert str(caught.value).startswith(message)


def test_too_many_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--mode", "strict", "a.cfg", "b.weights", "c.jpg"]) == 2
    message = (
        "darknet-torch: check: c.jpg: one word too many; darknet-torch check --help lists all\n"
    )
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--conf-thres=.4", "--conf-thres: no such option; here it is --threshold"),
        ("--iou_thres", "--iou_thres: no such option; here it is --nms"),
        ("--img-size", "--img-size: no such option; here it is --width and --height"),
        ("--output", "--output: no such option; here it is --out"),
        ("--cfg", "--cfg: no such option; here it is a word of the command, without --cfg"),
    ],
)
def test_options_of_other_programs(
    word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "my.cfg", word, "my.weights"]) == 2
    assert capsys.readouterr().err == f"darknet-torch: detect: {message}\n"


def test_an_option_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "my.cfg", "--out", "run"]) == 2
    assert "--out: no such option; here it is --folder" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "darknet_torch", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"darknet-torch {__version__}\n")
