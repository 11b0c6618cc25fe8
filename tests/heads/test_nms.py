"""Boxes: formats, overlaps and NMS, against loops that do as the C programs do."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darknet_torch.heads import nms as module
from darknet_torch.heads.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from darknet_torch.heads.nms import non_maximum_suppression as nms

Array = np.ndarray

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    ),
]
KINDS = ["default", "greedynms", "diounms"]
COUNT = 5000


def extents(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """Width and height of the intersection and of the smallest box around, corner boxes."""
    return (
        np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]),
        np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]),
        np.maximum(a[..., 2], b[..., 2]) - np.minimum(a[..., 0], b[..., 0]),
        np.maximum(a[..., 3], b[..., 3]) - np.minimum(a[..., 1], b[..., 1]),
    )


def naive_overlap(a: Array, b: Array, beta: float | None) -> Array:
    """IoU of corner boxes, less the centres' distance where `beta` is given."""
    width, height, around_w, around_h = extents(a, b)
    inter = np.where((width < 0) | (height < 0), 0, width * height)
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    union = area_a + area_b - inter
    result = np.divide(inter, union, out=np.zeros_like(union), where=union != 0)
    if beta is None:
        return result
    centres = sum(
        ((a[..., k] + a[..., k + 2]) / 2 - (b[..., k] + b[..., k + 2]) / 2) ** 2 for k in (0, 1)
    )
    diagonal = around_w**2 + around_h**2
    share = np.divide(centres, diagonal, out=np.zeros_like(diagonal), where=diagonal != 0)
    return np.asarray(result - share**beta)


def naive_nms(
    boxes: Array, scores: Array, groups: Array, threshold: float, beta: float | None
) -> Array:
    """Sort each group by falling score; each box still kept drops what it overlaps."""
    keep = np.ones(len(boxes), dtype=bool)
    for group in set(groups.tolist()):
        members = [i for i in range(len(boxes)) if groups[i] == group]
        members = np.array(sorted(members, key=lambda i: -scores[i]), dtype=int)
        for index, i in enumerate(members):
            if keep[i]:
                later = members[index + 1 :]
                keep[later[naive_overlap(boxes[i], boxes[later], beta) > threshold]] = False
    return keep


def beta_of(kind: str, beta: float = 0.6) -> float | None:
    return {"default": None, "greedynms": 0.6, "diounms": beta}[kind]


def crowd(count: int, groups: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes around few centres, on a grid of binary fractions, with many equal scores."""
    random = np.random.default_rng(seed)
    centres = random.integers(0, 12, (count, 2)) * 32 + random.integers(-4, 5, (count, 2))
    sizes = random.integers(2, 20, (count, 2)) * 2
    boxes = np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1) / 512
    scores = random.integers(1, 65, count) / 64
    return (
        torch.from_numpy(boxes.astype(np.float32)),
        torch.from_numpy(scores.astype(np.float32)),
        torch.from_numpy(random.integers(0, groups, count)),
    )


def test_formats() -> None:
    centred = torch.tensor([[[0.5, 0.25, 0.5, 0.125], [8.0, 6.0, 0.0, -4.0]]])
    corners = torch.tensor([[[0.25, 0.1875, 0.75, 0.3125], [8.0, 8.0, 8.0, 4.0]]])
    assert torch.equal(cxcywh_to_xyxy(centred), corners)
    assert torch.equal(xyxy_to_cxcywh(corners), centred)
    assert cxcywh_to_xyxy(torch.empty(0, 4)).shape == (0, 4)


@given(st.lists(st.tuples(*[st.integers(-1000, 1000)] * 4), min_size=1, max_size=9))
def test_formats_there_and_back(rows: list[tuple[int, ...]]) -> None:
    boxes = torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0.0),  # side by side
        ([0, 0, 2, 2], [5, 5, 6, 6], 0.0),
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),  # a point has no area: 0 / 0
        ([0, 0, 0, 4], [0, 0, 0, 4], 0.0),
        ([1, 1, 1, 1], [0, 0, 2, 2], 0.0),
    ],
)
def test_iou(a: list[float], b: list[float], expected: float) -> None:
    actual = iou(torch.tensor(a).float(), torch.tensor(b).float())
    assert actual.item() == pytest.approx(expected)


@given(st.lists(st.tuples(*[st.integers(-5, 5)] * 8), min_size=1, max_size=20))
def test_iou_of_any_boxes(rows: list[tuple[int, ...]]) -> None:
    both = torch.tensor(rows, dtype=torch.float64)
    a, b = both[:, :4], both[:, 4:]
    a, b = (
        torch.cat((a[:, :2], a[:, :2] + a[:, 2:].abs()), 1),
        torch.cat((b[:, :2], b[:, :2] + b[:, 2:].abs()), 1),
    )
    assert np.allclose(iou(a, b).numpy(), naive_overlap(a.numpy(), b.numpy(), None))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.05, 0.25, 0.45, 0.5])
def test_crowd(kind: str, threshold: float, device: str) -> None:
    boxes, scores, groups = crowd(COUNT, groups=7)
    keep = nms(boxes.to(device), scores.to(device), groups.to(device), threshold, kind, 0.7)  # type: ignore[arg-type]
    expected = naive_nms(
        boxes.double().numpy(), scores.numpy(), groups.numpy(), threshold, beta_of(kind, 0.7)
    )
    assert keep.device.type == device
    assert keep.dtype == torch.bool
    assert 100 < expected.sum() < COUNT - 100  # else nothing was tried
    assert np.array_equal(keep.cpu().numpy(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_nms_over_all_classes_by_one_score_a_box(device: str) -> None:
    """NMS on objectness: the groups are the images, and an image's boxes all compete."""
    boxes, objectness, image = crowd(1000, groups=2, seed=3)
    keep = nms(boxes.to(device), objectness.to(device), image.to(device), 0.45)
    expected = naive_nms(boxes.numpy(), objectness.numpy(), image.numpy(), 0.45, None)
    assert np.array_equal(keep.cpu().numpy(), expected)
    finer = naive_nms(boxes.numpy(), objectness.numpy(), np.arange(1000) % 9, 0.45, None)
    assert expected.sum() < finer.sum()


@pytest.mark.parametrize("at_once", [1, 7, 100, 4000])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_pairs(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, groups = crowd(120, groups=3, seed=at_once)
    whole = nms(boxes, scores, groups, 0.3, kind)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", at_once)
    assert torch.equal(nms(boxes, scores, groups, 0.3, kind), whole)  # type: ignore[arg-type]
    expected = naive_nms(boxes.numpy(), scores.numpy(), groups.numpy(), 0.3, beta_of(kind))
    assert np.array_equal(whole.numpy(), expected)


def test_blocks_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = module._iou

    def counting(a: Array, b: Array) -> Array:
        sizes.append(a.shape[1])
        return plain(a, b)

    monkeypatch.setattr(module, "_iou", counting)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 500)
    nms(*crowd(100, groups=1), 0.3)
    assert sum(sizes) == 100 * 99 // 2
    assert max(sizes) <= 500 + 99  # a block ends behind a box


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_dropped_box_drops_nothing(order: tuple[int, ...]) -> None:
    """A > B > C in a row: A drops B, hence C stays."""
    row = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    keep = nms(row[list(order)], scores[list(order)], torch.zeros(3).long(), 0.3)
    assert keep.tolist() == [index != 1 for index in order]


def test_long_chain() -> None:
    steps = torch.arange(400.0)
    boxes = torch.stack((steps, steps * 0, steps + 2, steps * 0 + 1), dim=1)
    keep = nms(boxes, -steps, torch.zeros(400).long(), 0.3)
    assert keep.tolist() == [index % 2 == 0 for index in range(400)]


def test_equal_scores_compete_in_the_order_given() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(3, 1)
    for groups in ([0, 0, 0], [5, 5, 5], [-1, -1, -1]):
        keep = nms(boxes, torch.full((3,), 0.5), torch.tensor(groups), 0.45)
        assert keep.tolist() == [True, False, False]


def test_groups_do_not_compete() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(5, 1)
    scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    keep = nms(boxes, scores, torch.tensor([9, 2, 9, 2, 2**40]), 0.45)
    assert keep.tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_an_overlap_equal_to_the_threshold_stays(kind: str) -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])  # IoU 1/2; distance 1 / 32
    overlap = naive_overlap(boxes[0].double().numpy(), boxes[1].double().numpy(), beta_of(kind))
    limit = float(np.float32(overlap)) if kind == "default" else float(overlap)
    scores, groups = torch.tensor([0.9, 0.8]), torch.zeros(2).long()
    for step, second in ((-1e-5, False), (1e-5, True)):
        keep = nms(boxes, scores, groups, limit + step, kind)  # type: ignore[arg-type]
        assert keep.tolist() == [True, second]
    if kind == "default":
        assert limit == 0.5
        assert nms(boxes, scores, groups, limit).tolist() == [True, True]


def test_kinds_differ() -> None:
    boxes, scores, groups = crowd(1000, groups=3, seed=1)
    kept = [int(nms(boxes, scores, groups, 0.3, kind).sum()) for kind in KINDS]  # type: ignore[arg-type]
    assert kept[0] < kept[1]
    assert kept[1] == kept[2]  # the same beta
    wider = nms(boxes, scores, groups, 0.3, "greedynms", beta=0.1)
    assert int(wider.sum()) == kept[1]  # greedynms knows no other beta
    assert int(nms(boxes, scores, groups, 0.3, "diounms", beta=0.1).sum()) != kept[2]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1])
def test_few_boxes(count: int, kind: str, device: str) -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1]], device=device)[:count]
    scores = torch.ones(count, device=device)
    groups = torch.zeros(count, dtype=torch.int64, device=device)
    keep = nms(boxes, scores, groups, 0.45, kind)  # type: ignore[arg-type]
    assert keep.tolist() == [True] * count
    assert keep.dtype == torch.bool


@pytest.mark.parametrize("kind", KINDS)
def test_points_do_not_become_nan(kind: str) -> None:
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2], [0, 0, 2, 2]])
    keep = nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.zeros(4).long(), 0.45, kind)  # type: ignore[arg-type]
    assert keep.tolist() == [True, True, True, False]
