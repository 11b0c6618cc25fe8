"""The parser of the command and of its verbs: options stand anywhere, errors are one line."""

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, NoReturn

from darknet_torch.cli.darknet_commands import hint_for, translated
from darknet_torch.errors import UsageError

__all__ = ["VerbParser"]


class VerbParser(argparse.ArgumentParser):
    """A parser that takes options before, between and behind the other words.

    Darknet takes its options out of the command line wherever they stand; argparse alone fills
    `IMAGE ...` with nothing at the first option. A parser with verbs of its own passes their
    options on, so that these may stand before the verb, too.

    Attributes:
        module: of a verb, whose `add` and `run` are those of the parser; None of other parsers.
            Its arguments are added by `complete`, when the verb is chosen.
    """

    module: Any = None
    _verbs: Any = None
    _is_parsing = False
    _is_complete = False

    def add_subparsers(self, **settings: Any) -> Any:
        """Add verbs, which this class parses too."""
        self._verbs = super().add_subparsers(**settings)
        return self._verbs

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all words; raise UsageError for one that is not known."""
        if self._is_parsing:  # a step of parse_known_intermixed_args, which calls this method
            return super().parse_known_args(args, namespace)
        self.complete()
        if self._verbs is not None:
            return super().parse_known_args(self._verb_first(args), namespace)
        self._is_parsing = True
        self._refuse_darknets(args)
        found, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return found, unknown

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse's own does not notice a full disk."""
        print(self.format_help(), end="", file=file, flush=True)

    def complete(self) -> None:
        """Add the arguments of the verb, and those that all verbs have."""
        if self._is_complete:
            return
        self._is_complete = True
        if self.module is not None:
            self.module.add(self)
            self.set_defaults(run=self.module.run, verb=self.prog.partition(" ")[2])
        if self._verbs is None:
            _add_common(self)

    def complete_all(self) -> None:
        """Complete this parser and those of its verbs."""
        self.complete()
        for parser in () if self._verbs is None else self._verbs.choices.values():
            parser.complete_all()

    def _verb_first(self, words: Sequence[str]) -> list[str]:
        """Put the verb before the options that stand before it."""
        known = self._verbs.choices
        if words and not words[0].startswith("-") and words[0] not in known:
            ours = translated(words)
            if ours is not None:
                raise UsageError(f"{words[0]}: a command of Darknet's; here it is: {ours}")
            self.error(f"{words[0]}: no such verb" + _hint(words[0], known))
        place = next((n for n, word in enumerate(words) if word in known), 0)
        return [*words[place : place + 1], *words[:place], *words[place + 1 :]]

    def _refuse_darknets(self, words: Sequence[str]) -> None:
        """Raise UsageError for an option of Darknet's: argparse takes `-hier` for `-h`."""
        known = {text for action in self._actions for text in action.option_strings}
        for word in takewhile(lambda each: each != "--", words):
            if word not in known and (hint := hint_for(word)) is not None:
                self._fail(f"{word}: {hint}")

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raise UsageError for the first unknown option, or else for the first word too many."""
        options = [word for word in unknown if word.startswith("-") and len(word) > 1]
        if not options:
            self.error(f"{unknown[0]}: one word too many")
        name = options[0].partition("=")[0]
        known = [text for action in self._actions for text in action.option_strings]
        if meant := _meant(name, known):
            self._fail(f"{name}: no such option; here it is {meant}")
        self.error(f"{name}: no such option" + _hint(name, known))

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the name of the verb, and where its help is."""
        end = "" if message.endswith("?") else f"; {self.prog} --help lists all"
        self._fail(message.removeprefix("argument ") + end)

    def _fail(self, message: str) -> NoReturn:
        verb = self.prog.partition(" ")[2]
        raise UsageError(f"{verb}: {message}" if verb else message)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of all verbs."""
    group = parser.add_argument_group("how the command behaves")
    group.add_argument("-q", "--quiet", action="store_true", help="print only what is asked for")
    group.add_argument("-v", "--verbose", action="store_true", help="print what is done, and why")
    group.add_argument(
        "--offline", action="store_true", help="fetch nothing: no weights, no images of the web"
    )


_ELSEWHERE = {
    "--threshold": "conf conf-thres conf-thresh confidence score thres thresh score-threshold",
    "--nms": "iou iou-thres iou-thresh nms-thres nms-thresh nms-threshold",
    "--width and --height": "img imgsz img-size image-size input-size inp-dim size resolution",
    "--out": "output output-dir out-dir outdir output-folder save-dir project det",
    "--folder": "out output output-dir out-dir outdir output-folder save-dir project backup",
    "--names": "class-names names-file class-path labels-file label",
    "--device": "gpu gpus gpu-id cuda use-gpu",
}
"""Options here -> words of the same meaning in ports of Darknet and other YOLO programs."""
_WORDS = "cfg config model model-def weights weightsfile source image images input input-dir data"


def _meant(name: str, known: Iterable[str]) -> str:
    """Return what an option of other programs is called here, or ""."""
    word, options = name.lstrip("-").replace("_", "-"), set(known)
    if word in _WORDS.split():
        return f"a word of the command, without {name}"
    for ours, theirs in _ELSEWHERE.items():
        if word in theirs.split() and ours.partition(" ")[0] in options:
            return ours
    return ""


def _hint(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
