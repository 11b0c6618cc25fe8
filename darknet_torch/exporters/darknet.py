"""Darknet's own files: .weights, and beside it the .cfg and the .names that belong to it."""

from pathlib import Path

from darknet_torch.errors import UsageError
from darknet_torch.files import is_file, write_atomically
from darknet_torch.network import Network, weights_file
from darknet_torch.network.editing import cut, with_classes
from darknet_torch.network.folding import fold
from darknet_torch.network.named_files import copy_named_files
from darknet_torch.network.plan import Plan
from darknet_torch.parsing import parser
from darknet_torch.safety.text import printable

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
    """Write X.weights and beside it X.cfg, X.names where the classes have names, and word trees.

    The cfg is the network's, its size of input included, comments not. The cfg that the network
    was read from is left as it is where it has the same options.

    Args:
        network: a Network with values.
        path: the .weights file to write.
        cutoff: only the first layers, as many as given; the header then counts no images.
        fuse: batch norm becomes part of the weights, and the cfg is without it.
        as_detector: with fuse: shortcut weights too, see `network.folding.fold`.
        classes: new number of classes of the heads, whose weights start at random.

    Raises:
        UsageError: another cfg would overwrite the one that the network was read from, the classes
            cannot be changed, or a file cannot be written.
    """
    if as_detector and not fuse:
        raise UsageError("as_detector: is a way to fold batch norm, so it needs fuse")
    network = with_classes(network, classes) if classes is not None else network
    network = fold(network, as_detector=as_detector) if fuse else network
    if cutoff is not None:
        network = cut(network, cutoff)
        network.header = network.header._replace(seen=0)  # training begins anew, as from Darknet's
    keeps_cfg = _keeps_cfg(network.plan, path.with_suffix(".cfg"))
    weights_file.write(network, path)
    if not keeps_cfg:
        write_atomically(
            path.with_suffix(".cfg"), network.plan.text.encode("utf-8", "surrogateescape")
        )
        copy_named_files(network.plan, path.parent)
    names = path.with_suffix(".names")
    if network.names and not (is_file(names) and parser.read_names(names) == network.names):
        write_atomically(names, "".join(f"{printable(name)}\n" for name in network.names))


def _keeps_cfg(plan: Plan, path: Path) -> bool:
    """Return whether the cfg at a path is the one that the network was read from.

    UsageError if it has other options, which writing would replace.
    """
    source = Path(plan.net.section.file)
    if not is_file(source) or not is_file(path) or not path.samefile(source):
        return False
    if _options(parser.read(path)) != _options(parser.parse(plan.text)):
        raise UsageError(
            f"{path}: is what the network was read from, and another cfg would take its place;"
            f" write to another name"
        )
    return True


def _options(sections: list[parser.Section]) -> list[tuple[str, dict[str, str | None]]]:
    """Return the sections' names and options; of several equal keys the first counts."""
    return [
        (section.name, {option.key: option.value for option in reversed(section.options)})
        for section in sections
    ]
