"""`evaluate`: Darknet's figures on real networks, and everything around the counting."""

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from datasets import DETECTOR_CFG
from keys import SHARED
from PIL import Image

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.evaluation import ClassificationResult, DetectionResult
from darknet_torch.inference.detector import Detector
from darknet_torch.network import as_network

MODELS = SHARED / "models"
COCO128 = SHARED / "datasets" / "coco128"
DIGITS = MODELS / "lenet-mnist"
needs_coco128 = pytest.mark.skipif(not COCO128.is_dir(), reason=f"{COCO128} is not here")
needs_digits = pytest.mark.skipif(not DIGITS.is_dir(), reason=f"{DIGITS} is not here")


# ---- real networks


@needs_coco128
@pytest.mark.parametrize(
    ("model", "darknet"),
    [("yolo-fastest-1.1", 33.03), ("yolo-fastest-1.0", 29.59), ("mobilenetv2-nano-coco", 34.37)],
)
def test_darknets_figure_on_coco128(model: str, darknet: float) -> None:
    """Darknet's own tool prints these; JPEG decoders differ by a grey level."""
    result = ours(model)
    assert len(result.dataset) == 128
    assert len(result.ground_truth) == 898
    assert 100 * result.mean_average_precision == pytest.approx(darknet, abs=0.3)
    assert result.means[".5"][101] == result.mean_average_precision


@needs_coco128
@pytest.mark.parametrize("engine", ["onnxruntime"])
@pytest.mark.parametrize("model", ["yolo-fastest-1.1", "yolo-fastest-1.0", "mobilenetv2-nano-coco"])
def test_a_converted_file_has_the_same_figure(model: str, engine: str, tmp_path: Path) -> None:
    dt.export(real(model), tmp_path / "net.onnx")
    theirs = coco128(dt.load(tmp_path / "net.onnx", engine=engine)).mean_average_precision
    assert 100 * theirs == pytest.approx(100 * ours(model).mean_average_precision, abs=0.05)


def real(model: str) -> dt.Network:
    (cfg,), (weights,) = (list((MODELS / model).glob(f"*.{end}")) for end in ("cfg", "weights"))
    return dt.load(cfg, weights, names=COCO128 / "coco.names")


@cache
def ours(model: str) -> DetectionResult:
    return coco128(real(model))


def coco128(network: dt.Network) -> DetectionResult:
    result = dt.evaluate(
        network,
        COCO128 / "images" / "val2017",
        names=COCO128 / "coco.names",
        points=101,
        batch_size=8,
    )
    assert isinstance(result, DetectionResult)
    return result


@needs_digits
def test_a_classifier_reads_digits() -> None:
    """The pictures' names end in `_cN`, so that Darknet's rule finds the class in the path."""
    network = dt.load(DIGITS / "mnist_lenet.cfg", DIGITS / "mnist_lenet.weights")
    names = [f"_c{n}" for n in range(10)]
    result = dt.evaluate(network, DIGITS / "images", names=names, format="paths", tops=(1, 3))
    assert isinstance(result, ClassificationResult)
    assert result.accuracy.top[1] == 1.0
    assert result.accuracy.images == 50
    assert result.to_dict()["top3"] == 1.0
    wrong = replace(
        result.dataset,
        samples=tuple(replace(s, label=(s.label + 1) % 10) for s in result.dataset.samples),
    )
    assert dt.evaluate(network, wrong).accuracy.top[1] == 0.0


# ---- the detections are those of `detect`


def test_the_detections_are_those_of_detect(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml", batch_size=3)
    for number, sample in enumerate(result.dataset.samples):
        want = dt.detect(network, sample.path, threshold=0.005)
        mine = result.detections[result.detections.image == number]
        assert mine.class_id.tolist() == want.class_id.tolist()
        assert mine.score == pytest.approx(want.score.numpy(), abs=1e-6)
        assert mine.xyxy == pytest.approx(want.xyxy.numpy(), abs=1e-3)
    counts = result.darknet.counts(0.2)
    assert 0 < counts.tp < len(result.ground_truth)
    assert 0 < result.mean_average_precision < 1


# ---- classes


def test_classes_in_another_order_are_matched_by_name(folder: Path, network: dt.Network) -> None:
    plain = dt.evaluate(network, "data.yaml")
    swapped = replace(
        plain.dataset,
        names=("bee", "ant"),
        samples=tuple(
            replace(
                s,
                ground_truth=GroundTruth(
                    xyxy=s.ground_truth.xyxy, class_id=1 - s.ground_truth.class_id
                ),
            )
            for s in plain.dataset.samples
        ),
    )
    assert dt.evaluate(network, swapped).mean_average_precision == plain.mean_average_precision
    bees = replace(
        plain.dataset,
        names=("bee",),
        samples=tuple(
            replace(
                s,
                ground_truth=replace(
                    s.ground_truth[s.ground_truth.class_id == 1], class_id=[0] * n
                ),
            )
            for s in plain.dataset.samples
            for n in [int((s.ground_truth.class_id == 1).sum())]
        ),
    )
    only = dt.evaluate(network, bees)
    assert only.mean_average_precision == plain.darknet.average_precisions()[1]


def renamed(dataset: Dataset, names: tuple[str, ...], ids: dict[int, int]) -> Dataset:
    """The data set with other names, and other class indices of its objects."""

    def sample(each: Sample) -> Sample:
        truth = each.ground_truth
        numbers = [ids[number] for number in truth.class_id.tolist()]
        return replace(each, ground_truth=replace(truth, class_id=numbers))

    return replace(dataset, names=names, samples=tuple(map(sample, dataset.samples)))


def test_classes_that_the_network_lacks(folder: Path, network: dt.Network) -> None:
    """Without boxes they are left out; with boxes `classes="shared"` leaves them out."""
    plain = dt.evaluate(network, "data.yaml")
    empty = renamed(plain.dataset, ("wasp", "bee", "ant"), {0: 2, 1: 1})
    with pytest.warns(DarknetWarning, match="1 of 3 classes have no box, .*; left out: wasp"):
        result = dt.evaluate(network, empty)
    assert result.names == ("bee", "ant")
    assert result.mean_average_precision == plain.mean_average_precision
    data = renamed(plain.dataset, ("wasp", "bee", "fly"), {0: 0, 1: 1})
    message = "3 classes, the network has 2, and none is called 'wasp'; --classes shared .*\\(1\\)"
    with pytest.raises(UsageError, match=message):
        dt.evaluate(network, data)
    for word in ("shared", ["shared"]):
        shared = dt.evaluate(network, data, classes=word)
        assert shared.names == ("bee",)
        assert shared.mean_average_precision == plain.darknet.average_precisions()[1]
        assert len(shared.ground_truth) == (plain.ground_truth.class_id == 1).sum()
    with pytest.raises(UsageError, match=r"none of its 2 classes .* is among the 2 of the network"):
        dt.evaluate(network, replace(plain.dataset, names=("x", "y")), classes="shared")


def test_shared_classes_in_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("more.yaml").write_text("val: photos\nnames: [ant, bee, wasp]\n")
    for path in Path("photos").glob("*.txt"):
        path.write_text(path.read_text() + "2 .5 .5 .3 .3\n")
    assert main("evaluate net.cfg net.weights more.yaml".split()) == 2
    assert "--classes shared measures those of both (2)" in capsys.readouterr().err
    assert main("evaluate net.cfg net.weights more.yaml --classes shared".split()) == 0
    out, said = capsys.readouterr()
    assert " 2 classes" in out and "wasp" not in out
    assert "a guess: the labels are Darknet's text files; --format, --data-names say" in said


def test_fewer_and_more_names_than_classes(folder: Path) -> None:
    """Classes without a name have their number, and names without a class are none."""
    plain = dt.evaluate(dt.load("net.cfg", "net.weights"), "data.yaml").mean_average_precision
    for names, data_names in ((("ant",), "[ant, '1']"), (("ant", "bee", "fly"), "[ant, bee]")):
        network = dt.load("net.cfg", "net.weights")
        network.names = names
        Path("data.yaml").write_text(f"val: photos\nnames: {data_names}\n")
        assert dt.evaluate(network, "data.yaml").mean_average_precision == plain
        assert dt.evaluate(network, "data.yaml", classes="shared").mean_average_precision == plain


def test_labels_beyond_a_networks_numbers(folder: Path) -> None:
    network = dt.load("net.cfg", "net.weights")
    network.names = ()
    Path("photos/0.txt").write_text("4 .5 .5 .3 .3\n")
    with pytest.raises(UsageError, match="5 classes, the network has 2, unnamed; --classes"):
        dt.evaluate(network, "photos")
    assert dt.evaluate(network, "photos", classes="shared").names == ("0", "1")


def test_other_names_of_as_many_classes_give_a_warning(folder: Path, network: dt.Network) -> None:
    dataset = replace(data.read("data.yaml"), names=("ant", "wasp"))
    with pytest.warns(DarknetWarning, match="class 1 is 'bee' in the network, 'wasp' in"):
        result = dt.evaluate(network, dataset)
    assert result.mean_average_precision == dt.evaluate(network, "data.yaml").mean_average_precision


def test_classes_known_by_number_only_are_the_networks(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "photos")
    assert result.names == ("ant", "bee")
    named = dt.evaluate(network, "data.yaml")
    assert result.mean_average_precision == named.mean_average_precision


COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


def colours_of(folder: Path, names: str) -> Path:
    """A folder for each class, with images of a colour that a mean over all pixels tells."""
    for name in names.split():
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), COLOURS[name]).save(folder / name / "1.png")
    return folder


@pytest.mark.parametrize("names", ["red green blue", "blue red", "green"])
def test_class_folders_are_matched_by_name(names: str, tmp_path: Path) -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n")
    network.names = tuple(COLOURS)  # those of the folders are sorted
    source = colours_of(tmp_path / "colours", names)
    result = dt.evaluate(network, source, format="folders")
    assert result.score == 1.0
    assert result.dataset.names == tuple(sorted(names.split()))
    network.names = ("red", "green", "yellow")
    if names == "red green blue":
        with pytest.warns(DarknetWarning, match="class 0 is 'red' in the network, 'blue' in .*de$"):
            dt.evaluate(network, source, format="folders")
    if "blue" in names and names != "red green blue":
        with pytest.raises(UsageError, match=r"2 classes, the network has 3, and none is .*'blue'"):
            dt.evaluate(network, source, format="folders")


def test_a_detector_needs_boxes(tmp_path: Path) -> None:
    region = "[convolutional]\nfilters=16\n[region]\nclasses=3\nnum=2\nanchors=1,1,2,2\n"
    network = dt.build(f"[net]\nwidth=32\nheight=32\nchannels=3\n{region}")
    with pytest.raises(DataError, match="a class each and no boxes"):
        dt.evaluate(network, colours_of(tmp_path / "colours", "red green blue"))


def test_class_folders_of_a_classifier_without_names(tmp_path: Path) -> None:
    """Of another number of classes the names must be the network's numbers."""
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n")
    source = colours_of(tmp_path / "colours", "blue red")
    with pytest.raises(UsageError, match="2 classes, the network has 3, unnamed; names="):
        dt.evaluate(network, source, format="folders")
    for name, number in (("red", "0"), ("blue", "2")):
        (source / name).rename(source / number)
    assert dt.evaluate(network, source, format="folders").score == 1.0
    colours_of(source, "green")
    assert dt.evaluate(network, source, format="folders").score < 1.0  # 0, 2, green: by number


def test_a_word_trees_classes_can_be_mapped(folder: Path) -> None:
    """YOLO9000's way to be measured: other classes, each scored by one node of the tree."""
    (folder / "t.tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    (folder / "m.map").write_text("3\n1\n2\n")
    text = DETECTOR_CFG.replace("filters=14", "filters=9").replace("[yolo]", "[region]")
    text = text.replace("mask=0,1\n", "softmax=1\ntree=t.tree\n").replace("classes=2", "classes=4")
    (folder / "tree.cfg").write_text(text.replace("num=2", "num=1"))
    torch.manual_seed(5)
    network = dt.build(folder / "tree.cfg", dialect="pjreddie")
    samples = data.read("data.yaml").samples
    dataset = Dataset(("x", "y", "z"), samples, source="data")
    result = dt.evaluate(network, dataset, use_map="m.map", threshold=0.01, nms=0)
    raw = network(Detector(network).prepare(samples[0].path).pixels[None])[0][0].detach()
    objectness, scores = torch.sigmoid(raw[4]), raw[5:]
    first, second = scores[:2].softmax(0), scores[2:].softmax(0)
    absolute = torch.stack((first[0], first[1], first[0] * second[0], first[0] * second[1]))
    for number, node in enumerate((3, 1, 2)):
        want = (objectness * absolute[node]).flatten().sort(descending=True).values
        here = (result.detections.image == 0) & (result.detections.class_id == number)
        assert result.detections.score[here] == pytest.approx(want[want > 0.01].numpy(), abs=1e-5)
        assert here.any()
    with pytest.raises(UsageError, match="no word tree"):
        dt.evaluate(dt.build("net.cfg"), dataset, use_map="m.map")


# ---- data with problems


def test_an_unreadable_picture_is_a_problem_and_not_the_end(
    folder: Path, network: dt.Network
) -> None:
    broken = folder / "photos" / "3.png"
    broken.write_bytes(broken.read_bytes()[:-900])
    result = dt.evaluate(network, "data.yaml", batch_size=2)
    assert [p.kind for p in result.dataset.problems if "3.png" in p.where] == ["unreadable picture"]
    assert len(result.dataset) == 6
    assert len(result.detections) and result.detections.image.max() == 5
    with pytest.raises(DataError, match=r"3\.png"):
        dt.evaluate(network, "data.yaml", strict=True)


def test_an_infinite_box_matches_nothing_and_is_not_the_end(folder: Path) -> None:
    """Darknet's IoU of it with any ground truth is 0: a false positive."""
    network = as_network(dt.build(DETECTOR_CFG))
    dataset = data.read("data.yaml")
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    head = network.layers[network.plan.outputs[0]]
    bias = next(value for name, value in head.named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        bias[:7] = torch.tensor([0, 0, 200, 200, 9, 9, -9])  # of the first anchor; class 0
        bias[11] = -9
    with pytest.warns(DarknetWarning, match=r"\.png: \d+ of \d+ boxes are infinite"):
        result = dt.evaluate(network, dataset, nms=0)
    assert isinstance(result, DetectionResult)
    assert len(result.detections) > len(dataset)
    assert result.mean_average_precision == 0


@pytest.mark.parametrize(
    ("source", "classes", "pictures", "problems"),
    [
        ("yolo-mark/x64/Release/data/obj.data", 2, 10, {"missing picture": 1}),
        ("bccd/BCCD", 3, 364, {"zero area": 2}),
    ],
)
def test_data_sets_with_known_problems(
    source: str, classes: int, pictures: int, problems: dict[str, int]
) -> None:
    path = SHARED / "datasets" / source
    if not path.exists():
        pytest.skip(f"{path} is not here")
    torch.manual_seed(1)
    text = DETECTOR_CFG.replace("classes=2", f"classes={classes}")
    network = dt.build(text.replace("filters=14", f"filters={2 * (5 + classes)}"))
    result = dt.evaluate(network, path, split="val" if classes == 2 else "all", threshold=0.3)
    assert len(result.dataset) == pictures
    assert result.dataset.counts == problems
    assert len(result.detections) and len(result.ground_truth)


def test_no_pictures(folder: Path, network: dt.Network) -> None:
    with pytest.raises(DataError, match="no image to evaluate on"):
        dt.evaluate(network, Dataset(("ant", "bee"), (), source="nothing"))
    with pytest.raises(DataError, match="a classifier needs a class for each image"):
        dt.evaluate(
            dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n"), "data.yaml"
        )


def test_wrong_options(folder: Path, network: dt.Network) -> None:
    with pytest.raises(UsageError, match="points=5: must be 0"):
        dt.evaluate(network, "data.yaml", points=5)
    classifier = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n")
    with pytest.raises(UsageError, match="nms: is for detectors, and the network has no head"):
        dt.evaluate(classifier, "data.yaml", nms=0.3)
    with pytest.raises(UsageError, match=r"iou=1.5: must be from 0 to 1"):
        dt.evaluate(network, "data.yaml", iou=1.5)


# ---- the command


def test_the_command_prints_tables_json_and_csv(folder: Path, capsys) -> None:
    arguments = ["evaluate", "net.cfg", "net.weights", "data.yaml"]
    assert main(arguments) == 0
    assert "7 pictures" in capsys.readouterr().out
    assert main([*arguments, "--json", "--points", "101"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["darknet"]["points"] == 101
    assert main([*arguments, "--csv", "--out", "results"]) == 0
    assert capsys.readouterr().out.startswith("class,truths")
    names = {"evaluation.json", "classes.csv", "confusion.csv", "detections.json"}
    assert {path.name for path in Path("results").iterdir()} == names
    rows = json.loads(Path("results/detections.json").read_text())
    assert rows[0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert len(rows) == printed["detections"]


def test_the_command_draws(folder: Path, capsys) -> None:
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml", "--plots"]) == 0
    written = {line.removeprefix("wrote ") for line in capsys.readouterr().err.splitlines()}
    names = {path.name for path in Path("evaluation").iterdir()}
    assert {f"evaluation/{name}" for name in names} <= written
    assert {"confusion.png", "precision_recall.png", "f1.png", "classes.csv"} <= names
    assert sum(name[0].isdigit() for name in names) == 7
    for path in Path("evaluation").glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 50


def test_plots_without_matplotlib_fail_first(folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["evaluate", "nothing.cfg", "net.weights", "data.yaml", "--plots"]) == 2
    assert "matplotlib is not installed: pip install " in capsys.readouterr().err


def test_the_commands_exit_status(folder: Path, capsys) -> None:
    (folder / "photos" / "3.png").write_bytes(b"no picture")
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml"]) == 1
    assert "3.png" in capsys.readouterr().err
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml", "--strict"]) == 2
    assert main(["evaluate", "net.cfg", "net.weights", "nothing.yaml"]) == 2
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml", "more.yaml"]) == 2
    assert "must be one DATA, not 2" in capsys.readouterr().err


def test_what_cannot_be_measured_is_none(folder: Path, network: dt.Network) -> None:
    """No small objects; or no objects at all; or no detections."""
    for path in Path("photos").glob("*.txt"):
        path.write_text("0 .5 .5 .9 .9\n")
    figures = json.loads(dt.evaluate(network, "data.yaml").to_json())
    assert figures["coco"]["APsmall"] is figures["coco"]["ARlarge"] is None
    assert figures["coco"]["APmedium"] is not None
    sure = dt.evaluate(network, "data.yaml", threshold=1.0)
    assert sure.to_dict()["darknet"]["precision"] is None
    assert sure.to_dict()["darknet"]["recall"] == sure.to_dict()["darknet"]["f1"] == 0
    for path in Path("photos").glob("*.txt"):
        path.write_text("")
    nothing = dt.evaluate(network, "data.yaml").to_dict()
    assert set(nothing["coco"].values()) == {None}
    assert nothing["voc"]["VOC07"] is nothing["darknet"]["recall"] is None
    assert nothing["darknet"]["mAP"] == 0  # the mean that Darknet prints
    assert "nan" not in str(dt.evaluate(network, "data.yaml")).lower()
