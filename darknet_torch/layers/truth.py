"""Ground truth of a batch, and what a loss returns: the two ends of every `Layer.loss`."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from darknet_torch.errors import UsageError

__all__ = [
    "NO_LABEL",
    "AnchorObjects",
    "FindsObjects",
    "Loss",
    "LossContext",
    "Masks",
    "Truth",
    "as_float32",
    "compared",
    "given_gradient",
]

T = TypeVar("T")

NO_LABEL = -1234.0
"""The value in `Truth.values` that Darknet reads as "not labelled": no loss, no gradient."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of B images, padded to M objects each.

    Attributes:
        boxes: (B, M, 4) float32, cxcywh in fractions of the network's input.
        class_id: (B, M) int64.
        valid: (B, M) bool, which rows are objects; the others are padding, behind the objects.
        has_box: (B, M) bool, False where an image of that class has no box: YOLO9000's images for
            classification; the row's box means nothing then.
        values: (B, n) float32, the vector that [softmax], [cost] and [logistic] compare with, such
            as one-hot classes; NO_LABEL where nothing is known; None in data sets of boxes.
        masks: (B, M, H, W) float32, how much of each pixel is the object's, 0..1, as the network's
            `Masks` say; None without.
        object_id: (B, M) int64, equal where an object is the same one of the same image, which may
            be in a batch twice; None: all are different.
    """

    boxes: Tensor
    class_id: Tensor
    valid: Tensor
    has_box: Tensor
    values: Tensor | None = None
    masks: Tensor | None = None
    object_id: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, images: slice) -> Self:
        """Return the ground truth of some images of the batch."""
        return self._with(lambda each: each[images])

    def first(self, objects: int) -> Self:
        """Return the ground truth with the first objects of each image only."""
        per_object = {"boxes", "class_id", "valid", "has_box", "masks", "object_id"}
        tensors = {name: getattr(self, name) for name in per_object}
        cut = {name: each[:, :objects] for name, each in tensors.items() if each is not None}
        return replace(self, **cut)

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on another device."""
        return self._with(lambda each: each.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Return a copy in memory that a graphics card copies from by itself."""
        return self._with(Tensor.pin_memory)

    def tensors(self) -> Iterable[Tensor]:
        """Return all tensors."""
        return self._named().values()

    def with_tensors(self, tensors: Iterable[Tensor]) -> Self:
        """Return a copy with others, in the order of `tensors`."""
        following = iter(tensors)
        return self._with(lambda _: next(following))

    def padded(self, objects: int) -> Self:
        """Return a copy with so many rows for each image, at least as many as there are."""
        more = objects - self.valid.shape[1]

        def pad(each: Tensor) -> Tensor:
            return torch.cat((each, each.new_zeros(len(each), more, *each.shape[2:])), dim=1)

        if more == 0:
            return self
        rows = {name: each for name, each in self._named().items() if name != "values"}
        return replace(self, **{name: pad(each) for name, each in rows.items()})

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: change(each) for name, each in self._named().items()})

    def _named(self) -> dict[str, Tensor]:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: each for name, each in tensors.items() if each is not None}

    @classmethod
    def empty(cls, images: int, objects: int = 0) -> Self:
        """Return the ground truth of images without any object."""
        none = torch.zeros(images, objects, dtype=torch.bool)
        return cls(
            torch.zeros(images, objects, 4), none.to(torch.int64), none, torch.ones_like(none)
        )


class Masks(NamedTuple):
    """What masks of objects a loss needs.

    Attributes:
        classes: number of classes.
        most: most objects of an image.
        side: None: the whole image on the grid of the layer; else an object's box, side x side.
    """

    classes: int
    most: int
    side: int | None = None


class LossContext(NamedTuple):
    """What a loss depends on besides the output and the ground truth.

    Attributes:
        image_shape: (height, width) of the network's input in pixels.
        seen: images that the network was trained with, this batch included, as Darknet counts.
        generator: of the random numbers that a loss may need; None is torch's own.
        layers: those before the layer, in order, for losses that depend on another one's options.
        label_smoothing: what the classes that are not an image's share, see `Truth.values`.
        shared: what losses of this batch computed, see `once`; None: nothing is kept.
    """

    image_shape: tuple[int, int]
    seen: int = 0
    generator: torch.Generator | None = None
    layers: Sequence[Any] = ()
    label_smoothing: float = 0.0
    shared: dict[Hashable, Any] | None = None

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what several losses of a batch need; the first one that asks computes it.

        Args:
            key: all that it depends on, besides the batch.
            make: computes it.
        """
        if self.shared is None:
            return make()
        if key not in self.shared:
            self.shared[key] = make()
        found: T = self.shared[key]
        return found


class AnchorObjects(NamedTuple):
    """The object that each anchor of a head learns, (B, A, H, W) int64 each; -1 for none.

    Attributes:
        label: equal for the same object of the same image, see `Truth.object_id`.
        class_id: its class.
    """

    label: Tensor
    class_id: Tensor


@runtime_checkable
class FindsObjects(Protocol):
    """A head whose anchors learn objects, whatever they predict."""

    def objects_of_anchors(
        self, truth: Truth, image_shape: tuple[int, int], grid: tuple[int, int]
    ) -> AnchorObjects:
        """Return the object that each anchor learns.

        Args:
            truth: ground truth of B images.
            image_shape: (height, width) of the network's input in pixels.
            grid: (height, width) of the head's map.
        """


class Loss(NamedTuple):
    """The loss of one layer for a batch, summed over its images.

    Attributes:
        parts: named scalars such as box, objectness, class. The gradient of their sum with respect
            to the layer's input is minus the delta that Darknet computes.
        cost: () without gradient: the number that Darknet prints for this layer, mostly the sum of
            the squared deltas.
    """

    parts: Mapping[str, Tensor]
    cost: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of all parts, which is what training minimises; at least one must be there."""
        return torch.stack(tuple(self.parts.values())).sum()


def as_float32(raw: Tensor) -> Tensor:
    """Return an output (B, ...) in float32 at least, and contiguous, copied once.

    Half precision is too coarse for a loss.
    """
    dtype = torch.promote_types(raw.dtype, torch.float32)
    return raw.to(dtype, memory_format=torch.contiguous_format).contiguous()


def compared(raw: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """Return the values that a layer compares with ground truth, and that, both (B, n).

    They have at least the precision of float32.

    Args:
        raw: (B, ...) n values for each image.
        truth: ground truth of the B images.

    Raises:
        UsageError: it has no values, or not n for each image.
    """
    rows = as_float32(raw).flatten(1)
    if truth.values is None:
        raise UsageError(
            f"ground truth: the network's loss compares {rows.shape[1]} values for each image (as"
            " for classification), and this has boxes only"
        )
    if truth.values.shape != rows.shape:
        raise UsageError(
            f"ground truth: {tuple(truth.values.shape)} values; the network's loss needs"
            f" {tuple(rows.shape)}"
        )
    return rows, truth.values.to(rows)


def given_gradient(raw: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return a loss whose gradient is given: Darknet's delta is not always a derivative.

    Args:
        raw: what the loss is computed from, of any shape, with gradient.
        gradient: of the loss with respect to `raw`, of its shape: minus Darknet's delta.
        value: () the number that the loss has.

    Returns:
        () `value`, with `gradient` as its derivative with respect to `raw`.
    """
    loss: Tensor = _GivenGradient.apply(raw, gradient, value)  # type: ignore[no-untyped-call]
    return loss


class _GivenGradient(torch.autograd.Function):
    """Its forward pass is a constant, its backward pass another."""

    @staticmethod
    def forward(ctx: Any, _raw: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None
