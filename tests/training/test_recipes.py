"""Recipes: each one trains, on thin networks and drawn images; files that are no recipe."""

import csv
import math
import re
from pathlib import Path

import pytest
import shapes
import torch

import darknet_torch as dt
from darknet_torch import zoo
from darknet_torch.cli import main
from darknet_torch.errors import DataError, UsageError
from darknet_torch.training.recipes import list_recipes, load_recipe

NAMES = (*shapes.COLORS, *(f"class {n}" for n in range(3, 1000)))
CFGS = Path(__file__).parents[2] / "cfg"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shapes.draw_detection_set(tmp_path / "squares", 14)
    shapes.draw_class_folders(tmp_path / "colors", 4)
    return tmp_path


def thin(name: str) -> str:
    """Write a cfg with the layers of the package's and a sixteenth of the filters."""
    text = (CFGS / f"{name}.cfg").read_text()
    path = Path(f"{name}.cfg")
    path.write_text(
        re.sub(
            r"filters=(\d+)",
            lambda m: f"filters={int(m[1]) // 16 if int(m[1]) % 32 == 0 else m[1]}",
            text,
        )
    )
    return str(path)


def dry_run(name: str) -> Path:
    """Train as a recipe says, two batches of two images; return the folder."""
    recipe = load_recipe(name)
    text = (CFGS / "recipes" / f"{name}.yaml").read_text()
    text = text.replace(f"cfg: {recipe.cfg}", f"cfg: {thin(recipe.cfg)}")
    if recipe.weights is not None:
        torch.manual_seed(1)
        backbone = dt.build(thin(recipe.weights))
        dt.save(backbone, f"{recipe.weights}.weights")
        text = text.replace(f"weights: {recipe.weights}", f"weights: {recipe.weights}.weights")
    Path(f"{name}.yaml").write_text(text)
    if recipe.data:
        data = "squares/shapes.yaml"
    else:  # a classifier of ImageNet's 1000 classes
        Path("1000.names").write_text("".join(f"{name}\n" for name in NAMES))
        data = "colors/colors.yaml --classes 1000.names"
    words = f"train --recipe {name}.yaml {data} --width 64 --height 64 --batch 2 --subdivisions 1"
    words += " --max-batches 2 --workers 0 --dtype float32 --learning-rate 1e-12 --burn-in 0"
    assert main([*words.split(), "--set", "min_crop=64", "--set", "max_crop=70"]) == 0
    run = Path("training") / name
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    return run


def kernel(
    cfg: Path | str, weights: Path | str, layer: int, cutoff: int | None = None
) -> torch.Tensor:
    network = dt.load(cfg, weights, cutoff=cutoff)
    assert isinstance(network, dt.Network)
    return next(network.layers[layer].parameters())


@pytest.mark.parametrize("name", ["yolov3", "yolov4", "yolov4-tiny", "yolov2-coco"])
def test_each_recipe_trains(folder: Path, name: str) -> None:
    run, recipe = dry_run(name), load_recipe(name)
    assert recipe.cutoff is not None
    last = recipe.cutoff - 1
    plan = dt.plan(f"{recipe.cfg}.cfg")
    while not plan[last].tensors:
        last -= 1
    start = kernel(f"{recipe.weights}.cfg", f"{recipe.weights}.weights", last)
    trained = kernel(run / f"{recipe.cfg}.cfg", run / f"{recipe.cfg}_last.weights", last)
    assert torch.allclose(start, trained, atol=1e-6)


def test_each_stage_starts_from_the_one_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = dry_run("darknet19-224"), dry_run("darknet19-448")
    assert f"starts from {first}/darknet19_best.weights" in capsys.readouterr().err
    third = dry_run("yolov2-voc")
    assert f"starts from {second}/darknet19_448_best.weights" in capsys.readouterr().err
    kernels = [
        kernel(first / "darknet19.cfg", first / "darknet19_best.weights", 22),
        kernel(second / "darknet19_448.cfg", second / "darknet19_448_best.weights", 22),
        kernel(third / "yolov2-voc.cfg", third / "yolov2-voc_last.weights", 22),
    ]
    assert torch.allclose(kernels[0], kernels[1], atol=1e-6)
    assert torch.allclose(kernels[1], kernels[2], atol=1e-6)


def test_recipes_name_what_there_is() -> None:
    assert len(list_recipes()) == 7
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.cfg in dt.list_cfgs()
        assert recipe.weights is None or recipe.weights in zoo.list_models()
        assert recipe.after is None or recipe.after in list_recipes()
        text = (CFGS / "recipes" / f"{name}.yaml").read_text()
        assert "# Published: " in text
        assert "# Time" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cfg: a\nwigths: b", "wigths: no key of a recipe; did you mean weights?"),
        ("data: coco", "cfg is missing, the name or the path of the network"),
        ("cfg: [a]", "must be a text"),
        ("cfg: a\ncutoff: 0", "cutoff: 0: must be a whole number of at least 1"),
        ("cfg: a\ncutoff: true", "must be a whole number"),
        ("cfg: a\nclear: 1", "clear: 1: must be true or false"),
        ("cfg: a\noptions: {batch: [1]}", "must be options of the cfg, each with a text or"),
        ("cfg: &a x\ndata: *a", "an alias"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"recipe yolo3: no such recipe.*; did you mean yolov3\?"):
        load_recipe("yolo3")
    assert main(["train", "--recipe", "darknet19-224"]) == 2
    assert "recipe darknet19-224: names no data; DATA comes behind it" in capsys.readouterr().err
