"""[iseg]: instance segmentation."""

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import Loss, LossContext, Masks, Truth, given_gradient
from darknet_torch.parsing.dialect import PJREDDIE
from darknet_torch.parsing.options import option


@layer("iseg", only=PJREDDIE)
class Iseg(Layer):
    """[iseg]: instance segmentation, (B, classes + ids, h, w): class scores and embeddings.

    A sigmoid is applied to the class scores only.
    """

    classes: int = option(20, check=lambda n: n > 0, expected="at least 1")
    ids: int = option(32, check=lambda n: n >= 0, expected="at least 0")
    max: int = option(90)

    def shape(self, *inputs: Shape) -> Shape:
        """Return the map's shape; ValueError if its channels are not classes + ids."""
        c, _, _ = inputs[0].map()
        if c != self.classes + self.ids:
            raise ValueError(
                f"{self.classes} classes and {self.ids} ids need {self.classes + self.ids} filters"
                f" before them, not {c}"
            )
        return inputs[0]

    @property
    def masks(self) -> Masks | None:
        """Those of all objects, on the grid of the output."""
        return Masks(self.classes, self.max)

    def truth_size(self, shape: Shape) -> int:
        """Return the number of classes."""
        return self.classes

    def forward(self, *inputs: Tensor) -> Tensor:
        """Apply the sigmoid to the channels of the classes."""
        x = inputs[0]
        return torch.cat((torch.sigmoid(x[:, : self.classes]), x[:, self.classes :]), dim=1)

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the loss: pixels have the class of their object, and an embedding of its own.

        A pixel of which any part is an object's learns that part as the score of its class, the
        last object's where several of a class overlap.

        Each value of the embedding of an object's pixel is drawn towards the mean of its object and
        away from the means of the others by the same amount, however far they are; that is no
        derivative of a loss.

        Args:
            raw: (B, classes + ids, H, W) the layer's input.
            truth: `masks` (B, M, H, W) and `class_id`; objects of other classes are ignored.
            context: not used.

        Raises:
            UsageError: the ground truth has no masks, or of another size.
        """
        truth = truth.first(self.max)
        if truth.masks is None or truth.masks.shape[2:] != raw.shape[2:]:
            has = "none" if truth.masks is None else f"masks of {tuple(truth.masks.shape[2:])}"
            raise UsageError(
                f"ground truth: [iseg] needs masks of objects, {tuple(raw.shape[2:])} pixels, and"
                f" there are {has}"
            )
        scores, embeddings = raw.split([self.classes, self.ids], dim=1)
        known = truth.valid & (truth.class_id >= 0) & (truth.class_id < self.classes)
        masks = truth.masks.to(raw.dtype) * known[..., None, None]
        with torch.no_grad():
            of_class = self._class_delta(scores, masks, truth.class_id)
            of_embedding = self._embedding_delta(embeddings, (masks > 0).to(raw.dtype))
            costs = of_class.square().sum(), of_embedding.square().sum()
        parts = {
            "class": given_gradient(scores, -of_class, costs[0] / 2),
            "embedding": given_gradient(embeddings, -of_embedding, costs[1] / 2),
        }
        return Loss(parts, sum(costs, torch.zeros_like(costs[0])))

    def _class_delta(self, scores: Tensor, masks: Tensor, class_id: Tensor) -> Tensor:
        """Return truth - probability, (B, classes, H, W)."""
        if not masks.shape[1]:
            return -torch.sigmoid(scores)
        index = class_id.clamp(0, self.classes - 1)[..., None, None].expand_as(masks)
        numbers = torch.arange(masks.shape[1], device=masks.device)[:, None, None]
        none = torch.full(scores.shape, -1, device=masks.device)
        last = none.scatter_reduce(1, index, torch.where(masks > 0, numbers, -1), "amax")
        target = masks.gather(1, last.clamp(min=0)) * (last >= 0)
        return target - torch.sigmoid(scores)

    def _embedding_delta(self, embeddings: Tensor, masks: Tensor) -> Tensor:
        """Return the delta of the embeddings, (B, ids, H, W); masks are 1 or 0."""
        counts = masks.sum(dim=(2, 3))  # (B, M)
        sums = torch.einsum("bmhw,bdhw->bmd", masks, embeddings)
        means = sums / counts.clamp_min(1)[..., None]
        delta = -0.1 * embeddings
        pixels = masks.sum(dim=1, keepdim=True)
        for number in range(masks.shape[1]):  # all at once would be M times the map
            there = (counts[:, number] > 0).to(masks.dtype)[:, None, None, None]
            below = means[:, number, :, None, None] < embeddings
            pull = torch.where(below, -0.1, 0.1).to(masks.dtype) * there
            delta = delta + (2 * masks[:, number, None] - pixels) * pull
        return 0.01 * delta
