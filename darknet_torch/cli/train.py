"""Train a network on images of your own, or on those of a paper; go on where it was stopped.

examples: darknet-torch train yolov4-tiny my.yaml
          darknet-torch train yolov4-tiny my.yaml --hours 2 --patience 10
          darknet-torch train my.cfg my.weights obj.data --cutoff 29 --clear
          darknet-torch train my.cfg obj.data --scratch --set mosaic=0 --set learning_rate=.002
          darknet-torch train --recipe yolov2-voc --cache ram
          darknet-torch train rnn.cfg book.txt --scratch
          torchrun --standalone --nproc-per-node 4 --no-python darknet-torch train yolov4 my.yaml

Without WEIGHTS the named model's are fetched. Where the classes of DATA are others than those of
the network, its heads, steps and max_batches are changed to match, and the cfg is written beside
the weights. The same command again goes on where the training was stopped (docs/train.md).
"""

import argparse
import re
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from darknet_torch.cli.arguments import (
    add_cfg,
    add_device,
    plan_options,
    take_weights,
    use_own_card,
)
from darknet_torch.cli.output import inform, print_json
from darknet_torch.cli.parameters import add_parameters, given, parameters_of
from darknet_torch.cli.progress import doing, download_bar
from darknet_torch.cli.roles import check_weights, role_of
from darknet_torch.cli.training_display import TrainingDisplay, command_of
from darknet_torch.errors import UsageError
from darknet_torch.speed.idle_threads import let_idle_threads_sleep
from darknet_torch.training.recipes import Recipe, list_recipes, load_recipe

if TYPE_CHECKING:
    from darknet_torch.data import Dataset
    from darknet_torch.network import Network
    from darknet_torch.training.result import TrainingResult

SIGNATURE = ("darknet_torch.training.loop", "train")
NOT_OPTIONS = ("options", "callbacks")
NEGATIVE = {"augment": ("--no-augment", "take the images as they are")}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_cfg(parser, optional=True)
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="before it the .weights file, if there is one"
    )
    parser.add_argument(
        "--recipe", metavar="NAME", help=f"in place of CFG: {', '.join(list_recipes())}, or a .yaml"
    )
    parser.add_argument("--weights", help="weights to start from (default: the named model's)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--scratch", action="store_true", help="start from random values")
    start.add_argument(
        "--cutoff", type=int, metavar="N", help="take only the first N layers of the weights"
    )
    parser.add_argument(
        "--classes", help="file of class names, one a line; or a .data or .yaml (default: DATA's)"
    )
    parser.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[],
        help="an option of the cfg: KEY of [net], or SECTION.KEY; may be repeated",
    )  # fmt: skip
    add_parameters(parser, parameters_of(*SIGNATURE), _options(), negative=NEGATIVE)
    parser.set_defaults(folder=None)  # that of the recipe, or else that of `train`
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _options() -> list[str]:
    return [name for name in parameters_of(*SIGNATURE) if name not in NOT_OPTIONS]


def run(options: argparse.Namespace) -> int:
    """Train; print where the files are, and the score."""
    let_idle_threads_sleep()
    import torch

    from darknet_torch import distributed

    if options.half:
        raise UsageError("--half: --dtype says in what type a training computes")
    settings: dict[str, str | int | float] = dict(_setting(each) for each in options.settings)
    if options.recipe is not None:
        settings = _take_recipe(options) | settings
    elif options.cfg is None:
        raise UsageError("train: CFG and DATA are missing, or --recipe")
    options.folder = options.folder or parameters_of(*SIGNATURE)["folder"].default
    take_weights(options, among="data", converted=False, backbone=True)
    _check_words(options)
    use_own_card(options)
    torch.manual_seed(options.seed)  # of the values that training starts from
    with distributed.process_group() as group:
        network = _network(options)
        result = _train(network, settings, options)
        if group.rank == 0:
            _show(result, options)
    return 130 if result.stopped == "interrupt" else 0


def _take_recipe(options: argparse.Namespace) -> dict[str, str | int | float]:
    """Fill in what the recipe says, where the user says nothing; return its options of the cfg."""
    recipe = load_recipe(options.recipe)
    words = [*filter(None, (options.cfg,)), *options.data]
    if not words and recipe.data is None:
        raise UsageError(f"recipe {recipe.name}: names no data; DATA comes behind it")
    options.cfg, options.data = recipe.cfg, words or [recipe.data]
    options.folder = options.folder or recipe.folder
    options.width, options.height = options.width or recipe.width, options.height or recipe.height
    options.clear = options.clear or recipe.clear
    if (
        options.weights is None
        and not options.scratch
        and not any(role_of(word) == "weights" for word in words)
    ):
        _take_start(recipe, options)
    return dict(recipe.options)


def _take_start(recipe: Recipe, options: argparse.Namespace) -> None:
    """Fill in the weights that a recipe starts from."""
    from darknet_torch import zoo

    earlier = recipe.earlier_weights()
    options.cutoff = options.cutoff or recipe.cutoff
    if earlier is not None:
        options.weights = str(earlier)
    elif recipe.weights is None:
        options.scratch = True
    elif recipe.weights in zoo.list_models():
        with download_bar(recipe.weights) as progress:
            options.weights = str(zoo.fetch(recipe.weights, progress))
    else:
        options.weights = recipe.weights
    inform(f"recipe {recipe.name}: starts from {options.weights or 'random values'}")


def _check_words(options: argparse.Namespace) -> None:
    """Raise UsageError where DATA or the weights are not where they belong."""
    data: list[str] = options.data
    if not data:
        raise UsageError("train: DATA is missing; it comes behind the network and its weights")
    if len(data) > 1:
        late = next((each for each in data[1:] if role_of(each) == "weights"), None)
        if late is not None:
            raise UsageError(f"{late}: the weights come before DATA, behind the cfg")
        raise UsageError(f"must be one DATA, not {len(data)}: {' '.join(data)}")
    if options.scratch:
        if options.weights is not None:
            raise UsageError(f"--scratch: starts from random values, not from {options.weights}")
        return
    try:
        check_weights(options.cfg, options.weights, backbone=True)
    except UsageError as error:
        end = "" if options.weights else "; --scratch starts from random values"
        raise UsageError(f"{error}{end}") from error


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: must be KEY=VALUE, such as learning_rate=.002")
    return key.strip(), value.strip()


def _network(options: argparse.Namespace) -> "Network":
    """Return the network with the values that training starts from."""
    from darknet_torch.loading import build, load
    from darknet_torch.network import as_network
    from darknet_torch.network.device import as_device

    device = as_device(options.device)
    if options.scratch:
        return build(options.cfg, **plan_options(options)).to(device)
    doing("load")
    with download_bar(options.weights or options.cfg) as progress:
        network = load(
            options.cfg,
            options.weights,
            cutoff=_cutoff(options),
            device=device,
            progress=progress,
            **plan_options(options),
        )
    return as_network(network)


def _cutoff(options: argparse.Namespace) -> int | None:
    """Return the number of layers to take: that in the name of a backbone, `x.conv.29`, too."""
    named = re.search(r"\.conv\.(\d+)$", options.weights or "")
    if options.cutoff is None and named:
        return int(named[1])
    count: int | None = options.cutoff
    return count


def _train(
    network: "Network", settings: dict[str, str | int | float], options: argparse.Namespace
) -> "TrainingResult":
    from darknet_torch.training.characters import train_characters
    from darknet_torch.training.loop import train
    from darknet_torch.training.losses import node_with_masks

    values = given(options, _options())
    callbacks = (TrainingDisplay(),)
    if network.plan.input.is_vector and network.stateful:
        values = _of_texts(values, options)
        return train_characters(
            network, options.data[0], options=settings, callbacks=callbacks, **values
        )
    masks = node_with_masks(network.plan) is not None
    dataset = _dataset(options.data[0], options.split, options, masks=masks)
    network = _fitted(network, dataset, options)
    values["val"] = _validation(dataset, options, masks=masks)
    return train(network, dataset, options=settings, callbacks=callbacks, **values)


def _of_texts(values: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that the training on a text has.

    Raises:
        UsageError: another one is given.
    """
    known, defaults = parameters_of(*CHARACTERS), parameters_of(*SIGNATURE)
    given_too = [n for n in values if n not in known and values[n] != defaults[n].default]
    given_too += ["classes"] if options.classes is not None else []
    if given_too:
        flags = ", ".join(
            NEGATIVE.get(name, (f"--{name.replace('_', '-')}",))[0] for name in given_too
        )
        raise UsageError(f"{flags}: of images; training on a text has no such option")
    return {name: values[name] for name in known if name in values}


CHARACTERS = ("darknet_torch.training.characters", "train_characters")


def _dataset(
    source: "str | PathLike[str]", split: str, options: argparse.Namespace, *, masks: bool = False
) -> "Dataset":
    from darknet_torch import data
    from darknet_torch.cli.progress import working_bar

    doing("read the data set")
    with working_bar() as progress:
        return data.read(source, split, names=options.classes, masks=masks, progress=progress)


def _validation(
    dataset: "Dataset", options: argparse.Namespace, *, masks: bool
) -> "Dataset | None":
    """Return the validation images, which are others than those of the training."""
    from darknet_torch.training.sources import validation_of

    if options.val is not None:
        return _dataset(options.val, options.val_split, options, masks=masks)
    read = partial(_dataset, options=options, masks=masks)
    return validation_of(options.data[0], options.val_split, dataset, read)


def _batches(options: argparse.Namespace) -> int | None:
    """Return the number of batches, where an option says it."""
    texts = [each.partition("=")[2] for each in options.settings if each.startswith("max_batches=")]
    told = str(options.max_batches or "".join(texts[-1:]))
    return int(told) if told.isdecimal() else None


def _fitted(network: "Network", dataset: "Dataset", options: argparse.Namespace) -> "Network":
    """Return the network with the classes of the data set."""
    from darknet_torch.training.starting import fit_classes, needs_other_classes

    if not needs_other_classes(network, dataset.names):
        if not network.names:
            network.names = dataset.names
        return network
    fitted = fit_classes(network, dataset.names, len(dataset), _batches(options))
    classes = f"{len(dataset.names)} classes: {', '.join(dataset.names[:10])}"
    inform(f"{classes}; max_batches={fitted.plan.net.max_batches} in the cfg for them")
    fitted.header = fitted.header._replace(seen=0)
    return fitted


def _show(result: "TrainingResult", options: argparse.Namespace) -> None:
    if options.json:
        print_json(result.to_dict())
        return
    print(result)
    if command := command_of(result):
        inform(command)
