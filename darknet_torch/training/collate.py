"""From training examples to a batch of images with their ground truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError
from darknet_torch.layers.truth import Truth
from darknet_torch.training.colour import Colour, distort_batch
from darknet_torch.training.examples import Example, rows_of
from darknet_torch.training.parcels import packed, unpacked
from darknet_torch.training.unplaced import UnplacedImages

__all__ = ["Batch", "collate"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size and their ground truth.

    Attributes:
        images: (B, C, H, W) uint8; those of `unplaced` are not among them.
        truth: of the images.
        paths: of the image files; of images made of several the first.
        colours: (B, 3) float32, hue, saturation and exposure of changes of colour yet to be made;
            None where there are none.
        unplaced: images that are yet to be cropped and resized; None where there are none.
    """

    images: Tensor
    truth: Truth
    paths: tuple[Path, ...]
    colours: Tensor | None = None
    unplaced: UnplacedImages | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __reduce__(self) -> tuple[Callable[..., "Batch"], tuple[bytes, list[Tensor]]]:
        """Return it as one message to another process."""
        return _opened, packed([getattr(self, each.name) for each in fields(self)])

    def pin_memory(self) -> "Batch":
        """Return a copy in memory that a graphics card copies from by itself."""
        colours = None if self.colours is None else self.colours.pin_memory()
        unplaced = None if self.unplaced is None else self.unplaced.pin_memory()
        images, truth = self.images.pin_memory(), self.truth.pin_memory()
        return Batch(images, truth, self.paths, colours, unplaced)

    def on(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device, with images placed and colours changed there."""
        images = self.images.to(device, non_blocking=True)
        if self.unplaced is not None:
            images = self.unplaced.on(device, images)
        if self.colours is not None:
            images = distort_batch(images, self.colours.to(device, non_blocking=True))
        return Batch(images, self.truth.to(device), self.paths)


def _opened(message: bytes, large: list[Tensor]) -> Batch:
    return Batch(*unpacked(message, large))


def collate(examples: Sequence[Example | DarknetError]) -> Batch | DarknetError:
    """Return the batch of some examples, or the first error among them."""
    made = [each for each in examples if isinstance(each, Example)]
    if len(made) < len(examples):
        return next(each for each in examples if isinstance(each, DarknetError))
    unplaced = UnplacedImages.of([each.image for each in made])
    images = [each.image for each in made if isinstance(each.image, Tensor)]
    stacked = torch.stack(images) if images else torch.empty(0, dtype=torch.uint8)
    colours = [each.colour for each in made]
    left = torch.tensor(colours) if any(each != Colour() for each in colours) else None
    return Batch(stacked, _truth(made), tuple(each.path for each in made), left, unplaced)


def _truth(examples: Sequence[Example]) -> Truth:
    most = max(len(each.objects) for each in examples)
    truth = Truth.empty(len(examples), most)
    ids = torch.zeros_like(truth.class_id)
    for number, each in enumerate(examples):
        objects, rows = each.objects, slice(len(each.objects))
        truth.boxes[number, rows] = torch.from_numpy(rows_of(objects))
        truth.class_id[number, rows] = torch.from_numpy(objects.class_id)
        truth.has_box[number, rows] = torch.from_numpy(objects.has_box)
        ids[number, rows] = torch.from_numpy(objects.object_id)
    counts = torch.tensor([len(each.objects) for each in examples])
    valid = torch.arange(most) < counts[:, None]
    values = [each.values for each in examples if each.values is not None]
    return Truth(
        truth.boxes,
        truth.class_id,
        valid,
        truth.has_box,
        torch.stack(values) if values else None,
        _masks(examples, most),
        object_id=ids,
    )


def _masks(examples: Sequence[Example], most: int) -> Tensor | None:
    """Return the masks (B, most, h, w) of all objects, if any example has some."""
    given = [each.masks for each in examples if each.masks is not None]
    if not given:
        return None
    masks = torch.zeros(len(examples), most, *given[0].shape[1:])
    for number, each in enumerate(examples):
        if each.masks is not None:
            masks[number, : len(each.masks)] = each.masks
    return masks
