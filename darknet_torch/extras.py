"""Packages that only some users need: the extras of the package."""

from importlib import import_module, metadata
from typing import Any

from darknet_torch.errors import UsageError

__all__ = ["installed", "not_installed", "require"]


def require(module: str, extra: str) -> Any:
    """Import a module of an extra's package.

    Args:
        module: name of the module; its first part is the package's.
        extra: the extra of darknet_torch that installs the package.

    Raises:
        UsageError: the package is not installed; the message has the command that does. Or it
            cannot be loaded, as where it was built for another torch.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(not_installed(package, extra)) from error
    except OSError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UsageError(f"{package} is installed, but cannot be loaded: {reason}") from error


def installed(module: str) -> bool:
    """Return whether a module can be imported, with the libraries that it needs."""
    try:
        import_module(module)
    except (ImportError, OSError):
        return False
    return True


def not_installed(package: str, extra: str) -> str:
    """Return the message for a package of an extra that is not installed, and how it is."""
    wanted = " ".join(f'"{each}"' for each in _requirements(extra)) or package
    return f"{package} is not installed: pip install {wanted}"


def _requirements(extra: str) -> list[str]:
    """Return what an extra consists of, from the metadata of this package."""
    try:
        lines = metadata.requires("darknet_torch") or []
    except metadata.PackageNotFoundError:  # run from a folder of sources
        lines = []
    parts = [line.partition(";") for line in lines]
    mine = [name for name, _, marker in parts if f"extra=='{extra}'" in _plain(marker)]
    return [name.replace(" ", "") for name in mine]


def _plain(marker: str) -> str:
    return marker.replace(" ", "").replace('"', "'")
