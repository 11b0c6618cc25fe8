"""Darknet's own command lines, and what does the same here: for the hints of errors.

>>> translated(["detector", "test", "obj.data", "my.cfg", "my.weights", "dog.jpg", "-thresh", ".3"])
'darknet-torch detect my.cfg my.weights dog.jpg --names obj.data --threshold .3'
"""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["hint_for", "translated"]


class _Command(NamedTuple):
    """A command of Darknet.

    Attributes:
        words: what stands behind it, by name.
        ours: our verb and its words; `--names DATA` is left out where there is none.
        threshold: ours for its -thresh.
        out: ours for its -out.
    """

    words: str
    ours: str
    threshold: str = "--threshold"
    out: str = "--json >"


_COMMANDS = {
    "detector test": _Command("DATA CFG WEIGHTS IMAGE", "detect CFG WEIGHTS IMAGE --names DATA"),
    "detector demo": _Command("DATA CFG WEIGHTS VIDEO", "video CFG WEIGHTS VIDEO --names DATA"),
    "detector train": _Command("DATA CFG WEIGHTS", "train CFG WEIGHTS DATA"),
    "detector map": _Command(
        "DATA CFG WEIGHTS", "evaluate CFG WEIGHTS DATA", "--confidence", "--out"
    ),
    "detector valid": _Command("DATA CFG WEIGHTS", "evaluate CFG WEIGHTS DATA --out results"),
    "detector recall": _Command(
        "DATA CFG WEIGHTS", "evaluate CFG WEIGHTS DATA", "--confidence", "--out"
    ),
    "detector calc_anchors": _Command("DATA", "anchors DATA"),
    "classifier predict": _Command(
        "DATA CFG WEIGHTS IMAGE", "classify CFG WEIGHTS IMAGE --names DATA"
    ),
    "classifier train": _Command("DATA CFG WEIGHTS", "train CFG WEIGHTS DATA"),
    "classifier valid": _Command("DATA CFG WEIGHTS", "evaluate CFG WEIGHTS DATA"),
    "yolo test": _Command("CFG WEIGHTS IMAGE", "detect CFG WEIGHTS IMAGE"),
    "yolo demo": _Command("CFG WEIGHTS VIDEO", "video CFG WEIGHTS VIDEO"),
    "rnn train": _Command("CFG WEIGHTS", "train CFG WEIGHTS TEXT"),
    "rnn generate": _Command("CFG WEIGHTS", "generate CFG WEIGHTS"),
    "partial": _Command("CFG WEIGHTS OUT N", "convert CFG WEIGHTS -o OUT --cutoff N"),
    "ops": _Command("CFG", "summary CFG"),
}
_DEFAULTS = {"IMAGE": "-", "VIDEO": "0"}
"""Darknet asks for an image, or opens a camera."""
_WITH_VALUE = {
    "-thresh": "--threshold",
    "-hier": "--hier-threshold",
    "-iou_thresh": "--iou",
    "-points": "--points",
    "-out": "--json > FILE",
    "-out_filename": "--out",
    "-json_port": "--json-port",
    "-mjpeg_port": "--mjpeg-port",
    "-num_of_clusters": "--clusters",
    "-width": "--width",
    "-height": "--height",
    "-top": "--top",
    "-t": "--top",
    "-seed": "--seed",
    "-len": "--length",
    "-temp": "--temperature",
    "-srand": "--random-seed",
    "-i": "--device cuda:N",
}
"""Options that take a value -> ours."""
_ALONE = {
    "-letter_box": "--letterbox",
    "-clear": "--clear",
    "-save_labels": "--save txt",
    "-nogpu": "--device cpu",
}
_WITHOUT = {
    "-gpus": "torchrun starts a process for each card (docs/train.md)",
    "-c": "the number of a camera stands in place of the video",
    "-file": "the text stands in place of the data",
    "-prefix": "--out names the file",
    "-dont_show": "no window is opened",
    "-ext_output": "the boxes are always printed",
    "-benchmark": "tools/bench.py measures",
    "-show": "no window is opened",
    "-show_imgs": "batch-0.jpg shows the images of the first batch",
    "-map": "mAP is always measured, --eval-every says how often",
}
"""Options that have no counterpart -> why."""
_INSTEAD = {"-c": "VIDEO", "-file": "TEXT"}
"""Options whose value is a word here."""
_WITH_UNUSED_VALUE = ("-gpus", "-prefix")


def translated(words: Sequence[str]) -> str | None:
    """Return our command line for one of Darknet's, without its program; None for others."""
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in _COMMANDS), None)
    if name is None:
        return None
    command = _COMMANDS[name]
    given, options = _split(command, words[len(name.split()) :])
    known = _DEFAULTS | given
    if command.ours.startswith("train") and "CFG" in given:
        known.setdefault("WEIGHTS", "--scratch")
    ours = command.ours if "DATA" in given else command.ours.replace(" --names DATA", "")
    return " ".join(["darknet-torch", *(known.get(word, word) for word in ours.split()), *options])


def _split(command: _Command, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the words of a command by their names, and its options as they are here."""
    given, options = dict[str, str](), list[str]()
    own = {"-thresh": command.threshold, "-out": command.out}
    names, rest = iter(command.words.split()), iter(words)
    for word in rest:
        if word in _INSTEAD:
            given[_INSTEAD[word]] = shlex.quote(next(rest, ""))
        elif word in _WITH_VALUE:
            value, ours = shlex.quote(next(rest, "")), own.get(word, _WITH_VALUE[word])
            options.append(ours.replace("N", value) if "N" in ours else f"{ours} {value}")
        elif word in _ALONE:
            options.append(_ALONE[word])
        elif word in _WITHOUT:
            if word in _WITH_UNUSED_VALUE:
                next(rest, "")
        elif (name := next(names, None)) is not None:
            given[name] = shlex.quote(word)
    return given, options


def hint_for(option: str) -> str | None:
    """Return what stands for an option of Darknet's here; None for others."""
    if option in _WITHOUT:
        return f"an option of Darknet's that is not needed: {_WITHOUT[option]}"
    ours = _WITH_VALUE.get(option) or _ALONE.get(option)
    return None if ours is None else f"an option of Darknet's, here {ours}"
