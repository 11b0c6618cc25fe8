"""Heads: decode and select against loops written from Darknet's rules, and against its records."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from waiting import waits

import darknet_torch as dt
from darknet_torch.errors import CfgError, ShapeError
from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.base import Head
from darknet_torch.heads.boxes import Candidates, cxcywh_to_xyxy
from darknet_torch.heads.nms import non_maximum_suppression as nms
from darknet_torch.network import Network

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "decode"
ORACLE = Path(__file__).parents[3] / "shared" / "oracle"
GRID = (3, 4)  # cells (vertical, horizontal)
NET = (48, 64)  # network input (height, width)
TREE = "a -1\nb -1\nc 0\nd 0\ne 0\nf 1\ng 1\nh 4\ni 4\n"
PARENTS = (-1, -1, 0, 0, 0, 1, 1, 4, 4)


class Predicted(NamedTuple):
    """One box, as a loop computes it."""

    box: tuple[float, float, float, float]
    objectness: float
    scores: list[float]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(x: list[float]) -> list[float]:
    powers = [math.exp(value - max(x)) for value in x]
    return [power / sum(powers) for power in powers]


def head_of(text: str, dialect: str, channels: int, folder: Path | None = None) -> Head:
    """The head of that section behind a convolution of so many filters."""
    cfg = (
        f"[net]\nwidth={NET[1]}\nheight={NET[0]}\nchannels=3\n"
        f"[convolutional]\nfilters={channels}\nsize=16\nstride=16\nactivation=linear\n{text}\n"
    )
    if folder is not None:
        (folder / "my.cfg").write_text(cfg)
    layer = dt.plan(cfg if folder is None else folder / "my.cfg", dialect=dialect)[1].layer
    assert isinstance(layer, Head)
    return layer


def random_raw(channels: int, seed: int = 0) -> Tensor:
    return torch.randn(2, channels, *GRID, generator=torch.Generator().manual_seed(seed)) * 1.5


def entries_of(
    raw: Tensor, anchors: int, by_anchor: bool = False
) -> Iterator[tuple[int, int, int, list[float]]]:
    """(cell x, cell y, anchor, its entries) of one image's map, in Darknet's order."""
    size = raw.shape[0] // anchors
    h, w = raw.shape[1:]
    places = (
        [(i, j, a) for a in range(anchors) for j in range(h) for i in range(w)]
        if by_anchor
        else [(i, j, a) for j in range(h) for i in range(w) for a in range(anchors)]
    )
    values = raw.double().tolist()
    for i, j, a in places:
        yield i, j, a, [values[a * size + e][j][i] for e in range(size)]


# ---- the loops


def naive_yolo(
    raw: Tensor, pairs: list[tuple[float, float]], scale: float = 1.0, new: bool = False
) -> list[Predicted]:
    boxes = []
    h, w = raw.shape[1:]
    for i, j, a, e in entries_of(raw, len(pairs)):
        squash: Callable[[float], float] = (lambda v: v) if new else logistic
        x, y = (squash(v) * scale - 0.5 * (scale - 1) for v in e[:2])
        sizes = [v * v * 4 if new else math.exp(v) for v in e[2:4]]
        box = (
            (i + x) / w,
            (j + y) / h,
            sizes[0] * pairs[a][0] / NET[1],
            sizes[1] * pairs[a][1] / NET[0],
        )
        objectness = squash(e[4])
        boxes.append(Predicted(box, objectness, [objectness * squash(v) for v in e[5:]]))
    return boxes


def naive_gaussian(
    raw: Tensor, pairs: list[tuple[float, float]], scale: float, point: str
) -> list[Predicted]:
    boxes = []
    h, w = raw.shape[1:]
    for i, j, a, e in entries_of(raw, len(pairs)):
        x, y = (logistic(e[k]) * scale - 0.5 * (scale - 1) for k in (0, 2))
        bw, bh = math.exp(e[4]) * pairs[a][0] / NET[1], math.exp(e[6]) * pairs[a][1] / NET[0]
        x, y = (i + x) / w, (j + y) / h
        if point == "left_top":
            x, y = x + bw / 2, y + bh / 2
        if point == "right_bottom":
            x, y = x - bw / 2, y - bh / 2
        sure = 1 - sum(logistic(e[k]) for k in (1, 3, 5, 7)) / 4
        objectness = logistic(e[8])
        boxes.append(
            Predicted((x, y, bw, bh), objectness, [objectness * logistic(v) * sure for v in e[9:]])
        )
    return boxes


class RegionCase(NamedTuple):
    dialect: str
    classes: int
    coords: int = 4
    softmax: bool = True
    background: bool = False
    tree: bool = False
    mapping: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        lines = [f"[region]\nclasses={self.classes}\ncoords={self.coords}\nnum=2"]
        lines += ["anchors=1.5,2, 0.5,3", f"softmax={int(self.softmax)}"]
        lines += ["background=1"] * self.background + ["tree=my.tree"] * self.tree
        return "\n".join([*lines, *["map=my.map"] * bool(self.mapping)])

    @property
    def channels(self) -> int:
        return 2 * (self.classes + self.coords + 1)


def naive_region(
    raw: Tensor, case: RegionCase, threshold: float, hier: float, use_map: bool
) -> list[Predicted]:
    boxes = []
    h, w = raw.shape[1:]
    pjreddie = case.dialect == "pjreddie"
    for i, j, a, e in entries_of(raw, 2, by_anchor=pjreddie):
        pairs = [(1.5, 2.0), (0.5, 3.0)]
        box = (
            (i + logistic(e[0])) / w,
            (j + logistic(e[1])) / h,
            math.exp(e[2]) * pairs[a][0] / w,
            math.exp(e[3]) * pairs[a][1] / h,
        )
        place = case.coords if pjreddie else 4
        objectness = 1.0 if case.background else logistic(e[place])
        classes = region_classes(e, place, case)
        if case.tree:
            scores = tree_scores(classes, case, objectness, threshold, hier, use_map)
        else:
            scores = [objectness * p for p in classes]
        boxes.append(Predicted(box, objectness, scores))
    return boxes


def region_classes(e: list[float], place: int, case: RegionCase) -> list[float]:
    classes = e[place + 1 : place + 1 + case.classes]
    if case.tree:
        groups = [[k for k, p in enumerate(PARENTS) if p == q] for q in dict.fromkeys(PARENTS)]
        out = [0.0] * len(classes)
        for group in groups:
            for k, p in zip(group, softmax([classes[k] for k in group]), strict=True):
                out[k] = p
        return out
    if case.softmax:
        return softmax([e[place], *classes])[1:] if case.background else softmax(classes)
    return [logistic(v) for v in classes] if case.dialect == "pjreddie" else classes


def tree_scores(
    p: list[float],
    case: RegionCase,
    objectness: float,
    threshold: float,
    hier: float,
    use_map: bool,
) -> list[float]:
    p = list(p)
    for k, parent in enumerate(PARENTS):
        p[k] *= p[parent] if parent >= 0 else 1
    if case.mapping and use_map:
        return [objectness * p[k] for k in case.mapping]
    if case.dialect != "pjreddie":
        best = max((k for k in range(len(p)) if p[k] > 0.5), default=None)
        return [p[k] if k == best and objectness > threshold else 0.0 for k in range(len(p))]
    children = [k for k, parent in enumerate(PARENTS) if parent == -1]
    product, reached = 1.0, -1
    while children:
        best = max(children, key=lambda k: p[k])
        if product * p[best] <= hier:
            reached = best if reached < 0 else reached
            break
        product, reached = product * p[best], best
        children = [k for k, parent in enumerate(PARENTS) if parent == best]
    return [objectness if k == reached else 0.0 for k in range(len(p))]


def naive_detection(
    raw: Tensor, side: int, num: int, classes: int, soft: bool, root: bool
) -> list[Predicted]:
    values = raw.double().flatten().tolist()
    cells, boxes = side * side, []
    for cell in range(cells):
        scores = values[cell * classes : (cell + 1) * classes]
        scores = softmax(scores) if soft else scores
        for n in range(num):
            confidence = values[cells * classes + cell * num + n]
            first = cells * (classes + num) + (cell * num + n) * 4
            x, y, w, h = values[first : first + 4]
            w, h = (w * w, h * h) if root else (w, h)
            box = ((cell % side + x) / side, (cell // side + y) / side, w, h)
            boxes.append(Predicted(box, confidence, [confidence * p for p in scores]))
    return boxes


# ---- what decode and select must return


def check_decode(head: Head, raw: Tensor, expected: list[list[Predicted]], **options: Any) -> None:
    got = head.decode(raw, NET, **options)
    assert got.boxes.shape[:2] == got.objectness.shape == got.scores.shape[:2]
    for image, boxes in enumerate(expected):
        close(got.boxes[image], [f.box for f in boxes])
        close(got.objectness[image], [f.objectness for f in boxes])
        close(got.scores[image], [f.scores for f in boxes])


def close(got: Tensor, expected: list[Any]) -> None:
    np.testing.assert_allclose(got.numpy(), np.array(expected, dtype=float), rtol=2e-5, atol=2e-6)


def check_select(
    got: Candidates,
    expected: list[list[Predicted]],
    threshold: float,
    *,
    by_objectness: bool = True,
    reported: float | None = None,
    floor: float | None = None,
) -> None:
    """`expected` has every box; those count that have a probability above `floor`."""
    floor = threshold if floor is None else floor
    rows = [
        (image, f, [p if p > floor else 0.0 for p in f.scores])
        for image, boxes in enumerate(expected)
        for f in boxes
        if f.objectness > threshold or not by_objectness
    ]
    rows = [row for row in rows if any(row[2])]
    useful = (got.scores != 0).any(dim=1)
    assert rows
    assert int(useful.sum()) == len(rows)
    assert got.image[useful].tolist() == [image for image, _, _ in rows]
    close(got.boxes[useful], [f.box for _, f, _ in rows])
    close(got.objectness[useful], [reported or f.objectness for _, f, _ in rows])
    close(got.scores[useful], [scores for _, _, scores in rows])


def selected(head: Head, raw: Tensor, threshold: float, **options: Any) -> Candidates:
    """The candidates; the same come of their number, without a wait for the device."""
    got = head.select(raw, NET, threshold, **options)
    count = int(head.passing(raw, threshold).sum())
    with waits() as waiting:
        again = head.select(raw, NET, threshold, count=count, **options)
    assert not waiting
    assert all(map(torch.equal, got, again))
    return got


THRESHOLDS = [0.05, 0.25, 0.5]
ANCHORS = "anchors=10,13, 16,30, 33,23, 30,61\nnum=4"
PAIRS = [(10.0, 13.0), (16.0, 30.0), (33.0, 23.0), (30.0, 61.0)]


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(
    ("dialect", "lines", "mask", "scale", "new"),
    [
        ("pjreddie", "", [0, 1, 2, 3], 1.0, False),
        ("pjreddie", "mask=3,1", [3, 1], 1.0, False),
        ("alexeyab", "mask=0,1#,2", [0, 1], 1.0, False),
        ("alexeyab", "mask=1,2\nscale_x_y=1.2", [1, 2], 1.2, False),
        ("alexeyab", "mask=2\nscale_x_y=2\nnew_coords=1", [2], 2.0, True),
        ("alexeyab", "mask=2,0\nnew_coords=1", [2, 0], 1.0, True),
        ("hank-ai", "mask=2,0 # two\nscale_x_y=1.1", [2, 0], 1.1, False),
    ],
)
def test_yolo(
    dialect: str, lines: str, mask: list[int], scale: float, new: bool, threshold: float
) -> None:
    channels = len(mask) * 8
    head = head_of(f"[yolo]\nclasses=3\n{ANCHORS}\n{lines}", dialect, channels)
    raw = torch.sigmoid(random_raw(channels)) if new else random_raw(channels)
    expected = [naive_yolo(one, [PAIRS[k] for k in mask], scale, new) for one in raw]
    check_decode(head, raw, expected)
    got = selected(head, raw, threshold)
    check_select(got, expected, threshold)
    assert len(got.boxes) == sum(f.objectness > threshold for boxes in expected for f in boxes)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("point", ["center", "left_top", "right_bottom"])
@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_gaussian(point: str, scale: float, threshold: float) -> None:
    text = f"[Gaussian_yolo]\nclasses=3\n{ANCHORS}\nmask=3,0\nyolo_point={point}\nscale_x_y={scale}"
    head = head_of(text, "alexeyab", 24)
    raw = 2 * random_raw(24)  # sure enough that some boxes pass every threshold
    expected = [naive_gaussian(one, [PAIRS[3], PAIRS[0]], scale, point) for one in raw]
    check_decode(head, raw, expected)
    check_select(selected(head, raw, threshold), expected, threshold)


REGIONS = [
    RegionCase("pjreddie", 3),
    RegionCase("alexeyab", 3),
    RegionCase("pjreddie", 3, softmax=False),
    RegionCase("alexeyab", 3, softmax=False),
    RegionCase("pjreddie", 3, background=True),
    RegionCase("pjreddie", 3, softmax=False, background=True),
    RegionCase("pjreddie", 3, coords=6),
    RegionCase("alexeyab", 3, coords=5),
    RegionCase("alexeyab", 3, coords=5, softmax=False),
    RegionCase("pjreddie", 9, tree=True),
    RegionCase("alexeyab", 9, tree=True),
    RegionCase("pjreddie", 9, tree=True, mapping=(8, 0, 5, 5)),
    RegionCase("alexeyab", 9, tree=True, mapping=(8, 0, 5, 5)),
    RegionCase("pjreddie", 9, tree=True, background=True),
    RegionCase("alexeyab", 9, coords=5, tree=True),
]


def region(case: RegionCase, folder: Path) -> Head:
    (folder / "my.tree").write_text(TREE)
    (folder / "my.map").write_text("".join(f"{k}\n" for k in case.mapping))
    return head_of(case.text, case.dialect, case.channels, folder)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("hier", [0.1, 0.5])
@pytest.mark.parametrize("case", REGIONS, ids=lambda c: "-".join(map(str, c)))
def test_region(case: RegionCase, hier: float, threshold: float, tmp_path: Path) -> None:
    head = region(case, tmp_path)
    raw = random_raw(case.channels, seed=4)
    expected = [naive_region(one, case, 0.0, hier, False) for one in raw]
    check_decode(head, raw, expected, hier_threshold=hier)
    for use_map in {False, bool(case.mapping)}:
        got = selected(head, raw, threshold, hier_threshold=hier, use_map=use_map)
        expected = [naive_region(one, case, threshold, hier, use_map) for one in raw]
        unbounded = case.dialect == "alexeyab" and not case.softmax
        check_select(
            got,
            expected,
            threshold,
            by_objectness=not unbounded,
            reported=None if case.dialect == "pjreddie" else 1.0,
            floor=0.0 if case.tree and not use_map else None,
        )


@pytest.mark.parametrize("case", REGIONS, ids=lambda c: "-".join(map(str, c)))
def test_region_output(case: RegionCase, tmp_path: Path) -> None:
    """The layer's own output: by anchor and entry, or by cell with x and y as they came."""
    head = region(case, tmp_path)
    raw = random_raw(case.channels, seed=5)
    pjreddie = case.dialect == "pjreddie"
    place, size = (case.coords if pjreddie else 4), case.channels // 2
    got = head.forward(raw)
    for image in range(2):
        rows = []
        for _, _, _, e in entries_of(raw[image], 2, by_anchor=pjreddie):
            out = list(e)
            if pjreddie:
                out[0], out[1] = logistic(e[0]), logistic(e[1])
            if not case.background:
                out[place] = logistic(e[place])
            elif case.softmax and not case.tree:
                out[place] = softmax(e[place:])[0]
            out[place + 1 : place + 1 + case.classes] = region_classes(e, place, case)
            rows.append(out)
        expected = np.array(rows)
        if pjreddie:
            expected = expected.reshape(2, *GRID, size).transpose(0, 3, 1, 2)
        close(got[image].flatten(), expected.flatten().tolist())


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_detection(dialect: str, root: bool, soft: bool, threshold: float) -> None:
    side, num, classes = 3, 2, 4
    count = side * side * (num * 5 + classes)
    cfg = (
        f"[net]\ninputs=5\n[connected]\noutput={count}\n"
        f"[detection]\nclasses={classes}\ncoords=4\nnum={num}\nside={side}"
        f"\nsoftmax={int(soft)}\nsqrt={int(root)}\nrescore=1\n"
    )
    head = dt.plan(cfg, dialect=dialect)[1].layer
    assert isinstance(head, Head)
    raw = torch.randn(2, count, 1, 1, generator=torch.Generator().manual_seed(1))
    expected = [naive_detection(one, side, num, classes, soft, root) for one in raw]
    check_decode(head, raw, expected)
    check_select(selected(head, raw, threshold), expected, threshold, by_objectness=False)
    assert torch.equal(head.decode(raw.flatten(1), NET).boxes, head.decode(raw, NET).boxes)


def test_missing_anchors_are_one_half() -> None:
    head = head_of("[yolo]\nclasses=1\nnum=2\nanchors=10", "alexeyab", 12)
    assert isinstance(head, AnchorHead)
    assert head.pairs() == ((10.0, 0.5), (0.5, 0.5))


@pytest.mark.parametrize(
    "lines", ["nms_kind=greedynms", "nms_kind=diounms\nbeta_nms=0.3", "nms_kind=cornersnms", ""]
)
def test_kind_of_suppression(lines: str) -> None:
    head = head_of(f"[yolo]\nclasses=1\nnum=1\n{lines}", "alexeyab", 6)
    assert isinstance(head, AnchorHead)
    kind = re.search(r"greedynms|diounms", lines)
    assert head.nms() == (kind[0] if kind else "default", 0.3 if "beta" in lines else 0.6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[yolo]\nclasses=2\nnum=3",
            "my.cfg:10: .*3 anchors and 2 classes need 21 filters before them, not 18",
        ),
        ("[yolo]\nclasses=2\nnum=3\nmask=0,3", "my.cfg:10: .*mask=0,3: there are 3 anchors"),
        ("[yolo]\nclasses=2\nnum=3\nmask=-1", "my.cfg:10: .*mask=-1: there are 3 anchors"),
        ("[yolo]\nclasses=0", "my.cfg:11: .*classes=0: must be at least 1"),
        (
            "[Gaussian_yolo]\nclasses=2\nnum=2",
            "2 anchors and 2 classes need 22 filters before them, not 18",
        ),
        (
            "[region]\nclasses=2\nnum=2",
            "2 anchors, 4 coordinates and 2 classes need 14 filters before them, not 18",
        ),
        ("[region]\nclasses=2\ncoords=3", "coords=3: must be at least 4"),
        ("[detection]\nclasses=2\ncoords=4\nside=3", "need 63 values before them, not 216"),
    ],
)
def test_a_head_that_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=message):
        head_of(text, "alexeyab", 18, tmp_path)


def test_heads_need_a_map() -> None:
    for name in ("yolo", "Gaussian_yolo", "region"):
        with pytest.raises(ShapeError, match=r"needs a map of pixels before it"):
            dt.plan(f"[net]\ninputs=5\n[{name}]\n")


@pytest.mark.parametrize("name", ["tree", "map"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    """The output needs the tree, so it is missed at once; the map, only where scores are mapped."""
    (tmp_path / "my.tree").write_text(TREE)
    case = RegionCase("pjreddie", 9, tree=True, mapping=(1,))
    text = case.text.replace(f"{name}=my", f"{name}=no")
    (tmp_path / "my.map").write_text("1\n")
    head_of(text, "pjreddie", case.channels, tmp_path)
    with pytest.raises(CfgError, match=rf"my.cfg:\d+: \[region\] {name}=no\.{name}: no such file"):
        network = dt.build(tmp_path / "my.cfg", dialect="pjreddie")
        head = network.plan[network.plan.heads[0]].layer
        assert isinstance(head, Head)
        assert name == "map"
        assert head.class_map is None


def test_a_tree_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "my.tree").write_text("a -1\n")
    head_of("[region]\nclasses=9\nnum=1\ntree=my.tree", "pjreddie", 14, tmp_path)
    with pytest.raises(CfgError, match=r"my.cfg:10: .*tree= has 1 classes, not classes=9"):
        dt.build(tmp_path / "my.cfg", dialect="pjreddie")


# ---- what the C programs recorded


class SourceImage(NamedTuple):
    width: int
    height: int
    letterbox: bool
    stretched: bool = False
    """Boxes refer to the image, whatever was done to it ([detection])."""


def undo_letterbox(boxes: Tensor, image: SourceImage, net_w: int, net_h: int) -> Tensor:
    if image.stretched or not image.letterbox:
        return boxes
    if net_w / image.width < net_h / image.height:
        new_w, new_h = net_w, image.height * net_w // image.width
    else:
        new_w, new_h = image.width * net_h // image.height, net_h
    x, y, w, h = boxes.double().unbind(1)
    x = (x - (net_w - new_w) / 2 / net_w) / (new_w / net_w)
    y = (y - (net_h - new_h) / 2 / net_h) / (new_h / net_h)
    return torch.stack((x, y, w * net_w / new_w, h * net_h / new_h), dim=1).float()


def detections(
    network: Network, raws: list[Tensor], threshold: float, hier: float, image: SourceImage
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, objectness and scores of all heads, referred to the image."""
    shape = network.plan.input
    heads = [network.plan[index].layer for index in network.plan.heads]
    boxes = []
    for head, raw in zip(heads, raws, strict=True):
        assert isinstance(head, Head)
        got = head.select(raw, (shape.h, shape.w), threshold, hier_threshold=hier)
        where = image._replace(stretched=head.section.name == "detection")
        boxes.append((undo_letterbox(got.boxes, where, shape.w, shape.h), *got[2:]))
    boxes, objectness, scores = (torch.cat(parts) for parts in zip(*boxes, strict=True))
    return boxes, objectness, scores


def after_nms(network: Network, boxes: Tensor, scores: Tensor, by_kind: bool = True) -> Tensor:
    """Scores after NMS, of the kind that the last head has or of the plain one."""
    last = network.plan[network.plan.heads[-1]].layer
    of_head = by_kind and isinstance(last, AnchorHead)
    kind, beta = last.nms() if of_head else ("default", 0.6)  # type: ignore[attr-defined]
    place, label = scores.nonzero(as_tuple=True)
    corners = cxcywh_to_xyxy(boxes)[place]
    keep = nms(corners, scores[place, label], label, 0.45, kind, beta)  # type: ignore[arg-type]
    out = scores.clone()
    out[place[~keep], label[~keep]] = 0
    return out


def same_rows(boxes: Tensor, objectness: Tensor, scores: Tensor, expected: np.ndarray) -> int:
    """Compare, as sets, the rows x, y, w, h, objectness, scores that have any score.

    Random weights give boxes of hundreds of images, hence a relative error above 1.
    """
    rows = torch.cat((boxes, objectness[:, None], scores), dim=1)[(scores > 0).any(dim=1)]
    ours, theirs = rows.double().numpy(), expected[(expected[:, 5:] > 0).any(axis=1)].astype(float)
    assert len(ours) == len(theirs)
    left = list(range(len(ours)))
    for row in theirs:
        distance = (np.abs(ours[left] - row) / np.maximum(1, np.abs(row))).max(axis=1)
        nearest = int(distance.argmin())
        assert distance[nearest] < 1e-4, row
        del left[nearest]
    return len(theirs)


DECODE = sorted(path.stem for path in GOLDEN.glob("*.npz"))


def test_decode_keys_are_there() -> None:
    assert len(DECODE) == 12


@pytest.mark.parametrize("case", DECODE)
def test_recorded_decoding(case: str) -> None:
    dialect = {"pj": "pjreddie", "ab": "alexeyab"}[case[:2]]
    network = Network(dt.plan(GOLDEN / f"{case}.cfg", dialect=dialect))
    compared = 0
    with np.load(GOLDEN / f"{case}.npz") as key:
        raws = [
            torch.from_numpy(key[f"L{index:02}/input"]).view(
                1, *network.plan[index].input_shapes[0]
            )
            for index in network.plan.heads
        ]
        for name in [name for name in key.files if name.endswith("rel1/pre_nms")]:
            parts = re.fullmatch(
                r"w(\d+)h(\d+)_thresh([\d.]+)_(?:hier([\d.]+)|letter(\d))_.*", name
            )
            assert parts is not None
            w, h, threshold, hier, letter = parts.groups()
            image = SourceImage(int(w), int(h), letter != "0")
            boxes, objectness, scores = detections(
                network, raws, float(threshold), float(hier or 0.5), image
            )
            compared += same_rows(boxes, objectness, scores, rows_of(key[name], network, image))
            kept = after_nms(network, boxes, scores)
            after = key[name.replace("pre_nms", "post_nms")]
            same_rows(boxes, objectness, kept, rows_of(after, network, image))
    assert compared > 20


def rows_of(rows: np.ndarray, network: Network, image: SourceImage) -> np.ndarray:
    """[detection] records pixels."""
    if network.plan[network.plan.heads[-1]].name == "detection":
        rows = rows.copy()
        rows[:, :4] /= [image.width, image.height] * 2
    return rows


BOXES = ORACLE / "golden" / "boxes"
CASES = (
    [
        case
        for case in json.loads((BOXES / "index.json").read_text())
        if (BOXES / case["file"]).is_file()
    ]
    if BOXES.is_dir()
    else []
)


@cache
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_weights", ORACLE / "make_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_last: list[Any] = []


def recorded_maps(golden: str, folder: Path) -> tuple[Network, list[Tensor]]:
    """The network of a key, and its raw maps; the last one is kept for the next case."""
    if not _last or _last[0] != golden:
        key = json.loads((ORACLE / "golden" / f"{golden}.json").read_text())
        base = ORACLE / ("golden" if golden.startswith("mini/") else "official_cfg")
        path = folder / "key.weights"
        maker().make_weights(key, key["weight_seed"], path, key["weights_style"])
        size = {k: v for k, v in key["override"].items() if k in ("width", "height")}
        network = dt.load(base / key["cfg"], path, dialect=key["fork"], **size)
        image = torch.from_numpy(maker().make_input(key["input_seed"], *key["input_shape"]))
        with torch.inference_mode():
            _last[:] = [golden, network, list(network(image))]
    return _last[1], _last[2]


@pytest.mark.skipif(not CASES, reason="the recorded boxes are not beside this checkout")
@pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"].removesuffix(".npz"))
def test_recorded_boxes(case: dict[str, Any], tmp_path: Path) -> None:
    network, raws = recorded_maps(case["golden"], tmp_path)
    image = SourceImage(case["image_w"], case["image_h"], case["letterbox"])
    boxes, objectness, scores = detections(
        network, raws, case["thresh"], case["hier_thresh"], image
    )
    with np.load(BOXES / case["file"]) as key:
        before, after = (rows_of(key[k], network, image) for k in ("before_nms", "after_nms"))
    same_rows(boxes, objectness, scores, before)
    assert int((scores > 0).sum()) == case["kept_probs_before"]
    kept = after_nms(network, boxes, scores, case["nms_call"].startswith("diounms_sort"))
    same_rows(boxes, objectness, kept, after)
    assert int((kept > 0).sum()) == case["kept_probs_after"]


def test_the_boxes_of_a_detection_head_have_four_coordinates() -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=32\n"
    with pytest.raises(ShapeError, match="coords=1: boxes have 4 coordinates: coords=4"):
        dt.plan(f"{text}[detection]\nclasses=3\nside=2\nnum=1\n")
