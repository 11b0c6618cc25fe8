"""The operations of the augmentation: Darknet's recorded results, and uint8 beside float."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_torch.images.resizing import letterbox
from darknet_torch.training import augment
from darknet_torch.training.augment import Geometry
from darknet_torch.training.colour import distort
from darknet_torch.training.examples import blur
from darknet_torch.training.objects import ImageObjects

PATH = Path(__file__).parents[1] / "golden" / "train" / "augment_ops.npz"
KEY = dict(np.load(PATH))
IMAGE = torch.from_numpy(KEY["image_u8"])
NAMES = [name for name in KEY if name.count("/") and "boxes" not in name]
BOXES = [name for name in KEY if "boxes/dx" in name]


def numbers(name: str) -> dict[str, float]:
    """`place/canvas32_nw28` -> {"canvas": 32.0, "nw": 28.0}."""
    words = name.split("/")[-1].split("_")
    found = [re.fullmatch(r"([a-z]+)(-?[\d.]+)", word) for word in words]
    return {each[1]: float(each[2]) for each in found if each}


def computed(name: str, image: torch.Tensor) -> torch.Tensor:
    n, operation = numbers(name), name.split("/")[1]
    if operation == "distort":
        return distort(image, n["hue"], n["sat"], n["exp"])
    if operation == "flip":
        return augment.flip(image)
    if operation == "place":
        target = (n["dx"], n["dy"], n["nw"], n["nh"])
        return Geometry((0, 0, 40, 30), target, aligned=False).apply(image, 32, 32)
    width, height = int(n["w"]), int(n["h"])
    if operation == "crop":
        return augment.window(image, int(n["x"]), int(n["y"]), width, height)
    if operation == "resize":
        return augment.stretch(image, width, height)
    if operation == "letterbox":
        return letterbox(image, width, height)
    assert operation == "rotate_crop"
    place = (n["dx"], n["dy"], n["aspect"])
    return augment.rotate_crop(image, n["rad"], n["s"], width, height, *place)


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_darknets(name: str) -> None:
    recorded = torch.from_numpy(KEY[name])[0]
    exact = computed(name, IMAGE.float() / 255)
    torch.testing.assert_close(exact, recorded, rtol=0, atol=2e-7)
    fast = computed(name, IMAGE)
    if fast.dtype == torch.uint8:
        assert (fast.float() - 255 * recorded).abs().max() <= 1.001


@pytest.mark.parametrize("name", BOXES)
def test_boxes_are_darknets(name: str) -> None:
    n = numbers(name)
    cxcywh = KEY[f"{name.split('/')[0]}/correct_boxes/input"].astype(np.float64)
    centre, half = cxcywh[:, :2], cxcywh[:, 2:] / 2
    corners = np.concatenate((centre - half, centre + half), axis=1)
    with_box = cxcywh[:, :2].any(axis=1)
    objects = ImageObjects(corners, np.arange(6), with_box, np.arange(6))
    moved = objects.moved(n["sx"], -n["dx"], n["sy"], -n["dy"], bool(n["flip"]))
    assert (KEY[name][~with_box] == 999999).all()
    np.testing.assert_allclose(moved.cxcywh[with_box], KEY[name][with_box], atol=1e-6)


def test_a_window_may_have_the_mean_colour_beyond_the_image() -> None:
    image = torch.cat((torch.full((1, 8, 8), 40), torch.full((2, 8, 8), 90))).to(torch.uint8)
    image[:, 0, 0] = 0  # one of the four pixels that are looked at
    part = augment.window(image, -3, 2, 20, 5, mean=True)
    assert torch.equal(part[:, :, 3:11], image[:, 2:7])
    assert (part[0, :, :3] == 40).all() and (part[1:, :, 11:] == 90).all()
    part = augment.window(image, -3, -2, 20, 5, mean=True)
    assert part[:, 0, 0].tolist() == [20, 45, 45]  # of the rows that are seen
    assert augment.window(image, 20, 20, 3, 4)[0].tolist() == [[40] * 3] * 4


def test_blur_is_a_gaussian() -> None:
    point = torch.zeros(1, 9, 9)
    point[0, 4, 4] = 1
    smooth = blur(point, 5)[0]
    weights = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.1**2))
    weights /= weights.sum()
    np.testing.assert_allclose(smooth[2:7, 2:7], np.outer(weights, weights), atol=1e-6)
    assert (blur(torch.full((3, 4, 5), 77, dtype=torch.uint8), 31) == 77).all()
