"""Darknet's own files: .weights, and beside it the .cfg and the .names that belong to it."""

from pathlib import Path

from darknet_torch.errors import UsageError
from darknet_torch.files import is_file, write_atomically
from darknet_torch.network import Network, weights_file
from darknet_torch.network.editing import cut, with_classes
from darknet_torch.network.folding import fold
from darknet_torch.network.plan import Plan
from darknet_torch.parsing import parser

__all__ = ["write"]


def write(
    network: Network,
    path: Path,
    *,
    cutoff: int | None = None,
    fuse: bool = False,
    as_detector: bool = False,
    classes: int | None = None,
) -> None:
    """Write X.weights and beside it X.cfg, and X.names where the classes have names.

    classes: change the heads to so many classes first, whose weights start at random.
    fuse: batch norm becomes part of the weights; the cfg is without it. as_detector: as in `fold`.
    cutoff: only the first so many layers.
    The cfg is the network's, its size of input included, comments not. The cfg that the network
    was read from is left as it is where it says the same, else UsageError is raised.
    """
    if as_detector and not fuse:
        raise UsageError("as_detector: is a way to fold batch norm, so it needs fuse")
    network = with_classes(network, classes) if classes is not None else network
    network = fold(network, as_detector=as_detector) if fuse else network
    network = cut(network, cutoff) if cutoff is not None else network
    described = _must_not_overwrite(network.plan, path.with_suffix(".cfg"))
    weights_file.write(network, path)
    if not described:
        _write_text(path.with_suffix(".cfg"), network.plan.text)
    if network.names:
        _write_text(path.with_suffix(".names"), "".join(f"{name}\n" for name in network.names))


def _must_not_overwrite(plan: Plan, path: Path) -> bool:
    """Say whether the cfg there is the network's own source, comments and all."""
    source = Path(plan.net.section.file)
    if not is_file(source) or not is_file(path) or not path.samefile(source):
        return False
    if _said(parser.read(path)) != _said(parser.parse(plan.text)):
        raise UsageError(
            f"{path}: is what the network was read from, and another cfg would take its place;"
            f" write to another name"
        )
    return True


def _said(sections: list[parser.Section]) -> list[tuple[str, dict[str, str | None]]]:
    """Return names and options; of several equal keys the first counts."""
    return [
        (section.name, {option.key: option.value for option in reversed(section.options)})
        for section in sections
    ]


def _write_text(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
