"""Names and paths -> plans and networks: build, load, save, and the cfgs that travel along."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple, cast

from darknet_torch import zoo
from darknet_torch.errors import UsageError
from darknet_torch.files import cfg_folder, is_file
from darknet_torch.heads.base import Head
from darknet_torch.inference import converted, engines
from darknet_torch.network import Network, checkpoint_file, weights_file
from darknet_torch.network.plan import Plan, make_plan
from darknet_torch.parsing import dialect as dialects
from darknet_torch.parsing import parser
from darknet_torch.parsing.dialect import Dialect
from darknet_torch.parsing.options import Context, FileName, Mode
from darknet_torch.parsing.parser import Section
from darknet_torch.progress import Progress

__all__ = ["build", "cfg_folder", "list_cfgs", "load", "parse_cfg", "plan", "save"]

PathOrText = str | PathLike[str]


def parse_cfg(path_or_text: PathOrText) -> list[Section]:
    """Read a cfg from a path, or from its text (any string of more than one line).

    >>> [section.name for section in parse_cfg("[net]\\nwidth=8\\n[avgpool]")]
    ['net', 'avgpool']
    """
    return parser.read(path_or_text)


def list_cfgs(pattern: str = "*") -> list[str]:
    """Return the names of the cfgs that travel with the package and match a shell pattern.

    >>> list_cfgs("yolov3*")
    ['yolov3', 'yolov3-spp', 'yolov3-tiny']
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

    cfg: a name (`list_cfgs`, the zoo), a path, or a text.
    dialect: a Dialect or its name; None is the zoo entry's, else ALEXEYAB.
    width, height: replace the cfg's own, in pixels.
    mode: "strict" makes unknown options errors, "normal" warnings; "darknet" also lets pass what
        the C programs do: an unknown activation computes relu.
    Raises CfgError with file and line.
    """
    sections = parser.read(_cfg_source(cfg))
    context = Context(_dialect(cfg, dialect), mode, _folders())
    return make_plan(sections, context, width=width, height=height)


def build(
    cfg: PathOrText,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: PathOrText | None = None,
    mode: Mode = "normal",
) -> Network:
    """Return a network with random start values; arguments as in `plan` and `load`."""
    network = _skeleton(cfg, _How(dialect, width, height, names, mode))
    weights_file.initialize(network)
    return network


def load(
    cfg: PathOrText,
    weights: PathOrText | None = None,
    *,
    dialect: Dialect | str | None = None,
    width: int | None = None,
    height: int | None = None,
    names: PathOrText | None = None,
    partial: bool = False,
    cutoff: int | None = None,
    mode: Mode = "normal",
    engine: str | None = None,
    progress: Progress | None = None,
) -> Network:
    """Return a network with the values of a weights file.

    cfg: a name of the zoo, whose weights are fetched and checked; or a path or text; or a file
        that `export` wrote, which has its cfg inside.
    weights: the file; None is the zoo entry's. A .safetensors, .pt or .pth may also be that of a
        port to PyTorch whose parameters stand in the order of the cfg. A converted file (.onnx,
        .xml, .torchscript, .pt2) gives an `engines.Converted`, which `detect` takes as it takes a
        Network.
    names: a file of class names; None is those inside the weights file, the zoo entry's, or
        `NAME.names` beside the cfg.
    partial: the file may end after any layer. cutoff: only the first so many layers are read.
    engine: what runs a converted file: "onnxruntime", "openvino", "opencv" or "torch"; None is
        the first of them that is installed and takes it.
    progress: called with bytes done and bytes in all while weights are fetched.
    Raises CfgError, WeightsError, DownloadError or UsageError, each in one line.
    """
    how = _How(dialect, width, height, names, mode)
    with _without_collection():
        source = _weights_path(cfg, weights, progress)
        inside = weights is None
        if engines.is_converted(source):
            _must_be_plain(source, partial=partial, cutoff=cutoff is not None)
            return cast(Network, _converted(cfg, source, inside, engine, how))
        _must_be_plain(source, engine=engine is not None)
        if checkpoint_file.has_ending(source):
            _must_be_plain(source, partial=partial, cutoff=cutoff is not None)
            return _from_checkpoint(cfg, source, inside, how)
        network = _skeleton(cfg, how)
        _read_weights(network, source, cutoff, partial)
        return network


def save(network: Network, path: str | PathLike[str], *, cutoff: int | None = None) -> None:
    """Write a network's weights file: what was loaded comes back byte for byte.

    cutoff: only the first so many layers (a backbone, as `darknet partial` cuts it).
    """
    weights_file.write(network, path, cutoff=cutoff)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Put off garbage collection while many small objects are made that all stay.

    A collection in their midst walks through all that torch has imported and finds nothing, in
    more time than it takes to read 200 MB of weights.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_weights(network: Network, path: Path, cutoff: int | None, partial: bool) -> None:
    weights_file.read(network, path, cutoff=cutoff, partial=partial)


class _How(NamedTuple):
    """What the caller says of the network."""

    dialect: Dialect | str | None
    width: int | None
    height: int | None
    names: PathOrText | None
    mode: Mode


def _must_be_plain(path: Path, **given: bool) -> None:
    for option in (name for name, value in given.items() if value):
        files = "converted" if option == "engine" else ".weights"
        raise UsageError(f"{path}: {option} is for {files} files")


def _skeleton(cfg: PathOrText, how: _How) -> Network:
    """Return a network on the meta device."""
    found = plan(cfg, dialect=how.dialect, width=how.width, height=how.height, mode=how.mode)
    network = Network(found)
    network.names = _names(network, cfg, how.names)
    return network


def _skeleton_inside(path: Path, origin: checkpoint_file.Origin | None, how: _How) -> Network:
    """Return a network on the meta device, of the cfg inside a file."""
    if origin is None:
        raise UsageError(f"{path}: no cfg inside; load(cfg, {path.name!r}) takes one beside it")
    sections = parser.parse(origin.cfg, str(path), path.parent)
    known = dialects.get(origin.dialect if how.dialect is None else how.dialect)
    context = Context(known, origin.mode if how.mode == "normal" else how.mode, _folders())
    network = Network(make_plan(sections, context, width=how.width, height=how.height))
    network.names = _names(network, path, how.names)
    return network


def _from_checkpoint(cfg: PathOrText, path: Path, inside: bool, how: _How) -> Network:
    found = checkpoint_file.open_file(path)
    network = _skeleton_inside(path, found.origin, how) if inside else _skeleton(cfg, how)
    checkpoint_file.fill(network, found)
    if how.names is None and found.origin is not None and found.origin.names:
        network.names = found.origin.names
    return network


def _converted(
    cfg: PathOrText, path: Path, inside: bool, engine: str | None, how: _How
) -> converted.Converted:
    told = converted.metadata(path)
    chosen = engines.engine_for(path, engine)
    names = tuple(told["names"].split("\n")) if told.get("names") else ()
    known = {"cfg", "dialect"} <= told.keys()
    origin = checkpoint_file.Origin(told["cfg"], told["dialect"], names) if known else None
    network = _skeleton_inside(path, origin, how) if inside else _skeleton(cfg, how)
    if how.names is not None or not names:
        names = network.names
    return converted.Converted(path, network.plan, names, chosen, told)


def _folders() -> tuple[Path, ...]:
    return cfg_folder(), zoo.cache_dir()


def _zoo_entry(cfg: PathOrText) -> zoo.Model | None:
    name = fspath(cfg)
    known = "\n" not in name and not is_file(name) and name in zoo.list_models()
    return zoo.find_model(name) if known else None


def _cfg_source(cfg: PathOrText) -> PathOrText:
    """Return the path of a cfg that is given by name; else what was given."""
    name = fspath(cfg)
    if "\n" in name or is_file(name):
        return cfg
    entry = _zoo_entry(cfg)
    named = cfg_folder() / f"{entry.cfg if entry else name}.cfg"
    if Path(name).name == name and is_file(named):
        return named
    return cfg


def _dialect(cfg: PathOrText, dialect: Dialect | str | None) -> Dialect:
    entry = _zoo_entry(cfg)
    return dialects.get(entry.dialect if dialect is None and entry else dialect)


def _weights_path(cfg: PathOrText, given: PathOrText | None, progress: Progress | None) -> Path:
    if given is not None:
        return Path(given)
    name = fspath(cfg)
    if "\n" not in name and (checkpoint_file.has_ending(name) or engines.is_converted(name)):
        return Path(name)
    entry = _zoo_entry(cfg)
    if entry is None:
        raise UsageError(
            f"{_short(cfg)}: no weights given; load(cfg, weights) reads a file, build(cfg) starts"
            f" with random values, names of the zoo fetch theirs: {', '.join(zoo.list_models())}"
        )
    return zoo.fetch(entry.name, progress)


def _short(cfg: PathOrText) -> str:
    name = fspath(cfg)
    return "<cfg>" if "\n" in name else name


def _names(network: Network, cfg: PathOrText, names: PathOrText | None) -> tuple[str, ...]:
    """Return the class names, or () where nothing tells them."""
    path = _names_path(network, cfg, names)
    if path is None:
        return ()
    found = parser.read_names(path)
    heads = [node.layer for node in network.plan if isinstance(node.layer, Head)]
    classes = {head.classes for head in heads}
    if names is not None and classes and max(classes) > len(found):
        raise UsageError(f"{path}: {len(found)} names for {max(classes)} classes")
    return found


def _names_path(network: Network, cfg: PathOrText, names: PathOrText | None) -> Path | None:
    section, folders = network.plan.net.section, network.plan.context.folders
    if names is not None:
        return FileName(fspath(names), "names", section, folders).resolve()
    entry = _zoo_entry(cfg)
    if entry is not None:
        places = [folder / entry.names for folder in folders]
    else:
        places = [Path(section.file).with_suffix(".names")] if section.folder is not None else []
    return next((place for place in places if is_file(place)), None)
