"""Damaged data sets; tools/fuzz.py --subject data makes as many as one likes."""

import random
from pathlib import Path

import fuzz_data as fuzz
import pytest

from darknet_torch.data import read
from darknet_torch.errors import DataError


def test_only_errors_and_reports_come_out(tmp_path: Path) -> None:
    stages = []
    for number in range(600):
        rng = random.Random(f"1 {number}")
        case = fuzz.make(rng)
        stages.append(fuzz.run(case, rng, tmp_path))
    # else nothing was tried
    for stage, least in {"error": 100, "problems": 100, "clean": 40, "converted": 5}.items():
        assert stages.count(stage) >= least


@pytest.mark.parametrize("kind", ["class", "area", "message"])
def test_broken_promises_are_seen(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz.lay_out(tmp_path)
    dataset = fuzz.read(tmp_path / "my.data")
    fuzz.examine(dataset)
    ground_truth = dataset.samples[0].ground_truth
    if kind == "class":
        ground_truth.class_id[0] = 2
    elif kind == "area":
        ground_truth.xyxy[0, 2] = ground_truth.xyxy[0, 0]
    else:
        problem = type(dataset.problems[0])("zero area", "a", "two\nlines")
        dataset = type(dataset)(dataset.names, dataset.samples, (problem,))
    with pytest.raises(AssertionError):
        fuzz.examine(dataset)


def test_an_undamaged_data_set_is_clean(tmp_path: Path) -> None:
    fuzz.lay_out(tmp_path)
    for source in fuzz.SOURCES:
        dataset = fuzz.read(tmp_path / source)
        assert len(dataset) >= 2
        assert not dataset.faults


def test_all_damages_change_something() -> None:
    for damage in fuzz.DAMAGES:
        made = {damage(fuzz.XML.encode(), random.Random(number)) for number in range(40)}
        assert len(made) > 10


def test_a_number_of_5000_digits(tmp_path: Path) -> None:
    """Python refuses to read it as an integer."""
    path = tmp_path / "my.yaml"
    path.write_text(f"path: .\nval: a.jpg\nnc: {'9' * 5000}\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 300
