"""What is done to images in training, as a cfg has it."""

import sys
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from darknet_torch.errors import UsageError
from darknet_torch.layers.truth import Masks
from darknet_torch.layers.word_tree import Tree
from darknet_torch.network.net_section import Net
from darknet_torch.network.node import Node
from darknet_torch.network.plan import Plan
from darknet_torch.training.losses import node_with_masks, truth_size

__all__ = ["AugmentOptions"]

SMALLEST_STRETCHED = 0.005
"""Side of the smallest object, as a fraction, in networks that stretch images (YOLOv1)."""


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """The augmentation of training images, and the rules for their objects.

    Attributes:
        augment: False takes every image as a detector or classifier would.
        classes: number of classes; objects of others are left out.
        channels: of the network's input; colours are changed of 3.
        max_objects: most objects of an image.
        smallest: side below which an object is left out, as a fraction; None is one pixel.
        without_box: whether objects without a box are kept.
        difficult: whether objects count that VOC calls difficult; Darknet leaves them out.
        crowd: whether objects count that COCO calls a crowd.
        letterbox: whether an image that is not augmented keeps its aspect ratio.
        canvas: detectors: paste images onto a grey canvas (pjreddie), else resize a crop of them.
        jitter: detectors: how far the sides of an image are moved, as a fraction.
        resize: detectors: how many times larger or smaller the image becomes.
        mean_border: detectors: what lies beyond an image has its mean colour, as in AlexeyAB's
            program with OpenCV; else its last pixels repeat, as without OpenCV.
        keep_aspect: detectors: enlarge a crop to the aspect ratio of the input (`letter_box=1`).
        hue: largest change of the hue, of 0..1.
        saturation: largest factor of the saturation; its inverse is the smallest.
        exposure: largest factor of the brightness; its inverse is the smallest.
        paired: every second image of a batch is the one before once more (`contrastive=1`).
        pair_moves: the two of a pair are moved and mirrored each in its own way.
        pair_colours: their colours are changed each in its own way.
        colour_later: leave changes of colour to `Batch.on`, which makes them on a card.
        place_later: detectors: leave cropping, resizing and mirroring of single images to
            `Batch.on` as well; their colours are then changed there, too.
        flip: mirror every second image.
        blur: 1 blurs what is not in a box, more is the size of a window for the whole image.
        gaussian_noise: standard deviation of the noise, of 255.
        mixup: blend every second image with another one.
        cutmix: classifiers: paste a part of another image into every second one.
        mosaic: compose every second image of four.
        mosaic_bound: cut the boxes of a mosaic at the borders of its quarters.
        angle: classifiers: largest rotation in degrees.
        aspect: classifiers: largest change of the aspect ratio.
        min_crop: classifiers: the shorter side of an image, relative to the input, at least.
        max_crop: classifiers: the same, at most.
        center: classifiers: take the middle of each image, as in evaluation.
        label_smoothing: classifiers: what the other classes share.
        detector: whether images have objects, else a class.
        masks: what masks of objects are needed; their images are turned and scaled as those of
            classifiers are.
        mask_stride: pixels of the input for one of a mask of the whole image.
        tree: classifiers: the word tree of the classes.

    Raises:
        UsageError: options that exclude one another.
    """

    augment: bool = True
    classes: int
    channels: int = 3
    max_objects: int = 90
    smallest: float | None = None
    without_box: bool = False
    difficult: bool = False
    crowd: bool = False
    letterbox: bool = False
    canvas: bool = False
    jitter: float = 0.2
    resize: float = 1.0
    mean_border: bool = False
    keep_aspect: bool = False
    hue: float = 0.0
    saturation: float = 1.0
    exposure: float = 1.0
    paired: bool = False
    pair_moves: bool = False
    pair_colours: bool = False
    colour_later: bool = False
    place_later: bool = False
    flip: bool = True
    blur: int = 0
    gaussian_noise: int = 0
    mixup: bool = False
    cutmix: bool = False
    mosaic: bool = False
    mosaic_bound: bool = False
    angle: float = 0.0
    aspect: float = 1.0
    min_crop: float = 1.0
    max_crop: float = 2.0
    center: bool = False
    label_smoothing: float = 0.0
    detector: bool = True
    masks: Masks | None = None
    mask_stride: int = 1
    tree: Tree | None = None

    def __post_init__(self) -> None:
        if self.mosaic and self.keep_aspect and self.detector:
            raise UsageError("letter_box=1 with mosaic=1: Darknet has no such mosaic; turn one off")
        if self.cutmix and self.detector:
            raise UsageError("cutmix=1: is for classifiers; a detector has mosaic=1 or mixup=1")

    @property
    def leaves_colour(self) -> bool:
        """Whether images come with a change of colour yet to be made; blur and noise follow it."""
        return self.colour_later and self.augment and not (self.blur or self.gaussian_noise)

    @property
    def leaves_place(self) -> bool:
        """Whether single images come as they are, yet to be placed; blur and noise follow that."""
        return self.place_later and not (self.augment and (self.blur or self.gaussian_noise))

    @classmethod
    def of(cls, plan: Plan, **changes: Any) -> Self:
        """Return the options of a cfg: those of [net] and of the last head.

        Args:
            plan: of the network.
            **changes: attributes that differ from the cfg.

        Raises:
            UsageError: options that exclude one another, or there is no such option.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(changes) - known):
            raise UsageError(f"{unknown[0]}: no option of augmentation; there are {sorted(known)}")
        if (node := node_with_masks(plan)) is not None and not plan.heads:
            facts = _of_masks(plan, node)
        else:
            facts = _of_detector(plan) if plan.heads else _of_classifier(plan)
        return cls(**(_of_net(plan.net) | facts | changes))

    def without(self) -> Self:
        """Return the options for images as a detector or a classifier takes them."""
        return replace(self, augment=False)


def _of_net(net: Net) -> dict[str, Any]:
    same = "hue saturation exposure flip blur gaussian_noise mosaic mosaic_bound angle aspect"
    options = {name: getattr(net, name) for name in same.split()}
    return options | {
        "mixup": net.mixup == 1 and not (net.mosaic or net.cutmix),
        "cutmix": net.cutmix or net.mixup in (2, 4),
        "mosaic": net.mosaic or net.mixup in (3, 4),
        "keep_aspect": net.letter_box,
        "paired": net.contrastive,
        "pair_moves": net.contrastive_jit_flip,
        "pair_colours": net.contrastive_color,
    }


def _of_detector(plan: Plan) -> dict[str, Any]:
    head, dialect = plan.head_layers[-1], plan.context.dialect
    stretched = head.stretches_images
    mapped = head.class_map
    return {
        "classes": head.classes if mapped is None else len(mapped),
        "channels": plan.input.c,
        "max_objects": head.max if head.heeds_max else sys.maxsize,
        "smallest": SMALLEST_STRETCHED if stretched else dialect.smallest_object,
        "without_box": dialect.labels_without_box,
        "letterbox": plan.letterbox,
        "canvas": dialect.trains_on_canvas and not stretched,
        "mean_border": not stretched,
        "jitter": head.jitter,
        "resize": head.resize,
        "min_crop": plan.net.min_ratio,
        "max_crop": plan.net.max_ratio,
        "masks": head.masks,
    }


def _of_masks(plan: Plan, node: Node) -> dict[str, Any]:
    net, masks = plan.net, node.layer.masks
    assert masks is not None  # that is what the node was chosen for
    return {
        "masks": masks,
        "mask_stride": max(plan.input.h // max(node.shape.h, 1), 1),
        "classes": masks.classes,
        "max_objects": masks.most,
        "channels": plan.input.c,
        "min_crop": net.min_ratio,
        "max_crop": net.max_ratio,
    }


def _of_classifier(plan: Plan) -> dict[str, Any]:
    net, result = plan.net, plan[plan.final]
    return {
        "detector": False,
        "classes": truth_size(plan),
        "channels": plan.input.c,
        "min_crop": net.min_ratio,
        "max_crop": net.max_ratio,
        "center": net.center,
        "label_smoothing": net.label_smooth_eps,
        "tree": result.layer.word_tree,
    }
