"""`evaluate`: Darknet's figures on real networks, and everything around the counting."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from keys import SHARED
from PIL import Image

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.distributed import Ranks
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.evaluation import ClassificationResult, DetectionResult
from darknet_torch.evaluation.cache import Record, Records, decode, encode
from darknet_torch.evaluation.collect import How, Work, find
from darknet_torch.evaluation.report import coco_results
from darknet_torch.inference.detector import Detector

MODELS = SHARED / "models"
COCO128 = SHARED / "datasets" / "coco128"
DIGITS = MODELS / "lenet-mnist"
needs_coco128 = pytest.mark.skipif(not COCO128.is_dir(), reason=f"{COCO128} is not here")
needs_digits = pytest.mark.skipif(not DIGITS.is_dir(), reason=f"{DIGITS} is not here")

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=14
size=4
stride=4
activation=linear
[yolo]
mask=0,1
anchors=8,12, 18,16
classes=2
num=2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.cfg, net.weights, net.names, data.yaml: 7 pictures, labelled with some detections."""
    torch.manual_seed(3)
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "net.names").write_text("ant\nbee\n")
    network = dt.build(tmp_path / "net.cfg")
    dt.save(network, tmp_path / "net.weights")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "photos" / f"{number}.png"
        small = rng.integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(small).resize((60 + number, 50)).save(path)
        found = dt.detect(network, path, threshold=0.2)
        some = found[number % 2 :: 2] if number else found[:0]
        path.with_suffix(".txt").write_text(some.clip().to_yolo())
    (tmp_path / "data.yaml").write_text("val: photos\nnames: [ant, bee]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def network(folder: Path) -> dt.Network:
    return dt.load("net.cfg", "net.weights")


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
    assert len(result.marked) == 898
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
    found = dt.evaluate(
        network,
        COCO128 / "images" / "val2017",
        names=COCO128 / "coco.names",
        points=101,
        batch_size=8,
    )
    assert isinstance(found, DetectionResult)
    return found


@needs_digits
def test_a_classifier_reads_digits() -> None:
    """The pictures' names end in `_cN`, so that Darknet's rule finds the class in the path."""
    network = dt.load(DIGITS / "mnist_lenet.cfg", DIGITS / "mnist_lenet.weights")
    names = [f"_c{n}" for n in range(10)]
    result = dt.evaluate(network, DIGITS / "images", names=names, format="paths", tops=(1, 3))
    assert isinstance(result, ClassificationResult)
    assert result.accuracy.top[1] == 1.0
    assert result.accuracy.pictures == 50
    assert result.to_dict()["top3"] == 1.0
    wrong = replace(
        result.dataset,
        samples=tuple(replace(s, label=(s.label + 1) % 10) for s in result.dataset.samples),
    )
    assert dt.evaluate(network, wrong).accuracy.top[1] == 0.0


# ---- what `detect` finds is what is counted


def test_the_detections_are_those_of_detect(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml", batch_size=3)
    for number, sample in enumerate(result.dataset.samples):
        want = dt.detect(network, sample.path, threshold=0.005)
        mine = result.found[result.found.picture == number]
        assert mine.class_id.tolist() == want.class_id.tolist()
        assert mine.score == pytest.approx(want.score.numpy(), abs=1e-6)
        assert mine.xyxy == pytest.approx(want.xyxy.numpy(), abs=1e-3)
    counts = result.darknet.counts(0.2)
    assert 0 < counts.tp < len(result.marked)
    assert 0 < result.mean_average_precision < 1


def test_figures_in_all_forms_agree(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml", points=11, confidence=0.3)
    told = json.loads(result.to_json())
    assert told["darknet"]["mAP"] == result.mean_average_precision
    assert told["darknet"]["means"][".5"]["11"] == result.mean_average_precision
    assert told["coco"]["AP50"] == result.coco.figures["AP50"]
    assert told["voc"]["VOC10"] == result.voc.map10
    assert [row["class"] for row in told["classes"]] == ["ant", "bee"]
    assert sum(row["tp"] for row in told["classes"]) == told["darknet"]["tp"]
    header, *lines = result.to_csv().splitlines()
    assert header.startswith("class,truths,ap,voc07")
    assert lines[0].split(",")[2] == str(told["classes"][0]["ap"])
    assert f"mAP@0.5 (11 points) {100 * result.mean_average_precision:.2f} %" in str(result)
    errors = result.errors()
    assert errors.sum() == told["darknet"]["fp"] + told["darknet"]["fn"]
    assert len(errors) == 7


# ---- classes


def test_classes_of_other_numbers_are_told_by_their_names(
    folder: Path, network: dt.Network
) -> None:
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
    with pytest.raises(UsageError, match="3 classes, the network has 2, and none is called 'wasp'"):
        dt.evaluate(network, replace(plain.dataset, names=("ant", "bee", "wasp")))


def test_other_names_of_as_many_classes_are_told(folder: Path, network: dt.Network) -> None:
    dataset = replace(data.read("data.yaml"), names=("ant", "wasp"))
    with pytest.warns(DarknetWarning, match="class 1 is 'bee' in the network, 'wasp' in"):
        result = dt.evaluate(network, dataset)
    assert result.mean_average_precision == dt.evaluate(network, "data.yaml").mean_average_precision


def test_classes_known_by_number_only_are_the_networks(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "photos")
    assert result.names == ("ant", "bee")
    named = dt.evaluate(network, "data.yaml")
    assert result.mean_average_precision == named.mean_average_precision


def test_a_word_trees_classes_can_be_mapped(folder: Path) -> None:
    """YOLO9000's way to be measured: other classes, each scored by one node of the tree."""
    (folder / "t.tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    (folder / "m.map").write_text("3\n1\n2\n")
    text = CFG.replace("filters=14", "filters=9").replace("[yolo]", "[region]")
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
        here = (result.found.picture == 0) & (result.found.class_id == number)
        assert result.found.score[here] == pytest.approx(want[want > 0.01].numpy(), abs=1e-5)
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
    assert len(result.found) and result.found.picture.max() == 5
    with pytest.raises(DataError, match=r"3\.png"):
        dt.evaluate(network, "data.yaml", strict=True)


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
    text = CFG.replace("classes=2", f"classes={classes}")
    network = dt.build(text.replace("filters=14", f"filters={2 * (5 + classes)}"))
    result = dt.evaluate(network, path, split="val" if classes == 2 else "all", threshold=0.3)
    assert len(result.dataset) == pictures
    assert result.dataset.counts == problems
    assert len(result.found) and len(result.marked)


def test_no_pictures(folder: Path, network: dt.Network) -> None:
    with pytest.raises(DataError, match="no picture to look at"):
        dt.evaluate(network, Dataset(("ant", "bee"), (), source="nothing"))
    with pytest.raises(DataError, match="a classifier needs a class for each picture"):
        dt.evaluate(
            dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n"), "data.yaml"
        )


def test_wrong_options(folder: Path, network: dt.Network) -> None:
    with pytest.raises(UsageError, match="points=5: must be 0"):
        dt.evaluate(network, "data.yaml", points=5)
    with pytest.raises(UsageError, match="unexpected keyword argument 'nsm'"):
        dt.evaluate(network, "data.yaml", nsm=0.3)
    with pytest.raises(UsageError, match=r"iou=1.5: must be from 0 to 1"):
        dt.evaluate(network, "data.yaml", iou=1.5)


# ---- going on where it stopped


class Counting(torch.nn.Module):
    """A network that counts the batches that run through it, and may stop."""

    def __init__(self, network: dt.Network, stop: int = 1 << 30) -> None:
        super().__init__()
        self.network, self.plan, self.names = network, network.plan, network.names
        self.batches, self.stop = 0, stop

    def forward(self, x: torch.Tensor) -> object:
        self.batches += 1
        if self.batches > self.stop:
            raise KeyboardInterrupt
        return self.network(x)


def test_a_cache_goes_on_where_it_stopped(folder: Path, network: dt.Network) -> None:
    plain = dt.evaluate(network, "data.yaml", batch_size=2)
    stopped = Counting(network, stop=3)  # one batch tells networks apart, two are pictures
    with pytest.raises(KeyboardInterrupt):
        dt.evaluate(stopped, "data.yaml", batch_size=2, cache="found")
    (path,) = Path("found").iterdir()
    with path.open("a") as file:
        file.write('{"picture":4,"error":null,"rows":[[0,0.9,1,')  # as if cut off
    again = Counting(network)
    told: list[tuple[int, int]] = []
    result = dt.evaluate(
        again,
        "data.yaml",
        batch_size=2,
        cache="found",
        progress=lambda done, total: told.append((done, total)),
    )
    assert again.batches == 1 + 2
    assert told == [(5, 7), (6, 7), (7, 7)]
    assert result.found.rows().tolist() == plain.found.rows().tolist()
    known = Counting(network)
    whole = dt.evaluate(known, "data.yaml", batch_size=2, cache="found")
    assert known.batches == 1
    assert whole.to_json() == plain.to_json()


def test_a_cache_belongs_to_one_network_and_one_setting(folder: Path, network: dt.Network) -> None:
    dt.evaluate(network, "data.yaml", cache="found")
    other = dt.build("net.cfg")
    assert not torch.equal(other.layers[0].conv.weight, network.layers[0].conv.weight)
    for each, options in ((other, {}), (network, {"nms": 0.3}), (network, {"threshold": 0.1})):
        counting = Counting(each)
        dt.evaluate(counting, "data.yaml", cache="found", **options)
        assert counting.batches == 8
    (folder / "photos" / "2.png").write_bytes((folder / "photos" / "1.png").read_bytes())
    counting = Counting(network)
    dt.evaluate(counting, "data.yaml", cache="found")
    assert counting.batches == 8


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[1]",
        '{"picture":-1,"error":null,"rows":[]}',
        '{"picture":1,"error":null,"rows":[[1,2,3]]}',
        '{"picture":1,"error":null,"rows":[[1,2,3,4,5,1e99]]}',
        '{"picture":1,"error":7,"rows":[]}',
        '{"picture":"x","error":null,"rows":[]}',
        '{"picture":1e999,"error":null,"rows":[]}',
        "[" * 100_000,
    ],
)
def test_damaged_records_count_as_absent(line: str) -> None:
    good = Record(2, np.array([[1, 0.1, 2, 3, 4, 5]], np.float32), 'with "quotes"\nand a line')
    found = list(decode([line, *encode(good).splitlines(keepends=True)]))
    assert [(r.picture, r.rows.tolist(), r.error) for r in found] == [
        (2, good.rows.tolist(), good.error)
    ]


def test_a_file_of_another_key_is_not_read(tmp_path: Path) -> None:
    key = "a" * 64
    with Records(tmp_path, key) as records:
        records.add([Record(0, np.zeros((0, 6), np.float32))])
    assert Records(tmp_path, key).read().keys() == {0}
    assert not Records(tmp_path, key[:-1] + "b").read()


# ---- several processes


@pytest.mark.parametrize("size", [1, 2, 3])
def test_torchrun_gives_the_same_result(folder: Path, network: dt.Network, size: int) -> None:
    want = dt.evaluate(network, "data.yaml", batch_size=2).to_dict()
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {size} --no-python"
    verb = "evaluate net.cfg net.weights data.yaml --batch-size 2 --json --cache found"
    script = Path(sys.executable).parent / "darknet-torch"
    run = subprocess.run(
        [sys.executable, *torchrun.split(), script, *verb.split()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    assert got == json.loads(json.dumps(want))
    assert len(list(Path("found").iterdir())) == size


def test_what_the_others_found_arrives_whole() -> None:
    """As the part of another process does, in the order of the pictures."""
    samples = tuple(Sample(Path(f"{n}"), 1, 1, GroundTruth.empty(), n + 1) for n in range(5))
    other = "".join(encode(Record(n, np.full((n, 6), n, np.float32))) for n in (2, 3))

    class Two(Ranks):
        def gather(self, content: bytes) -> list[bytes]:
            return [content, other.encode()]

    def stream(paths):
        from darknet_torch.inference.streaming import Outcome

        yield from (Outcome(path, int(path.name)) for path in paths)

    work = Work(None, stream, lambda number: np.full((number, 6), number, np.float32), 2, "")
    found = find(work, Dataset(("a",), samples), How(None, None, Two(0, 2)))
    assert list(found) == [0, 1, 2, 3, 4]
    assert [len(record.rows) for record in found.values()] == [0, 1, 2, 3, 4]


# ---- the command


def test_the_command_prints_tables_json_and_csv(folder: Path, capsys) -> None:
    arguments = ["evaluate", "net.cfg", "net.weights", "data.yaml"]
    assert main(arguments) == 0
    assert "7 pictures" in capsys.readouterr().out
    assert main([*arguments, "--json", "--points", "101"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["darknet"]["points"] == 101
    assert main([*arguments, "--csv", "--out", "results"]) == 0
    assert capsys.readouterr().out.startswith("class,truths")
    names = {"evaluation.json", "classes.csv", "confusion.csv", "detections.json"}
    assert {path.name for path in Path("results").iterdir()} == names
    rows = json.loads(Path("results/detections.json").read_text())
    assert rows[0].keys() == {"image_id", "category_id", "bbox", "score"}
    assert len(rows) == told["detections"]


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
    assert "darknet_torch[plot]" in capsys.readouterr().err


def test_results_in_cocos_numbers(folder: Path, network: dt.Network) -> None:
    result = dt.evaluate(network, "data.yaml")
    numbered = replace(result, dataset=replace(result.dataset, category_ids=(7, 3)))
    rows = coco_results(numbered)
    assert {row["category_id"] for row in rows} == {7, 3}
    left, top, width, height = rows[0]["bbox"]
    corners = [left, top, left + width, top + height]
    assert corners == pytest.approx(result.found.xyxy[0].tolist(), abs=1e-3)
    assert rows[-1]["image_id"] == 7
    assert {row["category_id"] for row in coco_results(result)} == {0, 1}


def test_the_commands_exit_status(folder: Path, capsys) -> None:
    (folder / "photos" / "3.png").write_bytes(b"no picture")
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml"]) == 1
    assert "3.png" in capsys.readouterr().err
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml", "--strict"]) == 2
    assert main(["evaluate", "net.cfg", "net.weights", "nothing.yaml"]) == 2
    assert main(["evaluate", "net.cfg", "net.weights", "data.yaml", "more.yaml"]) == 2
    assert "one DATA wanted, not 2" in capsys.readouterr().err
