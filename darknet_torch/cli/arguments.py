"""Arguments that several verbs share, and how they load the network of those arguments."""

import argparse
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from darknet_torch.cli.output import inform
from darknet_torch.cli.parameters import add_parameters, parameters_of
from darknet_torch.cli.progress import doing, download_bar
from darknet_torch.cli.roles import (
    check_cfg,
    check_weights,
    is_weights,
    names_beside,
    refuse_backbone,
)
from darknet_torch.errors import UsageError
from darknet_torch.parsing.dialect import DIALECTS
from darknet_torch.parsing.options import Mode

if TYPE_CHECKING:
    import torch

    from darknet_torch.inference.converted import Converted
    from darknet_torch.network import Network, Runnable
    from darknet_torch.speed.optimized import Dtype, Optimized

__all__ = [
    "add_cfg",
    "add_device",
    "add_engine",
    "add_plan_options",
    "add_speed",
    "add_trust",
    "add_weights",
    "load_any",
    "load_network",
    "load_runnable",
    "plan_options",
    "take_weights",
    "use_own_card",
]


def add_cfg(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the arguments of all verbs about a network; `optional`: it may be named otherwise."""
    text = "a name (darknet-torch models) or a .cfg file"
    parser.add_argument("cfg", metavar="CFG", nargs="?" if optional else None, help=text)
    add_plan_options(parser)


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `plan`, `build` and `load`; see `plan_options`."""
    parser.add_argument("--dialect", choices=list(DIALECTS), help="the fork that the cfg is for")
    parser.add_argument("--width", type=int, help="width of the network's input, in pixels")
    parser.add_argument("--height", type=int, help="height of the network's input, in pixels")
    modes = ("strict", "normal", "darknet")
    parser.add_argument(
        "--mode", choices=modes, default="normal", help="unknown options: %(choices)s"
    )
    parser.set_defaults(trust=False)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the weights file, which names of the zoo do not need, and the class names."""
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="its weights file")
    parser.add_argument("--names", help="file of class names, one a line; or a .data or .yaml")


class PlanOptions(TypedDict):
    """Keyword arguments of `plan`, `build` and `load`."""

    dialect: str | None
    width: int | None
    height: int | None
    mode: Mode


def plan_options(options: argparse.Namespace) -> PlanOptions:
    """Return the keyword arguments of `plan`, `build` and `load` that were given."""
    return {
        "dialect": options.dialect,
        "width": options.width,
        "height": options.height,
        "mode": options.mode,
    }


def load_network(options: argparse.Namespace, device: str = "cpu") -> "Network":
    """Load the network that the arguments name, with a bar while weights are fetched."""
    from darknet_torch.network import as_network
    from darknet_torch.network.device import as_device

    try:
        place = as_device(device)
    except UsageError as error:
        raise UsageError(f"--device {str(error).removeprefix('device=')}") from error
    return as_network(load_any(options, device=str(place)))


def load_any(
    options: argparse.Namespace, engine: str | None = None, device: str = "cpu"
) -> "Network | Converted":
    """Load the network or converted file that the arguments name; `engine` runs the latter."""
    from darknet_torch.loading import load

    check_cfg(options.cfg, options.weights)
    check_weights(options.cfg, options.weights)
    with download_bar(options.cfg) as progress:
        network = load(
            options.cfg,
            options.weights,
            names=options.names,
            device=device,
            engine=engine,
            trusted=options.trust,
            progress=progress,
            **plan_options(options),
        )
    if not network.names and network.plan.heads:
        _take_names(network, options.cfg)
    return network


def _take_names(network: "Network | Converted", cfg: str) -> None:
    """Take the class names of the one file in the cfg's folder that has as many."""
    from darknet_torch.data.class_names import read_class_names

    path = names_beside(cfg, network.plan.classes)
    if path is not None:
        inform(f"class names: {path}, which lies beside the cfg (--names names another)")
        network.names = read_class_names(path)


def take_weights(
    options: argparse.Namespace,
    among: str = "images",
    *,
    converted: bool = True,
    backbone: bool = False,
) -> None:
    """Take the weights from the first of the other words: `VERB my.cfg my.weights ...`.

    among: the argument that holds those words; converted: whether it may be a converted file;
    backbone: whether it may be the name of a backbone.
    """
    words = getattr(options, among)
    if options.weights is None and words and is_weights(options.cfg, words[0], converted=converted):
        options.weights = words.pop(0)
    if not backbone:
        refuse_backbone(options.weights)
    check_cfg(options.cfg, options.weights, words)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the options for device and precision."""
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps; or auto: a graphics card if there is one (%(default)s)",
    )
    parser.add_argument("--half", action="store_true", help="compute in float16")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options for device, precision and engine."""
    add_device(parser)
    parser.add_argument(
        "--engine", help="torch, onnxruntime, openvino, opencv, or auto: the fastest here"
    )
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option without which no file runs code of its own."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load .pt2 and TorchScript files, programs that can do anything on this machine",
    )


def load_runnable(options: argparse.Namespace, *, many: bool = False) -> "Runnable":
    """Return a network, or a converted file: the one given, or one made for `--engine`.

    many: whether there are so many images that making the network faster is worth its time.
    """
    from darknet_torch.inference.engines import is_converted

    if is_converted(options.weights or options.cfg):
        _refuse_speed(options, "a converted file computes as it was written")
        return load_any(options, options.engine)
    if options.engine is None:
        network = load_network(options, options.device)
        runnable = _fastest(network, options, many=many)
        _say_device(runnable, network.device)
        return runnable
    _refuse_speed(options, "an engine computes in float32, on the processor")
    return _with_engine(options)


def _refuse_speed(options: argparse.Namespace, reason: str) -> None:
    """Raise UsageError where an option is given that only torch obeys."""
    given = {
        "--half": options.half,
        "--device": options.device not in ("auto", "cpu"),
        "--dtype": getattr(options, "dtype", None),
        "--compile": getattr(options, "compile", False),
        "--int8": getattr(options, "calibration", None),
    }
    if any(given.values()):
        raise UsageError(f"{', '.join(name for name in given if given[name])}: {reason}")


def _with_engine(options: argparse.Namespace) -> "Network | Converted":
    from darknet_torch.speed.engine_choice import with_engine

    network = load_network(options)
    doing("measure the engines" if options.engine == "auto" else f"convert for {options.engine}")
    runnable = with_engine(network, options.engine, options.batch_size)
    inform(f"engine: {'torch' if runnable is network else getattr(runnable, 'engine', '')}")
    return runnable


def add_speed(parser: argparse.ArgumentParser) -> None:
    """Add the options of `optimize`; without them many images are computed by an optimized copy."""
    known = parameters_of("darknet_torch.speed.optimized", "optimize")
    names = {"dtype": None, "compile": False, "calibration": None}
    parameters = {name: replace(known[name], default=names[name]) for name in names}
    add_parameters(parser, parameters, flags={"calibration": "--int8"})


def _fastest(
    network: "Network", options: argparse.Namespace, *, many: bool
) -> "Network | Optimized":
    """Return a network as it computes fastest: packed for many images, else as it is.

    --half is float16 but for the layers that would overflow.
    """
    from darknet_torch.speed.optimized import optimize

    dtype: Dtype | None = getattr(options, "dtype", None)
    if options.half and dtype not in (None, "float16"):
        raise UsageError(f"--half: it is --dtype float16, not {dtype}")
    dtype = "float16" if options.half else dtype
    compiles, images = (getattr(options, name, None) for name in ("compile", "calibration"))
    if not (many or dtype or compiles or images is not None):
        return network
    doing("optimize")
    if images is not None and dtype not in (None, "int8"):
        raise UsageError(f"--int8: what is not in 8 bits is float32, not {dtype}")
    if dtype == "int8" and images is None:
        raise UsageError("--dtype int8: --int8 my.yaml names images, on which ranges are measured")
    dtype = dtype or ("float32" if images is None else "int8")
    return optimize(network, dtype=dtype, compile=bool(compiles), calibration=images)


def _say_device(network: "Network | Optimized", device: "torch.device") -> None:
    """Print where the network computes, when it begins to: not before an argument is wrong."""
    import torch

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    where = "the processor" if device.type == "cpu" else f"{device} {card}".strip()
    unsaid = [f"computing on {where}"]

    def say(*_: object) -> None:
        hook.remove()
        with suppress(IndexError):  # another thread was first
            inform(unsaid.pop())

    hook = network.register_forward_pre_hook(say)


def use_own_card(options: argparse.Namespace) -> None:
    """Let each process of `torchrun` compute on a graphics card of its own, where there are any."""
    import torch

    from darknet_torch.distributed import local_rank

    if options.device in ("auto", "cuda") and torch.cuda.is_available():
        options.device = f"cuda:{local_rank()}"
