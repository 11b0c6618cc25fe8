"""A result as files."""

from dataclasses import replace
from pathlib import Path

import pytest

import darknet_torch as dt
from darknet_torch.evaluation.result_files import coco_results


def test_results_in_cocos_numbers(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml")
    numbered = replace(result, dataset=replace(result.dataset, category_ids=(7, 3)))
    rows = coco_results(numbered)
    assert {row["category_id"] for row in rows} == {7, 3}
    left, top, width, height = rows[0]["bbox"]
    corners = [left, top, left + width, top + height]
    assert corners == pytest.approx(result.detections.xyxy[0].tolist(), abs=1e-3)
    assert rows[-1]["image_id"] == 7
    assert {row["category_id"] for row in coco_results(result)} == {0, 1}
