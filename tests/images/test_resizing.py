"""Resizing, letterboxing and the way back: Darknet's own images, and a naive double loop."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_torch.errors import UsageError
from darknet_torch.images.reading import read
from darknet_torch.images.resizing import Placement, center_crop, fit, letterbox, resize, resize_min

SHARED = Path(__file__).resolve().parents[3] / "shared"
ORACLE = SHARED / "oracle"
KEYS = ORACLE / "golden" / "image" / "image.npz"
needs_keys = pytest.mark.skipif(not KEYS.exists(), reason="the answer keys are not here")


# ---- answer keys


def key(kind):
    with np.load(KEYS) as keys:
        return {name: torch.from_numpy(keys[name]) for name in keys if name.startswith(kind)}


def compute(name, image):
    kind, size = name.split("_")[-2:]
    width, height = map(int, size.split("x"))
    if kind == "min":
        return resize_min(image, width)
    if kind == "mincrop":
        return center_crop(resize_min(image, width), width, height)
    return {"resize": resize, "letterbox": letterbox}[kind](image, width, height)


def golden_image():
    spec = importlib.util.spec_from_file_location("make_weights", ORACLE / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = np.asarray(module.stream(11, 0, 3 * 53 * 37), np.float32)
    return torch.from_numpy(values.reshape(3, 37, 53))


@needs_keys
def test_darknet_images():
    image = golden_image()
    names = [name for kind in ("resize", "letterbox", "min") for name in key(kind)]
    assert len(names) == 14
    for name in names:
        torch.testing.assert_close(compute(name, image), key(name)[name], atol=1e-6, rtol=0)


@needs_keys
def test_the_keys_tell_other_rules_apart():
    image, expected = golden_image(), key("resize_64x48")["resize_64x48"]
    half_pixel = torch.nn.functional.interpolate(image[None], (48, 64), mode="bilinear")[0]
    assert (half_pixel - expected).abs().max() > 0.1


@needs_keys
@pytest.mark.parametrize("name", ["dog_resize_96x64", "dog_letterbox_96x64", "dog_load_0x0"])
def test_dog(name):
    dog = read(SHARED / "photos" / "dog.jpg")
    result = dog[:, ::16, ::16] / 255 if "load" in name else compute(name, dog)
    difference = (result - key(name)[name]).abs()
    # stb_image and libjpeg differ by up to 3 levels, in 7 of 100 values.
    assert difference.max() <= 3 / 255
    assert difference.mean() < 1.5e-3


@needs_keys
@pytest.mark.parametrize("fork", ["pjreddie", "AlexeyAB"])
def test_bytes_resized_and_letterboxed(fork):
    with np.load(ORACLE / "train" / "augment_ops.npz") as keys:
        image = torch.from_numpy(keys["image_u8"])
        for name in (n for n in keys if n.startswith((f"{fork}/resize", f"{fork}/letterbox"))):
            _, kind, size = name.split("/")
            width, height = (int(part[1:]) for part in size.split("_"))
            result = {"resize": resize, "letterbox": letterbox}[kind](image, width, height)
            np.testing.assert_allclose(result, keys[name][0], atol=1e-6)


@needs_keys
@pytest.mark.parametrize("tag, how", [("ab_resize", resize), ("pj_letterbox", letterbox)])
def test_network_input_from_the_pixels_of_stb_image(tag, how):
    image = read(ORACLE / "real" / "stb_pixels" / "person.png")
    with np.load(ORACLE / "real" / "yolo-fastest-1.1.npz") as keys:
        result = how(image, 320, 320).flatten()[keys["idx/307200_512"]]
        np.testing.assert_allclose(result, keys[f"{tag}/person/net_input_val"], atol=1e-6)


@needs_keys
@pytest.mark.parametrize("case", ["ab_yolo_mse", "ab_yolo_scalexy", "ab_gaussian_mse"])
def test_box_correction(case):
    with np.load(ORACLE / "train" / "decode" / f"{case}.npz") as keys:
        for w, h, relative in ((64, 64, 1), (100, 60, 1), (37, 91, 0)):
            name = f"w{w}h{h}_thresh0.24_letter{{}}_rel{relative}/pre_nms"
            scale = torch.ones(4) if relative else torch.tensor([w, h, w, h])
            plain = torch.from_numpy(keys[name.format(0)][:, :4]) / scale
            corrected = torch.from_numpy(keys[name.format(1)][:, :4]) / scale
            result = Placement(w, h, 64, 64, letterbox=True).to_image(plain)
            torch.testing.assert_close(result, corrected, atol=2e-6, rtol=1e-5)


# ---- resizing


def naive(image, width, height):
    """Darknet's resize_image, pixel by pixel, in float32."""
    f = np.float32
    _, old_h, old_w = image.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        scale_x, scale_y = f(old_w - 1) / f(width - 1), f(old_h - 1) / f(height - 1)
    part = np.empty((len(image), old_h, width), f)
    for c in range(width):
        if c == width - 1 or old_w == 1:
            part[:, :, c] = image[:, :, -1]
            continue
        x = f(c) * scale_x
        d = x - f(int(x))
        part[:, :, c] = (1 - d) * image[:, :, int(x)] + d * image[:, :, int(x) + 1]
    out = np.empty((len(image), height, width), f)
    for r in range(height):
        y = f(r) * scale_y if height > 1 else f(old_h - 1)  # Darknet: not a number
        d = y - f(int(y))
        out[:, r] = (1 - d) * part[:, int(y)]
        if r < height - 1 and old_h > 1:
            out[:, r] += d * part[:, int(y) + 1]
    return out


SIDE = st.integers(1, 40)


@settings(max_examples=150)
@given(SIDE, st.integers(1, 200), SIDE, SIDE, st.integers(0, 99))
def test_resize_is_the_naive_double_loop(old_w, old_h, width, height, seed):
    image = np.random.default_rng(seed).random((2, old_h, old_w), dtype=np.float32)
    result = resize(torch.from_numpy(image), width, height)
    np.testing.assert_allclose(result, naive(image, width, height), atol=2e-6)


@pytest.mark.parametrize("old, new", [(512, 448), (448, 416), (512, 64), (768, 96)])
def test_darknet_blackens_the_last_row_of_some_sizes(old, new):
    image = np.ones((1, old, 3), np.float32)
    result = resize(torch.from_numpy(image), 3, new)
    assert result[0, -1].max() < 1e-3 < 0.999 < result[0, :-1].min()
    np.testing.assert_allclose(result, naive(image, 3, new), atol=1e-6)


def test_bytes_and_fractions_give_the_same_and_the_source_stays():
    image = torch.randint(0, 256, (3, 90, 20), dtype=torch.uint8)
    before = image.clone()
    for width, height in ((20, 90), (31, 7), (5, 1)):
        torch.testing.assert_close(
            resize(image, width, height), resize(image / 255, width, height), atol=1e-6, rtol=0
        )
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    "image, net, expected",
    [
        ((768, 576), (416, 416), (416, 312)),
        ((576, 768), (416, 416), (312, 416)),
        ((53, 37), (64, 48), (64, 44)),  # 44.7: truncated
        ((100, 100), (64, 48), (48, 48)),
        ((1000, 1), (32, 32), (32, 1)),  # 0 in Darknet
        ((1, 1000), (32, 32), (1, 32)),
    ],
)
def test_fit(image, net, expected):
    assert fit(*image, *net) == expected


def test_letterbox_margins_are_grey_and_the_smaller_one_comes_first():
    result = letterbox(torch.zeros(3, 30, 61), 61, 37)
    assert result.shape == (3, 37, 61)
    assert (result[:, :3] == 0.5).all()
    assert (result[:, 3:33] == 0).all()
    assert (result[:, 33:] == 0.5).all()


@pytest.mark.parametrize("function", [resize, letterbox, center_crop])
def test_impossible_sizes(function):
    with pytest.raises(UsageError, match="0x4"):
        function(torch.zeros(3, 8, 8), 0, 4)


def test_crop_beyond_the_edge_repeats_it():
    image = torch.arange(3.0).reshape(1, 1, 3)
    assert center_crop(image, 7, 1).tolist() == [[[0, 0, 0, 1, 2, 2, 2]]]
    assert center_crop(image, 6, 1).tolist() == [[[0, 0, 1, 2, 2, 2]]]  # C rounds towards zero
    assert center_crop(image, 2, 1).tolist() == [[[0, 1]]]


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([32, 97, 416]))
def test_placement_undoes_the_letterbox(w, h, net):
    place = Placement(w, h, net, 64, letterbox=True)
    new_w, new_h = fit(w, h, net, 64)
    inner = torch.tensor([0.5, 0.5, new_w / net, new_h / 64])  # what the image covers
    torch.testing.assert_close(place.to_image(inner), torch.tensor([0.5, 0.5, 1.0, 1.0]))
    sx, ox, sy, oy = place.affine()
    assert (0.5 * sx + ox, 0.5 * sy + oy) == pytest.approx((0.5, 0.5))


def test_stretched_boxes_stay():
    boxes = torch.rand(2, 5, 4)
    assert torch.equal(Placement(10, 90, 32, 32, letterbox=False).to_image(boxes), boxes)
