"""Packages that only some users need."""

from importlib import import_module
from typing import Any

from darknet_torch.errors import UsageError

__all__ = ["needs"]


def needs(package: str, extra: str) -> Any:
    """Import a package of an extra; UsageError says how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(
            f'{package} is not installed: pip install "darknet_torch[{extra}]"'
        ) from error
