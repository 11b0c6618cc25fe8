"""Small rules that several layer types share: windows along a side, references to layers."""

from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["MaxWindow", "absolute_index", "max_window_of", "window_count"]


def window_count(size: int, window: int, stride: int) -> int:
    """Return how many windows fit along a side: the output size of a convolution or pooling.

    Args:
        size: pixels of the side, padding included.
        window: pixels of the window.
        stride: pixels from one window to the next.

    Raises:
        ValueError: the window is larger than the side.
    """
    if window > size:
        raise ValueError(f"a window of {window} does not fit into {size} pixels, padding included")
    return (size - window) // stride + 1


def absolute_index(number: int, index: int) -> int:
    """Return the index of the layer that a section refers to.

    Args:
        number: what the cfg has: the layer's index, or a negative offset from `index`.
        index: index of the layer that refers to it.

    Raises:
        ValueError: it is none of the layers before.
    """
    source = index + number if number < 0 else number
    if not 0 <= source < index:
        raise ValueError(f"layer {number} is not one of the {index} layers before it")
    return source


class MaxWindow(NamedTuple):
    """A square window that slides over each channel, and whose maximum is taken.

    size: of its sides, in pixels.
    strides: (vertical, horizontal).
    sides: pixels of padding (left and top, right and bottom), which are never the maximum.
    """

    size: int
    strides: tuple[int, int]
    sides: tuple[int, int]


@runtime_checkable
class TakesMaximum(Protocol):
    """A layer whose output may be no more than the maximum of a window."""

    @property
    def max_window(self) -> MaxWindow | None:
        """The window; None where the layer does something else."""


def max_window_of(layer: object) -> MaxWindow | None:
    """Return the window of a layer that takes the maximum of one, and does no more."""
    return layer.max_window if isinstance(layer, TakesMaximum) else None
