"""Packages that only some users need: the extras of the package."""

from importlib import import_module
from typing import Any

from darknet_torch.errors import UsageError

__all__ = ["not_installed", "require"]


def require(module: str, extra: str) -> Any:
    """Import a module of an extra's package.

    Args:
        module: name of the module; its first part is the package's.
        extra: the extra of darknet_torch that installs the package.

    Raises:
        UsageError: the package is not installed; the message has the command that does.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(not_installed(module.partition(".")[0], extra)) from error


def not_installed(package: str, extra: str) -> str:
    """Return the message for a package of an extra that is not installed."""
    return f'{package} is not installed: pip install "darknet_torch[{extra}]"'
