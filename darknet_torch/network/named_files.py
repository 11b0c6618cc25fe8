"""The files that a cfg names, such as a word tree, beside a copy of the cfg."""

from pathlib import Path

from darknet_torch.errors import CfgError
from darknet_torch.files import is_file, read_bytes, write_atomically
from darknet_torch.network.plan import Plan
from darknet_torch.parsing.options import FileName

__all__ = ["copy_named_files"]

MOST = 64 << 20
"""Bytes of such a file."""


def copy_named_files(plan: Plan, folder: Path) -> None:
    """Copy word trees and class maps to a folder, where a cfg that is written there finds them.

    A file of that name which is there already stays, and what was not found is left out: what
    needs it says so.

    Args:
        plan: of the network.
        folder: of the cfg.

    Raises:
        CfgError: a file cannot be read.
        UsageError: one cannot be written.
    """
    values = (value for node in plan for value in vars(node.layer).values())
    for name in {each.name: each for each in values if isinstance(each, FileName)}.values():
        target = folder / Path(name.name).name
        try:
            source = name.resolve()
        except CfgError:
            continue
        if not is_file(target):
            write_atomically(target, read_bytes(source, MOST, CfgError, "file that a cfg names"))
