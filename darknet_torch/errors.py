"""All errors that darknet_torch raises on purpose: a closed tree under DarknetError.

A message has in one line where it is, what is wrong, and what would be right:

    my.cfg:605: [yolo]: 3 anchors and 2 classes need 21 filters before them, not 18
    yolo.weights: layer 12 [convolutional] weights: 4608 floats expected, 1203 left in the file
"""

import os
import sys
import warnings
from pathlib import Path

from darknet_torch.safety.text import printable

__all__ = [
    "CfgError",
    "DarknetError",
    "DarknetWarning",
    "DataError",
    "DownloadError",
    "ImageError",
    "ShapeError",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "warn",
]


class DarknetError(Exception):
    """Base class of all errors of this package.

    Messages are one line that can always be printed: what is no plain text is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class CfgError(DarknetError):
    """A cfg is wrong: its text, a section, an option, or a file that it names."""


class ShapeError(CfgError):
    """The shapes of layers do not fit, or the input's size does not fit the network."""


class WeightsError(DarknetError):
    """A file of weights is damaged or does not belong to the network."""


class ImageError(DarknetError):
    """An image cannot be read, is too large, or has an unknown format."""


class DataError(DarknetError):
    """A data set cannot be read: its description, a list, or (if `strict`) an annotation."""


class DownloadError(DarknetError):
    """A file of the model zoo cannot be fetched, or has a wrong size or digest."""


class TrainingError(DarknetError):
    """A training cannot go on: a loss is not finite."""


class UsageError(DarknetError):
    """An argument of a call or of a command is wrong."""


class DarknetWarning(UserWarning):
    """Something is doubtful, but the result is still what Darknet computes.

    Attributes:
        kind: what it has in common with warnings of other images, of which the command prints the
            first, and counts the others; None for a warning that stands alone.
    """

    kind: str | None = None


def warn(message: str, kind: str | None = None) -> None:
    """Emit a DarknetWarning at the line that called this package, through torch or not."""
    warning = DarknetWarning(printable(message))
    warning.kind = kind
    if sys.version_info >= (3, 12):
        warnings.warn(warning, skip_file_prefixes=_own_files())
    else:
        warnings.warn(warning, stacklevel=_outside())


def _own_files() -> tuple[str, ...]:
    """Return how the paths of the files of this package and of torch begin."""
    torch = sys.modules.get("torch")
    files = [__file__, *([torch.__file__] if torch is not None and torch.__file__ else [])]
    return tuple(f"{Path(file).parent}{os.sep}" for file in files)


def _outside() -> int:
    """Return the stack level, seen from `warn`, of the first frame outside of these files.

    Python 3.11 has no `skip_file_prefixes`, so that the frames are walked here.
    """
    frame, level, own = sys._getframe(1), 1, _own_files()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        frame, level = frame.f_back, level + 1
    return level
