"""VOC's figures, against another tool's printed figure and an independent library."""

import numpy as np
import pytest
from mean_average_precision import MetricBuilder
from random_boxes import CARTUCHO, cartucho, ground_truth_table, random_tables

from darknet_torch.metrics import darknet, voc
from darknet_torch.metrics.tables import DetectionTable

needs_cartucho = pytest.mark.skipif(not CARTUCHO.is_dir(), reason=f"{CARTUCHO} is not here")


@needs_cartucho
def test_the_figure_that_cartuchos_tool_prints() -> None:
    detections, ground_truth, names = cartucho()
    result = voc.evaluate(detections, ground_truth, len(names), pixel=1)
    assert f"{100 * result.map10:.2f}" == "31.05"
    assert f"{100 * voc.evaluate(detections, ground_truth, len(names)).map10:.2f}" != "31.05"


@pytest.mark.parametrize(
    ("images", "classes", "most", "overlap"),
    [(40, 12, 8, 0.5), (40, 12, 8, 0.7), (500, 200, 20, 0.5)],
)
def test_voc_equals_an_independent_library(
    images: int, classes: int, most: int, overlap: float
) -> None:
    """mean-average-precision, which differs in two points that do not come up here.

    It counts difficult ground truths as positive, and needs more than the IoU, not at least.
    """
    detections, ground_truth = random_tables(1, images, classes, most, ties=False)
    ground_truth.difficult[:], ground_truth.crowd[:] = False, False
    metric = MetricBuilder.build_evaluation_metric("map_2d", num_classes=classes)
    for number in range(images):
        mine, theirs = (
            detections[detections.image == number],
            ground_truth[ground_truth.image == number],
        )
        nothing = np.zeros((len(theirs), 2))
        metric.add(
            np.column_stack((mine.xyxy, mine.class_id, mine.score)),
            np.hstack((theirs.xyxy, theirs.class_id[:, None], nothing)),
        )
    ours = voc.evaluate(detections, ground_truth, classes, overlap, pixel=1)
    for recalls, got in ((np.arange(0, 1.1, 0.1), ours.ap07), (None, ours.ap10)):
        theirs = metric.value(iou_thresholds=overlap, recall_thresholds=recalls)[overlap]
        want = [theirs[c]["ap"] for c in range(classes)]
        assert np.nan_to_num(got) == pytest.approx(want, abs=1e-6)
        assert np.nanmax(got) > 0.1


def test_voc_needs_at_least_the_iou_and_darknet_more() -> None:
    ground_truth = ground_truth_table([(0, 0, [0, 0, 10, 10])])
    detections = DetectionTable(
        np.zeros(1), np.zeros(1), np.array([0.9]), np.array([[0, 0, 10, 5]])
    )
    assert voc.evaluate(detections, ground_truth, 1, 0.5).map10 == 1
    assert darknet.match(detections, ground_truth, 1, 0.5).counts().tp == 0


def test_vocs_mean_is_over_classes_with_ground_truths_and_darknets_over_all() -> None:
    ground_truth = ground_truth_table([(0, 1, [0, 0, 10, 10])])
    detections = DetectionTable(
        np.zeros(1), np.ones(1), np.array([0.9]), np.array([[0, 0, 10, 10]])
    )
    assert voc.evaluate(detections, ground_truth, 4).map07 == 1
    assert darknet.match(detections, ground_truth, 4).average_precisions().mean() == 0.25
