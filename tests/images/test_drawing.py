"""Boxes on an image: where lines and labels are, in which colours, and the pieces inside."""

import itertools
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from darknet_torch.errors import UsageError
from darknet_torch.images import drawing, fonts
from darknet_torch.images.drawing import class_color as color
from darknet_torch.images.drawing import draw_boxes, draw_boxes_on
from darknet_torch.inference.detections import Detections

GREY = (120, 120, 120)


def grey(width=400, height=300):
    return Image.new("RGB", (width, height), GREY)


def detections(boxes, class_ids=None, width=400, height=300, names=("a", "b", "c")):
    ids = torch.tensor(range(len(boxes)) if class_ids is None else class_ids)
    score = torch.linspace(0.9, 0.5, len(boxes))
    xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(xyxy, score, ids.long(), names, width, height)


def mask(drawn, rgb):
    return (np.asarray(drawn) == rgb).all(axis=2)


def test_the_outline_is_where_the_box_is():
    drawn = detections([[100, 100, 300, 250]]).draw(grey())
    assert drawn.size == (400, 300)
    ours = mask(drawn, color(0))
    assert ours[100:251, 100].all()
    assert ours[100:251, 300].all()
    assert ours[250, 100:301].all()
    assert not ours[150:200, 110:290].any()  # the inside stays
    assert mask(drawn, GREY)[:50].all()


def test_the_source_stays_and_the_result_is_always_the_same():
    source, d = grey(), detections([[10, 10, 90, 90], [50, 50, 200, 200]])
    assert d.draw(source).tobytes() == d.draw(source).tobytes()
    assert source.getcolors() == [(400 * 300, GREY)]


def test_drawing_on_the_image_itself():
    image, label = grey(), ([(10, 10, 90, 90)], ["a"], [color(0)])
    drawn = draw_boxes(image, *label)
    assert image.getcolors() == [(400 * 300, GREY)]
    assert draw_boxes_on(image, *label) is None
    assert image.tobytes() == drawn.tobytes()


def letters(*boxes):
    d = detections(boxes, [0] * len(boxes), names=("a rather long name",))
    return (np.asarray(d.draw(grey())) > 200).all(axis=2).sum()


@pytest.mark.parametrize(
    "box", [[0, 0, 399, 299], [350, 0, 399, 20], [-50, -50, 40, 40], [380, 280, 500, 500]]
)
def test_labels_stay_inside(box):
    assert letters(box) == letters([100, 100, 300, 250]) > 100


def test_labels_make_room_for_one_another():
    box = [100, 100, 300, 250]
    assert letters(box, box, box) > 2.8 * letters(box)


def test_nothing_to_draw():
    source = grey()
    outside = detections([[500, 500, 600, 600], [10, 10, 10, 50]])
    for d in (Detections.empty((), 400, 300), outside):
        assert d.draw(source).tobytes() == source.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (64, 48), (3000, 20)])
def test_odd_sizes(size):
    box = [0, 0, size[0], size[1]]
    drawn = detections([box], width=size[0], height=size[1]).draw(grey(*size))
    assert drawn.size == size


def test_lines_and_font_grow_with_the_image():
    def painted(n):
        drawn = detections([[n / 4, n / 4, n / 2, n / 2]], width=n, height=n).draw(grey(n, n))
        return 1 - mask(drawn, GREY).mean()

    assert painted(2000) == pytest.approx(painted(800), rel=0.2)


def test_colours_are_well_spread_and_stable():
    colours = [color(i) for i in range(80)]
    assert min(math.dist(a, b) for a, b in itertools.combinations(colours, 2)) > 12
    assert min(math.dist(a, b) for a, b in itertools.pairwise(colours)) > 100
    assert all(0 <= v <= 255 for c in colours for v in c)
    assert color(3) == colours[3]


def test_floats_and_tensors_are_images_too():
    d = detections([[100, 100, 300, 250]])
    image = torch.full((3, 300, 400), 120, dtype=torch.uint8)
    assert d.draw(image / 255).tobytes() == d.draw(image).tobytes() == d.draw(grey()).tobytes()


def test_boxes_of_another_image():
    with pytest.raises(UsageError, match="400x300 pixels, not 40x30"):
        detections([[1, 1, 9, 9]]).draw(grey(40, 30))


def test_crops():
    image = torch.arange(300 * 400).reshape(1, 300, 400).remainder(251).byte().repeat(3, 1, 1)
    boxes = [[10, 20, 40, 60], [390, -5, 450, 10], [500, 500, 600, 600], [10, 10, 10.2, 90]]
    first, second = detections(boxes, [0, 1, 2, 3]).crops(image)
    expected = image[:, 20:60, 10:40].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(first), expected)
    assert second.size == (10, 10)


def test_a_name_without_a_font_is_the_number_of_its_class(monkeypatch):
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    box = [[100, 100, 300, 250]]
    drawn = detections(box, [1], names=("a", "汽车")).draw(grey())
    number = detections(box, [1], names=("a", "class 1")).draw(grey())
    assert drawn.tobytes() == number.tobytes()
    cyrillic = detections(box, [1], names=("a", "собака")).draw(grey())
    assert cyrillic.tobytes() != number.tobytes()


def test_a_font_can_be_chosen():
    d = detections([[100, 100, 300, 250]])
    serif = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"
    assert d.draw(grey(), font=serif).tobytes() != d.draw(grey()).tobytes()
    with pytest.raises(UsageError, match="no font"):
        d.draw(grey(), font="nowhere.ttf")


def test_ground_truths_have_no_scores():
    box = [[100, 100, 300, 250]]
    d = detections(box, [0])
    label = mask(d.draw(grey(), scores=False), color(0))[:100]
    assert 0 < label.sum() < mask(d.draw(grey()), color(0))[:100].sum()


def test_small_objects_stay_visible():
    """The line is thin, and no label lies on a small box, its own or another."""
    small, other = [100, 100, 112, 112], [100, 70, 112, 82]
    drawn = detections([small, other], [0, 1], width=1600, height=1200).draw(grey(1600, 1200))
    pixels = np.asarray(drawn)
    for left, top, right, bottom in (small, other):
        assert (pixels[top + 2 : bottom - 1, left + 2 : right - 1] == GREY).all()


def test_crowds_stay_visible():
    """Labels give way: most of what is inside the boxes is not under them."""
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 1, (200, 2)) * (380, 280)
    boxes = np.concatenate((corner, corner + 12), axis=1).round()
    d = detections(boxes.tolist(), [0] * 200)
    pixels = mask(d.draw(grey()), GREY)
    inner = boxes.astype(int) + np.array((2, 2, -1, -1))
    insides = [pixels[top:bottom, left:right].mean() for left, top, right, bottom in inner]
    assert np.mean(insides) > 0.65
    alone = mask(detections(boxes[:1].tolist(), [0]).draw(grey()), GREY)
    assert (~alone).sum() * 200 > 400 * 300 / 2  # all of them would hide most of the image


def test_thousands_of_boxes_are_drawn_in_linear_time(monkeypatch):
    """As of `--threshold 0`: once there are no more labels, none is compared with all boxes."""
    calls = []
    overlaps = drawing._overlaps
    monkeypatch.setattr(drawing, "_overlaps", lambda *each: calls.append(1) or overlaps(*each))
    corner = np.random.default_rng(4).uniform(0, 1, (2000, 2)) * (300, 200)
    boxes = np.concatenate((corner, corner + 90), axis=1)
    detections(boxes.tolist(), [0] * 2000).draw(grey())
    assert 5 < len(calls) < 500
