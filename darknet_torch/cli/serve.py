"""Serve networks over HTTP: images come in, detections or classes go out; with a page to try them.

examples: darknet-torch serve yolov4-tiny
          darknet-torch serve my.cfg my.weights other=other.onnx --port 8080
          curl --data-binary @street.jpg http://127.0.0.1:8000/detect
          curl -F image=@street.jpg "http://127.0.0.1:8000/detect?format=jpeg" -o out.jpg

The page is at http://127.0.0.1:8000. Ctrl-C or SIGTERM ends the server, once the requests in flight
are answered.
"""

import argparse
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_torch.cli.arguments import add_engine, add_plan_options, add_speed, load_runnable
from darknet_torch.cli.output import inform
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import doing
from darknet_torch.cli.roles import is_weights
from darknet_torch.errors import UsageError
from darknet_torch.safety.interrupt import stops_between_batches

if TYPE_CHECKING:
    from darknet_torch.network import Runnable

SIGNATURE = ("darknet_torch.server.running", "serve")
KEY = "DARKNET_TORCH_API_KEY"
"""Of the environment: the API key, which other users of a machine see on the command line."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="a name (darknet-torch models), a converted file, or a .cfg file and its weights file;"
        " NAME=MODEL gives it another name. The first one is the default",
    )
    add_plan_options(parser)
    parser.add_argument(
        "--names", help="file of class names, one a line, of a single MODEL; or a .data or .yaml"
    )
    add_parameters(parser, parameters_of(*SIGNATURE), _options())
    add_engine(parser)
    add_speed(parser)


def _options() -> list[str]:
    return [name for name in parameters_of(*SIGNATURE) if name != "started"]


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    from darknet_torch.server.running import serve

    files = named_files(options.models)
    if options.names is not None and len(files) > 1:
        raise UsageError("--names: for a single MODEL; others take the NAME.names beside their cfg")
    models = {name: _load(options, *each) for name, each in files.items()}
    doing("serve")
    if options.api_key is None:
        options.api_key = os.environ.get(KEY)

    has_started = False

    def started(address: str) -> None:
        nonlocal has_started
        has_started = True
        inform(f"serving {', '.join(models)} at {address} (Ctrl-C ends)")

    def end() -> None:
        if not has_started:  # from then on the server ends at a signal, and repeats it at its end
            raise KeyboardInterrupt

    # Of damaged images the answer says what is wrong; Python would remember each warning for good.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with stops_between_batches(then=end):
        serve(models, started=started, **given(options, _options()))
    return 0


def _load(options: argparse.Namespace, cfg: str, weights: str | None) -> "Runnable":
    mine = argparse.Namespace(**vars(options) | {"cfg": cfg, "weights": weights})
    return load_runnable(mine, many=True)


def named_files(words: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return (cfg, weights) of each model by its name: that before `=`, or that of its cfg.

    Raises:
        UsageError: two models have one name.
    """
    files: dict[str, tuple[str, str | None]] = {}
    rest = list(words)
    while rest:
        name, cfg = _name_of(rest.pop(0))
        weights = rest.pop(0) if rest and _belongs(cfg, rest[0]) else None
        if name in files:
            raise UsageError(f"{name}: two models have this name; NAME={cfg} gives another one")
        files[name] = cfg, weights
    return files


def _name_of(word: str) -> tuple[str, str]:
    """Return the name of a model, and its cfg."""
    name, equals, cfg = word.partition("=")
    if equals and name and cfg and not Path(word).exists():
        return name, cfg
    return Path(word).stem if Path(word).suffix else word, word


def _belongs(cfg: str, word: str) -> bool:
    """Return whether a word is the weights file of the cfg before it."""
    return cfg.lower().endswith(".cfg") and is_weights(cfg, word, converted=False)
