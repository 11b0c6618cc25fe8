"""Figures as text, letter by letter: users read them, and their scripts do."""

import pytest

from darknet_torch.evaluation import report

ROW = {"truths": 2, "ap": 0.5, "tp": 1, "fp": 3, "fn": 1, "precision": 0.25, "recall": 0.5}
COUNTS = {"tp": 1, "fp": 3, "fn": 1, "precision": 0.25, "recall": 0.5, "f1": 1 / 3}
FIGURES = {
    "pictures": 7,
    "truths": 2,
    "classes": [
        {"class": "ant", **ROW},
        {"class": "bee", **ROW, "truths": 0, "tp": 0, "fp": 0},
    ],
    "darknet": {
        "mAP": 0.25,
        "points": 11,
        "iou": 0.5,
        "means": {".5": {0: 0.2, 11: 0.25, 101: 0.3}},
        "confidence": 0.25,
        **COUNTS,
        "average_iou": 0.7,
    },
    "voc": {"VOC07": 0.5, "VOC10": 0.6},
    "coco": None,
}
TEXT = """\
class  truths  AP       TP     FP     FN  precision  recall
ant         2   50.00      1      3      1       0.25    0.50

7 pictures, 2 truths, 2 classes
above 0.25: 1 right, 3 wrong, 1 missed; precision 0.25, recall 0.50, F1 0.33, average IoU 70.00 %
Darknet  mAP@0.5 (11 points) 25.00 %
         mAP@.5: area 20.00, 11 points 25.00, 101 points 30.00 %
VOC      2007 50.00, 2010 60.00 %"""


def test_a_detectors_figures_as_text() -> None:
    assert report.detection_text(FIGURES) == TEXT
    coco = dict.fromkeys("abcdefghijkl", 0.1)
    lines = report.detection_text({**FIGURES, "coco": coco}).splitlines()
    assert lines[-2].startswith("COCO     a 10.00, b 10.00,")
    assert lines[-1] == "COCO     " + ", ".join(f"{name} 10.00" for name in "ghijkl") + " %"


def test_area_is_the_rule_of_0_points() -> None:
    darknet = {**FIGURES["darknet"], "points": 0}  # type: ignore[dict-item]
    assert "mAP@0.5 (area) 25.00 %" in report.detection_text({**FIGURES, "darknet": darknet})


def test_a_classifiers_accuracy_as_text() -> None:
    assert report.classification_text(50, {1: 1.0, 5: 0.5}) == (
        "50 pictures: top 1 100.00, top 5 50.00 %"
    )


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], "\n"),
        (
            [{"class": "a, b", "top1": None}, {"class": "c", "top1": 0.5}],
            'class,top1\n"a, b",\nc,0.5\n',
        ),
    ],
)
def test_csv(rows: list, text: str) -> None:
    assert report.to_csv(rows) == text


def test_a_figure_that_there_is_not_is_a_dash() -> None:
    nothing = {"precision": None, "recall": None, "f1": None, "average_iou": None, "tp": 0}
    row = {**FIGURES["classes"][0], "precision": None, "recall": None}  # type: ignore[index]
    darknet = {**FIGURES["darknet"], **nothing}  # type: ignore[dict-item]
    figures = {**FIGURES, "classes": [row], "darknet": darknet, "voc": {"VOC07": None, "VOC10": 0}}
    coco = {**dict.fromkeys("abcdefghijk", 0.1), "l": None}
    lines = report.detection_text({**figures, "coco": coco}).splitlines()
    assert lines[1] == "ant         2   50.00      1      3      1          -       -"
    assert "precision -, recall -, F1 -, average IoU - %" in lines[4]
    assert "VOC      2007 -, 2010 0.00 %" in lines
    assert lines[-2].endswith("k 10.00, l - %")
    assert lines[-1] == "-: there is nothing to measure it on"
