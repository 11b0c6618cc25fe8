"""Scripts by which a shell completes verbs, options, names of models and files."""

import argparse
from typing import Any

from darknet_torch import zoo
from darknet_torch.cli.verb_parser import VerbParser
from darknet_torch.extras import require

__all__ = ["PrintCompletion"]

SHELLS = ("bash", "zsh", "tcsh")
FILES = ("FILE", "FOLDER", "PATH", "NAMES", "WEIGHTS", "OUT")
"""What options are called that take a file."""
MODELS = "_darknet_torch_cfg"
BASH = """{name}() {{
  compgen -W "{models}" -- "$1"
  compgen -f -- "$1"
}}
"""


class PrintCompletion(argparse.Action):
    """The option that prints a shell's script: `eval "$(darknet-torch --completion bash)"`."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any) -> None:
        text = 'print what a shell completes by; eval "$(darknet-torch --completion bash)"'
        settings |= {"choices": SHELLS, "default": argparse.SUPPRESS, "help": text}
        super().__init__(option_strings, dest, **settings)

    def __call__(self, parser: Any, _: Any, shell: Any, __: Any = None) -> None:
        """Print the script and end the program."""
        shtab = require("shtab", "completion")
        parser.complete_all()
        _mark_files(parser, shtab)
        models = BASH.format(name=MODELS, models=" ".join(zoo.list_models()))
        print(shtab.complete(parser, shell, preamble={"bash": models}))
        parser.exit()


def _mark_files(parser: VerbParser, shtab: Any) -> None:
    """Mark the words that are files, in a parser and those of its verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _mark_files(verb, shtab)
        elif action.dest == "cfg":
            vars(action)["complete"] = shtab.FILE | {"bash": MODELS}
        elif not action.option_strings or (action.metavar or action.dest.upper()) in FILES:
            vars(action)["complete"] = shtab.FILE
