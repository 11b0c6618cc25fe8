"""Every error that darknet_torch raises on purpose: one closed tree below DarknetError.

A message says where, what, and what would be right, in one line:

    my.cfg:605: [yolo]: 3 anchors and 2 classes need 21 filters before them, not 18
    yolo.weights: layer 12 [convolutional] weights: 4608 floats expected, 1203 left in the file
"""

__all__ = [
    "CfgError",
    "DarknetError",
    "DarknetWarning",
    "DataError",
    "DownloadError",
    "ImageError",
    "ShapeError",
    "UsageError",
    "WeightsError",
]


class DarknetError(Exception):
    """Root of the tree; catch it to catch every error of this package.

    A message can always be printed: bytes of a file that are no text are shown as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.encode("utf-8", "backslashreplace").decode())


class CfgError(DarknetError):
    """A network description is wrong: its text, a section, an option, or a file that it names."""


class ShapeError(CfgError):
    """Layers do not fit one another, or the network does not fit the size of its input."""


class WeightsError(DarknetError):
    """A weights file is damaged or does not belong to the network."""


class ImageError(DarknetError):
    """A picture cannot be read, is too large, or has a form that is not known."""


class DataError(DarknetError):
    """A data set cannot be read: its description, a list, or (if `strict`) one of its labels."""


class DownloadError(DarknetError):
    """A file of the model zoo cannot be fetched, or what arrived is not what was promised."""


class UsageError(DarknetError):
    """An argument of a call or of a command is wrong."""


class DarknetWarning(UserWarning):
    """Something is doubtful, but what is computed is still what Darknet computes."""
