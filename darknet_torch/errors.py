"""All errors that darknet_torch raises on purpose: a closed tree under DarknetError.

A message has in one line where it is, what is wrong, and what would be right:

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
    """Base class of all errors of this package.

    Messages can always be printed: bytes of a file that are not text are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.encode("utf-8", "backslashreplace").decode())


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


class UsageError(DarknetError):
    """An argument of a call or of a command is wrong."""


class DarknetWarning(UserWarning):
    """Something is doubtful, but the result is still what Darknet computes."""
