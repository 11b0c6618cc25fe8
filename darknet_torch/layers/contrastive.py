"""[contrastive]: embeddings that are alike for the same object, and differ for others."""

from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Layer, Shape
from darknet_torch.layers.geometry import absolute_index
from darknet_torch.layers.registry import layer
from darknet_torch.layers.truth import FindsObjects, Loss, LossContext, Truth, given_gradient
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option

_CERTAIN = 0.9999
"""The probability of a pair that nothing is compared with."""


class _Samples(NamedTuple):
    """What is compared.

    Attributes:
        embeddings: (S, E), with gradient.
        label: (S,) int64; samples of one label are to be alike.
        group: (S,) int64; only samples of one group are compared.
    """

    embeddings: Tensor
    label: Tensor
    group: Tensor


@layer("contrastive", only=ALEXEYAB)
class Contrastive(Layer):
    """[contrastive]: a training loss; Darknet's CPU code leaves its output at zero.

    With `yolo_layer` its input has an embedding for each anchor of that head, else one for each
    image.
    """

    classes: int = option(1000, check=lambda n: n > 0, expected="at least 1")
    temperature: float = option(1.0)
    yolo_layer: int = option(0)
    cls_normalizer: float = option(1.0)
    max_delta: float = option(3.4e38)
    contrastive_neg_max: int = option(3)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector of the input's size."""
        return Shape(inputs[0].size)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return zeros (B, n)."""
        return torch.zeros_like(inputs[0].flatten(1))

    def truth_size(self, shape: Shape) -> int:
        """Return the number of classes."""
        return self.classes

    def loss(self, raw: Tensor, truth: Truth, context: LossContext) -> Loss | None:
        """Return the loss: embeddings of one label attract, others repel each other.

        Their cosine similarities, divided by `temperature`, weigh how much. Samples of a detector
        are the anchors that learn an object, and only those of one class are compared; their
        labels say whether it is the same object of the same image, which is there twice with
        `contrastive=1` in [net]. Each repels `contrastive_neg_max` others. Samples of a classifier
        are the images, their labels the classes; an image without one (`unsupervised=1`) shares its
        label with its pair. Darknet's delta is not quite a derivative: the vectors in it are not
        divided by their lengths.

        Args:
            raw: (B, A * E, H, W), or (B, E) and (B, E, 1, 1) for classifiers.
            truth: boxes with `object_id`, or `values`.
            context: of the network.

        Raises:
            UsageError: the options do not fit the input, the head or the ground truth.
        """
        if not self.temperature:
            raise UsageError(f"{self.section.where()}: temperature=0; it divides similarities")
        detects = self.yolo_layer != 0
        samples = (self._of_anchors if detects else self._of_images)(raw, truth, context)
        with torch.no_grad():
            delta = self._delta(samples, detects) * self.cls_normalizer
            delta = delta.clamp(-self.max_delta, self.max_delta).to(samples.embeddings.dtype)
            cost = delta.square().sum()
        return Loss({"contrastive": given_gradient(samples.embeddings, -delta, cost / 2)}, cost)

    def _of_anchors(self, raw: Tensor, truth: Truth, context: LossContext) -> _Samples:
        try:
            head = context.layers[absolute_index(self.yolo_layer, len(context.layers))]
        except ValueError as error:
            raise UsageError(f"{self.section.where()}: yolo_layer: {error}") from error
        if not isinstance(head, FindsObjects):
            raise UsageError(f"{self.section.where()}: yolo_layer={self.yolo_layer} is no [yolo]")
        objects = head.objects_of_anchors(truth, context.image_shape, (raw.shape[2], raw.shape[3]))
        anchors = objects.label.shape[1]
        if raw.shape[1] % anchors:
            raise UsageError(
                f"{self.section.where()}: {raw.shape[1]} filters before it are not divisible by"
                f" the {anchors} anchors of its [yolo]"
            )
        maps = torch.unflatten(raw, 1, (anchors, -1)).movedim(2, -1)  # (B, A, H, W, E)
        label, class_id = objects.label.flatten(), objects.class_id.flatten()
        there = (label >= 0).nonzero()[:, 0]
        return _Samples(maps.flatten(0, 3)[there], label[there], class_id[there])

    def _of_images(self, raw: Tensor, truth: Truth, context: LossContext) -> _Samples:
        if raw[0, 0].numel() != 1:
            raise UsageError(
                f"{self.section.where()}: without yolo_layer it needs a vector before it, not"
                f" {raw.shape[3]} x {raw.shape[2]} pixels"
            )
        if truth.values is None or truth.values.shape[1] != self.classes:
            has = "none" if truth.values is None else str(truth.values.shape[1])
            raise UsageError(
                f"{self.section.where()}: needs {self.classes} class values for each image, and"
                f" there are {has}"
            )
        numbers = torch.arange(1, self.classes + 1, device=raw.device)
        named = truth.values > context.label_smoothing
        last = (named * numbers).amax(dim=1)  # of several classes
        pair = torch.arange(len(raw), device=raw.device) // 2
        label = torch.where(last > 0, last - 1, pair)
        return _Samples(raw.flatten(1), label, torch.zeros_like(label))

    def _delta(self, samples: _Samples, detects: bool) -> Tensor:
        """Return the delta (S, E)."""
        z, label, group = samples.embeddings.double(), samples.label, samples.group
        length = z.norm(dim=1)
        product = length[:, None] * length
        similar = (z @ z.T / product).where(product > 0, product.new_zeros(()))
        others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        pairs = (group[:, None] == group) & others
        same = (label[:, None] == label) & others
        probability = self._probability(similar, pairs, limited=detects)
        partners = same.sum(dim=1, keepdim=True)
        if detects:
            times = self._times(pairs & ~same, partners)
        else:
            times = ((partners - same.long()) * pairs).clamp_min(0)
        scale = 1 / (partners * self.temperature * length[:, None])
        scale = scale.where((partners > 0) & (length[:, None] > 0), scale.new_zeros(()))
        weight = scale * ((same & pairs) * (1 - probability) - times * probability)
        delta: Tensor = weight @ z - (weight * similar).sum(dim=1, keepdim=True) * z
        return delta

    def _probability(self, similar: Tensor, pairs: Tensor, *, limited: bool) -> Tensor:
        """Return the probability (S, S) of j for i, relative to j for all others; 0 for no pair.

        Args:
            similar: (S, S) cosine similarity.
            pairs: (S, S) bool, which are compared.
            limited: at most `_CERTAIN`.
        """
        likely = (similar / self.temperature).exp() * pairs
        # the sum over the rows but one, without a difference that loses all digits
        before = likely.cumsum(dim=0).roll(1, dims=0)
        before[:1] = 0
        behind = likely.flip(0).cumsum(dim=0).roll(1, dims=0)
        behind[:1] = 0
        rest = before + behind.flip(0)
        certain = _CERTAIN * pairs.to(likely.dtype)
        probability = (likely / rest).where(rest > 0, certain)
        return probability.where(probability <= 1, certain) if limited else probability

    def _times(self, others: Tensor, partners: Tensor) -> Tensor:
        """Return how often each sample (S) repels another (S), in Darknet's order.

        It goes through the others once for each partner, and stops after `contrastive_neg_max`.
        """
        count = others.sum(dim=1, keepdim=True)
        total = (partners * count).clamp_max(max(self.contrastive_neg_max, 1))
        rounds, rest = total // count.clamp_min(1), total % count.clamp_min(1)
        return others * (rounds + (others.cumsum(dim=1) <= rest).long())
