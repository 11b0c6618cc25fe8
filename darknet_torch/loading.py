"""Names and paths -> plans and networks: build, load, save, and the cfgs of the package."""

from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import overload

import torch

from darknet_torch.errors import UsageError
from darknet_torch.files import cfg_folder
from darknet_torch.inference import engines, metadata
from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network, Runnable, as_network, checkpoint_file, weights_file
from darknet_torch.network.cfg_source import (
    CfgSource,
    Names,
    PathOrText,
    Settings,
    find_weights,
    search_folders,
)
from darknet_torch.network.device import as_device
from darknet_torch.network.origin import Origin
from darknet_torch.network.plan import Plan, make_plan
from darknet_torch.parsing import dialect as dialects
from darknet_torch.parsing import parser
from darknet_torch.parsing.dialect import Dialect
from darknet_torch.parsing.options import Context, Mode
from darknet_torch.parsing.parser import Section
from darknet_torch.progress import Progress

__all__ = ["build", "cfg_folder", "list_cfgs", "load", "parse_cfg", "plan", "save"]


def parse_cfg(path_or_text: PathOrText) -> list[Section]:
    """Read a cfg into its sections, with line numbers.

    >>> [section.name for section in parse_cfg("[net]\\nwidth=8\\n[avgpool]")]
    ['net', 'avgpool']

    Args:
        path_or_text: a path, or the text itself (any string of more than one line).

    Raises:
        CfgError: the file cannot be read, or is no cfg.
    """
    return parser.read(path_or_text)


def list_cfgs(pattern: str = "*") -> list[str]:
    """Return the names of the cfgs in the package.

    >>> list_cfgs("yolov4-p*")
    ['yolov4-p5', 'yolov4-p6']

    Args:
        pattern: with the wildcards of a shell; only matching names are returned.
    """
    names = sorted(path.stem for path in cfg_folder().glob("*.cfg"))
    return [name for name in names if fnmatchcase(name, pattern)]


def plan(
    cfg: PathOrText,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    mode: Mode = "normal",
) -> Plan:
    """Return the layers of a cfg with wiring, shapes and weight segments, but without tensors.

    Args:
        cfg: a name (`list_cfgs`, the zoo), a path, or a text.
        dialect: the fork whose numbers to compute, or its name; None is the zoo entry's, else
            ALEXEYAB.
        width: width of the network's input in pixels; None is the cfg's.
        height: height of the network's input in pixels; None is the cfg's.
        mode: "strict" makes unknown options errors, "normal" warnings; "darknet" also accepts what
            the C programs accept: an unknown activation computes relu.

    Raises:
        CfgError: with file and line; ShapeError where layers do not fit.
    """
    settings = Settings(dialect, width, height, None, mode)
    return CfgSource(cfg).plan(settings)


def build(
    cfg: PathOrText,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: Names | None = None,
    mode: Mode = "normal",
) -> Network:
    """Return a network with random start values.

    Args:
        cfg: a name (`list_cfgs`, the zoo), a path, or a text.
        dialect: the fork, or its name; None is the zoo entry's, else ALEXEYAB.
        width: width of the network's input in pixels; None is the cfg's.
        height: height of the network's input in pixels; None is the cfg's.
        names: of the classes, or a file of them, one a line, or the .data or .yaml of a data set;
            None is the zoo entry's, or `NAME.names` beside the cfg.
        mode: "strict", "normal" or "darknet", see `plan`.

    Raises:
        CfgError: with file and line; ShapeError where layers do not fit.
        UsageError: an argument is wrong.
    """
    network = _skeleton(CfgSource(cfg), Settings(dialect, width, height, names, mode))
    weights_file.initialize(network)
    return network


@overload
def load(
    cfg: PathOrText,
    weights: PathOrText | None = None,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: Names | None = None,
    partial: bool = False,
    cutoff: int | None = None,
    mode: Mode = "normal",
    device: str | torch.device = "cpu",
    engine: str,
    trusted: bool = False,
    progress: Progress | None = None,
) -> Converted: ...


@overload
def load(
    cfg: PathOrText,
    weights: PathOrText | None = None,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: Names | None = None,
    partial: bool = False,
    cutoff: int | None = None,
    mode: Mode = "normal",
    device: str | torch.device = "cpu",
    engine: str | None = None,
    trusted: bool = False,
    progress: Progress | None = None,
) -> Network | Converted: ...


def load(
    cfg: PathOrText,
    weights: PathOrText | None = None,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: Names | None = None,
    partial: bool = False,
    cutoff: int | None = None,
    mode: Mode = "normal",
    device: str | torch.device = "cpu",
    engine: str | None = None,
    trusted: bool = False,
    progress: Progress | None = None,
) -> Network | Converted:
    """Return a network with the values of a weights file, or a converted file that stands for it.

    Args:
        cfg: a name of the zoo, whose weights are fetched and checked; or a path or text; or a
            file that `export` wrote, which has its cfg inside.
        weights: the weights file, or the name of one of the zoo's backbones, whose layers are
            read; None is the zoo entry's. A .safetensors, .pt or .pth may also be that of a port
            to PyTorch whose parameters are in the order of the cfg.
        dialect: the fork whose numbers to compute, or its name; None is that inside the file, the
            zoo entry's, else ALEXEYAB.
        width: width of the network's input in pixels; None is the cfg's.
        height: height of the network's input in pixels; None is the cfg's.
        names: of the classes, or a file of them, one a line, or the .data or .yaml of a data set;
            None is those inside the weights file, the zoo entry's, or `NAME.names` beside the cfg.
        partial: the file may end after any layer.
        cutoff: only the first layers are read, as many as given.
        mode: "strict", "normal" or "darknet", see `plan`.
        device: where it computes: "auto" (a graphics card if torch can use one, else the
            processor), "cpu", "cuda", "cuda:1", "mps" ...; a converted file takes "cpu" and "auto".
        engine: what runs a converted file: "onnxruntime", "openvino", "opencv", "torch", "ncnn" or
            "litert"; None is the first of them that is installed and takes it.
        trusted: load a .pt2 or TorchScript file, a program that can do anything on this machine.
        progress: called with bytes done and bytes in all while weights are fetched.

    Returns:
        A Network; for a converted file (.onnx, .xml, .torchscript, .ts, .pt2, .param, .tflite) a
        Converted, which detects, classifies and evaluates like one.

    Raises:
        CfgError: the cfg is wrong, with file and line.
        WeightsError: the weights are damaged or do not belong to the cfg.
        DownloadError: the weights cannot be fetched.
        UsageError: an argument is wrong, or a package is missing.
    """
    settings = Settings(dialect, width, height, names, mode)
    source = CfgSource(cfg)
    given = _weights_path(source, progress) if weights is None else weights
    path, cutoff = find_weights(given, cutoff, progress)
    if engines.is_converted(path):
        if str(device) not in ("cpu", "auto"):
            raise UsageError(f"{path}: device={device}: engines read from the processor's memory")
        _must_be_plain(path, partial=partial, cutoff=cutoff is not None)
        return _converted(None if weights is None else source, path, engine, settings, trusted)
    _must_be_plain(path, engine=engine is not None)
    place = as_device(device)
    if checkpoint_file.has_ending(path):
        _must_be_plain(path, partial=partial, cutoff=cutoff is not None)
        return _from_checkpoint(None if weights is None else source, path, settings).to(place)
    network = _skeleton(source, settings)
    weights_file.read(network, path, cutoff=cutoff, partial=partial)
    return network.to(place)


def save(network: Runnable, path: str | PathLike[str], *, cutoff: int | None = None) -> None:
    """Write a network's weights file; loaded weights are written back byte for byte.

    Args:
        network: a Network with values.
        path: the file to write.
        cutoff: only the first layers, as many as given (a backbone, as `darknet partial` cuts it).

    Raises:
        WeightsError: the network has no values, or the file cannot be written.
        UsageError: it is no Network, but an optimized one or a converted file.
    """
    weights_file.write(as_network(network), path, cutoff=cutoff)


def _weights_path(source: CfgSource, progress: Progress | None) -> Path:
    """Return the path of a cfg's weights: the file itself if it holds both, or the zoo entry's."""
    has_weights = checkpoint_file.has_ending(source.name) or engines.is_converted(source.name)
    return Path(source.name) if has_weights and not source.is_text else source.fetch(progress)


def _must_be_plain(path: Path, **given: bool) -> None:
    for option in (name for name, value in given.items() if value):
        files = "converted" if option == "engine" else ".weights"
        raise UsageError(f"{path}: {option} is for {files} files")


def _skeleton(source: CfgSource, settings: Settings) -> Network:
    """Return a network on the meta device."""
    network = Network(source.plan(settings))
    network.names = source.names(network.plan, settings)
    return network


def _network_of(
    source: CfgSource | None, path: Path, origin: Origin, settings: Settings
) -> Network:
    return (
        _skeleton_inside(path, origin, settings) if source is None else _skeleton(source, settings)
    )


def _skeleton_inside(path: Path, origin: Origin, settings: Settings) -> Network:
    """Return a network on the meta device, from the cfg inside a file."""
    if not origin.has_cfg:
        raise UsageError(f"{path}: no cfg inside; load(cfg, {path.name!r}) takes one beside it")
    sections = parser.parse(origin.cfg, str(path), path.parent)
    dialect = dialects.get(origin.dialect if settings.dialect is None else settings.dialect)
    context = Context(
        dialect, origin.mode if settings.mode == "normal" else settings.mode, search_folders()
    )
    network = Network(make_plan(sections, context, width=settings.width, height=settings.height))
    network.names = CfgSource(path).names(network.plan, settings)
    return network


def _from_checkpoint(source: CfgSource | None, path: Path, settings: Settings) -> Network:
    """Return the network of a checkpoint file; without a source, of the cfg inside it."""
    file = checkpoint_file.open_file(path)
    network = _network_of(source, path, file.origin, settings)
    checkpoint_file.fill(network, file)
    if settings.names is None and file.origin.names:
        network.names = file.origin.names
    return network


def _converted(
    source: CfgSource | None, path: Path, engine: str | None, settings: Settings, trusted: bool
) -> Converted:
    """Return a converted file as a network; without a source, of the cfg inside it."""
    origin = metadata.read_origin(path)
    name = engines.engine_for(path, engine)
    network = _network_of(source, path, origin, settings)
    names = origin.names if settings.names is None and origin.names else network.names
    return Converted(path, network.plan, names, name, origin, trusted=trusted)
