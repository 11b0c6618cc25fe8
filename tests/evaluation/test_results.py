"""The figures of a result: in all forms the same."""

import json
from pathlib import Path

import darknet_torch as dt


def test_figures_in_all_forms_agree(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml", points=11, confidence=0.3)
    figures = json.loads(result.to_json())
    assert figures["darknet"]["mAP"] == result.mean_average_precision == result.score
    assert figures["darknet"]["means"][".5"]["11"] == result.mean_average_precision
    assert figures["coco"]["AP50"] == result.coco.figures["AP50"]
    assert figures["voc"]["VOC10"] == result.voc.map10
    assert [row["class"] for row in figures["classes"]] == ["ant", "bee"]
    assert sum(row["tp"] for row in figures["classes"]) == figures["darknet"]["tp"]
    header, *lines = result.to_csv().splitlines()
    assert header.startswith("class,truths,ap,voc07")
    assert lines[0].split(",")[2] == str(figures["classes"][0]["ap"])
    assert f"mAP@0.5 (11 points) {100 * result.mean_average_precision:.2f} %" in str(result)
    errors = result.errors()
    assert errors.sum() == figures["darknet"]["fp"] + figures["darknet"]["fn"]
    assert len(errors) == 7
