"""Figures of detections: Darknet's own, other people's tools, and a slow count by hand."""

import numpy as np
import pytest
from mean_average_precision import MetricBuilder
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_boxes import CARTUCHO, MAP_KEY, SIDE, cartucho, random_tables, recorded

from darknet_torch.errors import UsageError
from darknet_torch.metrics import coco, confusion, darknet, voc
from darknet_torch.metrics.curves import average_precision, check_points, curve
from darknet_torch.metrics.matching import PAIRS_AT_ONCE, iou, nearest
from darknet_torch.metrics.tables import Found, Marked

needs_key = pytest.mark.skipif(not MAP_KEY.is_file(), reason=f"{MAP_KEY} is not here")
needs_cartucho = pytest.mark.skipif(not CARTUCHO.is_dir(), reason=f"{CARTUCHO} is not here")


# ---- Darknet


@needs_key
@pytest.mark.parametrize("points", [0, 11, 101])
@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_darknets_own_figures(points: int, overlap: float) -> None:
    found, truth, key = recorded()
    want = key["results"][f"points{points}_iou{overlap}"]
    judged = darknet.judge(found, truth, key["classes"], overlap)
    ap = judged.average_precisions(check_points(points))
    assert ap.mean() == pytest.approx(want["mAP"], abs=1e-6)
    counts = judged.counts(want["conf_thresh"])
    assert (counts.tp, counts.fp, counts.fn) == (want["TP"], want["FP"], want["FN"])
    assert 100 * counts.iou == pytest.approx(want["average_iou_percent"], abs=0.0051)
    for name, value in (("precision", counts.precision), ("recall", counts.recall)):
        assert value == pytest.approx(want[name], abs=0.0051)
    assert counts.f1 == pytest.approx(want["F1"], abs=0.0051)
    each = judged.class_counts(want["conf_thresh"])
    for number, row in want["per_class"].items():
        one = each[int(number)]
        assert 100 * ap[int(number)] == pytest.approx(row["ap_percent"], abs=0.0051)
        assert (one.tp, one.fp) == (row["tp"], row["fp"])
    assert len(want["per_class"]) == 12


def test_darknets_order_of_listing_decides_at_the_threshold() -> None:
    """The first listed detection has the truth, whatever its score; AP goes by score."""
    box = [0, 0, 10, 10]
    truth = marked([(0, 0, box)])
    found = Found(np.zeros(2), np.zeros(2), np.array([0.1, 0.9]), np.array([box, box]))
    judged = darknet.judge(found, truth, 1)
    assert judged.score.tolist() == [0.9, 0.1]
    assert judged.hit.tolist() == [True, False]
    counts = judged.counts(0.25)
    assert (counts.tp, counts.fp, counts.fn) == (0, 1, 1)


def test_difficult_truths_are_neither_missed_nor_found() -> None:
    easy, hard, nowhere = [0, 0, 10, 10], [50, 50, 60, 60], [90, 90, 99, 99]
    truth = marked([(0, 0, easy), (0, 0, hard)])
    truth.difficult[1] = True
    boxes = np.array([easy, hard, nowhere])
    found = Found(np.zeros(3), np.zeros(3), np.array([0.5, 0.9, 0.4]), boxes)
    counts = darknet.judge(found, truth, 1).counts(0.25)
    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 0)
    assert darknet.judge(found, truth, 1).average_precisions().tolist() == [1.0]
    assert voc.evaluate(found, truth, 1).ap10.tolist() == [1.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("points", [0, 11, 101])
def test_darknets_ap_by_hand(seed: int, points: int) -> None:
    found, truth = random_tables(seed, 12, 5)
    judged = darknet.judge(found, truth, 5, 0.5)
    ap = judged.average_precisions(check_points(points))
    want = [naive_ap(found, truth, c, 0.5, points) for c in range(5)]
    assert ap == pytest.approx(want, abs=1e-12)
    assert max(want) > 0.2


def naive_ap(found: Found, truth: Marked, class_id: int, overlap: float, points: int) -> float:
    """One detection after the other, as training_semantics 13 tells it."""
    rows = [i for i in range(len(found)) if found.class_id[i] == class_id]
    rows.sort(key=lambda i: -found.score[i])
    easy = [t for t in range(len(truth)) if truth.class_id[t] == class_id]
    positives = sum(not truth.difficult[t] for t in easy)
    taken: set[int] = set()
    precision, recall, right, total = [], [], 0, 0
    for i in rows:
        best, mine = {True: 0.0, False: 0.0}, {True: -1, False: -1}
        for t in easy:
            value = naive_iou(found.xyxy[i], truth.xyxy[t])
            hard = bool(truth.difficult[t])
            if truth.picture[t] == found.picture[i] and value > max(best[hard], overlap):
                best[hard], mine[hard] = value, t
        if mine[False] < 0 and mine[True] >= 0:
            continue
        total += 1
        if mine[False] >= 0 and mine[False] not in taken:
            taken.add(mine[False])
            right += 1
        precision.append(right / total)
        recall.append(right / positives if positives else 0.0)
    if points:
        levels = [k / (points - 1) for k in range(points)]
        best_at = [
            max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0)
            for level in levels
        ]
        return sum(best_at) / points
    area, before = 0.0, 0.0
    for k, level in enumerate(recall):
        area += (level - before) * max(precision[k:])
        before = level
    return area


def naive_iou(a: np.ndarray, b: np.ndarray, pixel: float = 0.0) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    h = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if w <= 0 or h <= 0:
        return 0.0
    one, two = ((x[2] - x[0] + pixel) * (x[3] - x[1] + pixel) for x in (a, b))
    return float(w * h / (one + two - w * h))


# ---- VOC


@needs_cartucho
def test_the_figure_that_another_tool_prints() -> None:
    found, truth, names = cartucho()
    result = voc.evaluate(found, truth, len(names), pixel=1)
    assert f"{100 * result.map10:.2f}" == "31.05"
    assert f"{100 * voc.evaluate(found, truth, len(names)).map10:.2f}" != "31.05"


@pytest.mark.parametrize(
    ("pictures", "classes", "most", "overlap"),
    [(40, 12, 8, 0.5), (40, 12, 8, 0.7), (500, 200, 20, 0.5)],
)
def test_voc_equals_an_independent_library(
    pictures: int, classes: int, most: int, overlap: float
) -> None:
    """mean-average-precision, which differs in two points that do not come up here.

    It counts difficult truths as positive, and wants more than the overlap, not at least.
    """
    found, truth = random_tables(1, pictures, classes, most, ties=False)
    truth.difficult[:], truth.crowd[:] = False, False
    metric = MetricBuilder.build_evaluation_metric("map_2d", num_classes=classes)
    for number in range(pictures):
        mine, theirs = found[found.picture == number], truth[truth.picture == number]
        nothing = np.zeros((len(theirs), 2))
        metric.add(
            np.column_stack((mine.xyxy, mine.class_id, mine.score)),
            np.hstack((theirs.xyxy, theirs.class_id[:, None], nothing)),
        )
    ours = voc.evaluate(found, truth, classes, overlap, pixel=1)
    for recalls, got in ((np.arange(0, 1.1, 0.1), ours.ap07), (None, ours.ap10)):
        theirs = metric.value(iou_thresholds=overlap, recall_thresholds=recalls)[overlap]
        want = [theirs[c]["ap"] for c in range(classes)]
        assert np.nan_to_num(got) == pytest.approx(want, abs=1e-6)
        assert np.nanmax(got) > 0.1


def test_voc_wants_at_least_the_overlap_and_darknet_more() -> None:
    truth = marked([(0, 0, [0, 0, 10, 10])])
    found = Found(np.zeros(1), np.zeros(1), np.array([0.9]), np.array([[0, 0, 10, 5]]))
    assert voc.evaluate(found, truth, 1, 0.5).map10 == 1
    assert darknet.judge(found, truth, 1, 0.5).counts().tp == 0


def test_the_mean_is_over_what_there_is() -> None:
    truth = marked([(0, 1, [0, 0, 10, 10])])
    found = Found(np.zeros(1), np.ones(1), np.array([0.9]), np.array([[0, 0, 10, 10]]))
    assert voc.evaluate(found, truth, 4).map07 == 1
    assert darknet.judge(found, truth, 4).average_precisions().mean() == 0.25


# ---- COCO


@pytest.mark.parametrize(("pictures", "classes", "most"), [(60, 20, 8), (500, 200, 20)])
def test_coco_equals_pycocotools(pictures: int, classes: int, most: int) -> None:
    found, truth = random_tables(pictures, pictures, classes, most)
    compare_with_pycocotools(found, truth, pictures, classes)


def compare_with_pycocotools(found: Found, truth: Marked, pictures: int, classes: int) -> None:
    got = coco.evaluate(found, truth, classes, [(SIDE, SIDE)] * pictures)
    want = pycocotools(found, truth, pictures, classes)
    figures = [got.figures[name] for name in coco.FIGURES]
    assert figures == pytest.approx(want.stats.tolist(), abs=1e-9)
    assert 0.05 < figures[0] < 0.95
    precision = want.eval["precision"][:, :, :, 0, -1]
    for number in range(classes):
        known = precision[:, :, number][precision[:, :, number] > -1]
        ap = known.mean() if known.size else np.nan
        assert got.ap[number] == pytest.approx(ap, abs=1e-9, nan_ok=True)


def pycocotools(found: Found, truth: Marked, pictures: int, classes: int) -> COCOeval:
    api = COCO()
    rows = []
    for i in range(len(truth)):
        left, top, right, bottom = truth.xyxy[i].tolist()
        rows.append(
            {
                "id": i + 1,
                "image_id": int(truth.picture[i]) + 1,
                "category_id": int(truth.class_id[i]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": float(truth.area[i]),
                "iscrowd": int(truth.crowd[i]),
            }
        )
    images = [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(pictures)]
    categories = [{"id": i + 1, "name": str(i)} for i in range(classes)]
    api.dataset = {"images": images, "categories": categories, "annotations": rows, "info": {}}
    api.createIndex()
    results = []
    for i in range(len(found)):
        left, top, right, bottom = found.xyxy[i].tolist()
        row = {"image_id": int(found.picture[i]) + 1, "category_id": int(found.class_id[i]) + 1}
        box = [left, top, right - left, bottom - top]
        results.append({**row, "bbox": box, "score": float(found.score[i])})
    run = COCOeval(api, api.loadRes(results), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run


def test_coco_of_nothing() -> None:
    found, truth = random_tables(3, 5, 3)
    nothing = coco.evaluate(found[:0], truth, 3, [(SIDE, SIDE)] * 5)
    assert nothing.figures["AP"] == 0
    unmarked = coco.evaluate(found, truth[:0], 3, [(SIDE, SIDE)] * 5)
    assert unmarked.figures["AP"] == -1
    assert np.isnan(unmarked.ap).all()


# ---- what all stand on


def test_nearest_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    found, truth = random_tables(5, 20, 4)
    once = nearest(found, truth, 1.0)
    monkeypatch.setattr("darknet_torch.metrics.matching.PAIRS_AT_ONCE", 7)
    blocks = nearest(found, truth, 1.0)
    assert PAIRS_AT_ONCE > 7
    for i in range(len(found)):
        best, mine = 0.0, -1
        for t in range(len(truth)):
            same = (truth.picture[t], truth.class_id[t]) == (found.picture[i], found.class_id[i])
            value = naive_iou(found.xyxy[i], truth.xyxy[t], 1.0)
            if same and value > best:
                best, mine = value, t
        for pairs in (once, blocks):
            assert pairs.truth[i] == mine
            assert pairs.iou[i] == pytest.approx(best, abs=1e-12)


def test_iou_without_area_is_zero() -> None:
    flat = np.array([[3.0, 3.0, 3.0, 9.0]])
    assert iou(flat, flat).tolist() == [0.0]
    assert iou(flat, flat, 1.0).tolist() == [1.0]


def test_confusion_by_hand() -> None:
    """Class 0 found, class 1 taken for 2, class 2 missed, a detection of nothing, a faint one."""
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    truth = marked([(0, 0, boxes[0]), (0, 1, boxes[1]), (0, 2, boxes[2])])
    found = Found(
        np.zeros(5),
        np.array([0, 2, 1, 2, 0]),
        np.array([0.9, 0.8, 0.7, 0.1, 0.6]),
        np.array([boxes[0], boxes[1], boxes[3], boxes[2], boxes[0]]),
    )
    want = np.zeros((4, 4), int)
    want[0, 0], want[2, 1], want[3, 2], want[1, 3], want[0, 3] = 1, 1, 1, 1, 1
    assert confusion.matrix(found, truth, 3).tolist() == want.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_confusion_pairs_the_largest_overlap_first(seed: int) -> None:
    found, truth = random_tables(seed, 15, 4)
    got = confusion.matrix(found, truth, 4, threshold=0.3)
    assert got.tolist() == naive_confusion(found, truth, 4, 0.3).tolist()
    assert np.trace(got[:4, :4]) > 10


def naive_confusion(found: Found, truth: Marked, classes: int, threshold: float) -> np.ndarray:
    sure = [i for i in range(len(found)) if found.score[i] > threshold]
    pairs = [
        (naive_iou(found.xyxy[i], truth.xyxy[t]), i, t)
        for i in sure
        for t in range(len(truth))
        if found.picture[i] == truth.picture[t]
    ]
    pairs = [each for each in pairs if each[0] > 0.5]
    pairs.sort(key=lambda each: -each[0])
    mine: dict[int, int] = {}
    for _, i, t in pairs:
        if i not in mine and t not in mine.values():
            mine[i] = t
    out = truth.difficult | truth.crowd
    total = np.zeros((classes + 1, classes + 1), int)
    for i in sure:
        if i not in mine:
            total[found.class_id[i], classes] += 1
        elif not out[mine[i]]:
            total[found.class_id[i], truth.class_id[mine[i]]] += 1
    for t in set(range(len(truth))) - set(mine.values()):
        total[classes, truth.class_id[t]] += not out[t]
    return total


def test_average_precision_by_hand() -> None:
    one = curve(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 4)
    assert one.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert one.recall.tolist() == [0.25, 0.25, 0.5]
    assert average_precision(one.precision, one.recall) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert average_precision(one.precision, one.recall, 11) == pytest.approx((3 + 3 * 2 / 3) / 11)
    assert one.f1[0] == pytest.approx(0.4)


def test_wrong_numbers_are_refused() -> None:
    truth = marked([(0, 3, [0, 0, 1, 1])])
    found = Found(np.zeros(1), np.zeros(1), np.ones(1), np.ones((1, 4)))
    with pytest.raises(UsageError, match="class_id: 3, but there are 3 classes"):
        darknet.judge(found, truth, 3)
    with pytest.raises(UsageError, match=r"score: shape \(1,\) wanted, not \(2,\)"):
        Found(np.zeros(1), np.zeros(1), np.ones(2), np.ones((1, 4)))
    with pytest.raises(UsageError, match="not a number"):
        Found(np.zeros(1), np.zeros(1), np.array([np.nan]), np.ones((1, 4)))
    with pytest.raises(UsageError, match="picture: -1 is below 0"):
        Found(-np.ones(1), np.zeros(1), np.ones(1), np.ones((1, 4)))
    with pytest.raises(UsageError, match="points=7: must be 0"):
        check_points(7)


def marked(rows: list[tuple[int, int, list[float]]]) -> Marked:
    picture, class_id, xyxy = (np.array(each) for each in zip(*rows, strict=True))
    zeros = np.zeros(len(rows))
    return Marked(picture, class_id, xyxy, zeros, zeros, zeros)
