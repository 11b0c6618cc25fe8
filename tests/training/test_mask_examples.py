"""Networks that learn the pixels of objects: [iseg], and [region] with masks of its boxes."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_cases import truth_of
from PIL import Image

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.data import Dataset
from darknet_torch.data.outlines import Outline
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.layers.truth import LossContext
from darknet_torch.training.augment_options import AugmentOptions
from darknet_torch.training.batches import Batch, batches

NET = """[net]
width=64
height=48
channels=3
batch=4
max_batches={batches}
learning_rate={rate}
min_crop={crop}
max_crop={crop}
"""
ISEG = """[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=4
size=1
activation=linear
[iseg]
classes=2
ids=2
"""
REGION = """[convolutional]
filters={filters}
size=16
stride=16
activation=linear
[region]
anchors=1,1
classes=2
num=1
coords={coords}
mask_scale=2.7
"""


def net(layers: str, *, batches: int = 3, rate: float = 0.01, crop: int = 64) -> str:
    return NET.format(batches=batches, rate=rate, crop=crop) + layers


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of 64 x 48 with a red triangle and a green one, outlined by both kinds."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    images, annotations = [], []
    for number in range(6):
        pixels = np.full((48, 64, 3), 20, np.uint8)
        for kind, colour in enumerate(((250, 20, 20), (20, 250, 20))):
            x, y = rng.uniform(2, 10) + 30 * kind, rng.uniform(2, 20)
            points = [x, y, x + rng.uniform(14, 20), y + 2, x + 3, y + rng.uniform(14, 20)]
            mask = Outline((np.array(points).reshape(3, 2),)).mask(64, 48)
            pixels[mask] = colour
            flat = mask.T.ravel()
            edges = np.flatnonzero(np.diff(flat)) + 1
            runs = {"size": [48, 64], "counts": np.diff([0, *edges, flat.size]).tolist()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": kind,
                    "bbox": [x, y, 20, 20],
                    "segmentation": [points] if number % 2 else runs,
                }
            )
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
    categories = [{"id": 0, "name": "red"}, {"id": 1, "name": "green"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "marks.json").write_text(json.dumps(content))
    return folder / "marks.json"


@pytest.fixture(scope="module")
def outlined(drawn: Path) -> Dataset:
    return data.read(drawn, masks=True)


def some(dataset: Dataset, cfg: str, count: int = 1, **changes: Any) -> list[Batch]:
    plan = dt.plan(cfg, dialect="pjreddie")
    options = AugmentOptions.of(plan, **changes)
    made = batches(dataset, plan, options, batch=4, seed=1, size_of=lambda _: (48, 64))
    return list(islice(made, count))


def share(colour: torch.Tensor, mask: torch.Tensor, channel: int) -> float:
    """The share of a mask's pixels where a channel is the brightest."""
    return float((colour.argmax(dim=0) == channel)[mask].float().mean())


def test_masks_move_with_their_image(outlined: Dataset) -> None:
    options = "angle=20\naspect=1.3\n"
    for batch in some(outlined, net(options + ISEG, crop=80), 4):
        masks = batch.truth.masks
        assert masks is not None and masks.shape[2:] == (12, 16)
        assert not masks[~batch.truth.valid].any() and 0 < masks.max() <= 1
        masks = masks >= 0.5
        small = torch.nn.functional.interpolate(
            batch.images.float(), (12, 16), mode="bilinear", align_corners=True
        )
        for image, row in batch.truth.valid.nonzero().tolist():
            kind = int(batch.truth.class_id[image, row])
            mask = masks[image, row]
            assert mask.any() and share(small[image], mask, kind) > 0.9
            bright = small[image, kind] - small[image, 1 - kind] > 150
            assert (bright & ~mask).sum() <= 0.15 * mask.sum() + 1
            x, y, w, h = batch.truth.boxes[image, row].tolist()
            rows, columns = mask.nonzero().unbind(1)
            assert x - w / 2 <= (int(columns.min()) + 1) / 15 and x + w / 2 >= (
                int(columns.max()) - 1
            ) / 15  # fmt: skip
            assert y - h / 2 <= (int(rows.min()) + 1) / 11 and y + h / 2 >= (
                int(rows.max()) - 1
            ) / 11  # fmt: skip


def test_masks_without_augmentation_are_the_outlines(outlined: Dataset) -> None:
    cfg = net(ISEG).replace("stride=4", "stride=1").replace("ids=2", "ids=2\nmax=1")
    (batch,) = some(outlined, cfg, augment=False)
    masks = batch.truth.masks
    assert masks is not None and masks.shape == (4, 1, 48, 64)
    by_path = {sample.path: sample for sample in outlined.samples}
    for image, path in enumerate(batch.paths):
        outline = by_path[path].ground_truth.outlines[0]
        assert torch.equal(masks[image, 0] > 0, torch.from_numpy(outline.mask(64, 48).copy()))


def test_masks_of_boxes(outlined: Dataset) -> None:
    cfg = net(REGION.format(filters=4 + 36 + 3, coords=40), crop=64)
    for batch in some(outlined, cfg, 3):
        masks = batch.truth.masks
        assert masks is not None and masks.shape[2:] == (6, 6)
        used = masks[batch.truth.valid]
        assert used.amax(dim=(1, 2)).min() > 0.9
        assert 0.25 < used.mean() < 0.75  # triangles fill half of a box


def test_the_loss_of_masks_of_boxes() -> None:
    layer: Any = dt.plan(
        net(REGION.format(filters=4 + 4 + 3, coords=8)), dialect="pjreddie"
    )[-1].layer  # fmt: skip
    raw = torch.randn(2, 11, 3, 4, dtype=torch.float64, generator=torch.manual_seed(2))
    objects = [[(0.3, 0.4, 0.2, 0.3, 1), (0.31, 0.41, 0.2, 0.3, 0)], [(0.9, 0.9, 0.1, 0.1, 0)]]
    truth = truth_of(objects)
    with_masks = replace(truth, masks=torch.rand(2, truth.valid.shape[1], 2, 2))
    gradients, costs = [], []
    for each in (truth, with_masks):
        x = raw.clone().requires_grad_()
        loss = layer.loss(x, each, LossContext((48, 64), 20_000))
        loss.total.backward()
        assert x.grad is not None
        gradients.append(x.grad)
        costs.append(loss.cost)
    change = gradients[1] - gradients[0]
    expected, cost = torch.zeros_like(raw), 0.0
    for image, row, y, x in ((0, 1, 1, 1), (1, 0, 2, 3)):  # the last object of a cell
        assert with_masks.masks is not None
        for entry, wanted in enumerate(with_masks.masks[image, row].flatten().tolist(), start=4):
            value = 1 / (1 + np.exp(-float(raw[image, entry, y, x])))
            delta = 2 * (wanted - value)  # the scale is a whole number in Darknet
            cost += delta**2
            expected[image, entry, y, x] = -delta * value * (1 - value)
    torch.testing.assert_close(change, expected)
    assert float(costs[1] - costs[0]) == pytest.approx(cost)
    wrong = replace(truth, masks=torch.zeros(2, truth.valid.shape[1], 3, 3))
    with pytest.raises(UsageError, match="coords=8"):
        layer.loss(raw, wrong, LossContext((48, 64)))


def test_gradient_of_masks_is_a_derivative() -> None:
    layer: Any = dt.plan(
        net(REGION.format(filters=4 + 4 + 3, coords=8)), dialect="pjreddie"
    )[-1].layer  # fmt: skip
    truth = truth_of([[(0.3, 0.4, 0.2, 0.3, 1)]])
    truth = replace(truth, masks=torch.tensor([[[[1, 0], [0, 0.3]]]]))

    def masks(raw: torch.Tensor) -> torch.Tensor:
        part: torch.Tensor = layer.loss(raw, truth, LossContext((48, 64))).parts["mask"]
        return part

    raw = torch.randn(1, 11, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(masks, raw)


def test_training_from_a_coco_file(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layers = ISEG.replace("filters=8", "filters=8\nbatch_normalize=1")
    (tmp_path / "net.cfg").write_text(net(layers, batches=50, rate=0.006))
    command = ["train", "net.cfg", str(drawn), "--scratch", "--workers", "0"]
    assert main([*command, "--dialect", "pjreddie"]) == 0
    assert "no score of masks" in capsys.readouterr().err
    rows = (tmp_path / "training" / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    network = dt.load("training/net.cfg", "training/net_last.weights", dialect="pjreddie")
    image = torch.from_numpy(np.asarray(Image.open(drawn.parent / "0.png")).copy())
    output = network(image.permute(2, 0, 1)[None].float() / 255)
    outline = data.read(drawn, masks=True).samples[0].ground_truth.outlines
    for kind in (0, 1):
        mask = torch.from_numpy(outline[kind].mask(64, 48).copy())[::4, ::4]
        scores = output[0, kind]
        assert scores[mask].mean() > 0.4 + scores[~mask].mean()


def as_mask_files(dataset: Dataset, folder: Path) -> Path:
    """Write images and Darknet's mask files; return the list of the images."""
    (folder / "images").mkdir()
    (folder / "mask").mkdir()
    for sample in dataset.samples:
        (folder / "images" / sample.path.name).symlink_to(sample.path)
        rows = []
        for class_id, outline in zip(
            sample.ground_truth.class_id, sample.ground_truth.outlines, strict=True
        ):
            flat = np.r_[False, outline.mask(sample.width, sample.height).ravel()]
            edges = np.flatnonzero(np.diff(flat)).tolist()
            runs = np.diff([0, *edges])  # the pixels behind the last run are outside again
            rows.append(f"{class_id} {','.join(map(str, runs))}\n")
        (folder / "mask" / f"{sample.path.stem}.txt").write_text("".join(rows))
    names = [str(folder / "images" / sample.path.name) for sample in dataset.samples]
    (folder / "train.txt").write_text("\n".join(names))
    return folder / "train.txt"


def test_darknets_mask_files(outlined: Dataset, tmp_path: Path) -> None:
    again = data.read(as_mask_files(outlined, tmp_path), masks=True, names=["red", "green"])
    assert again.has_outlines and not again.problems
    cfg = net("angle=20\n" + ISEG, crop=80)
    for one, other in zip(some(outlined, cfg, 2), some(again, cfg, 2), strict=True):
        assert torch.equal(one.images, other.images)
        assert one.truth.masks is not None and other.truth.masks is not None
        assert torch.equal(one.truth.masks, other.truth.masks)
        assert torch.equal(one.truth.class_id, other.truth.class_id)
    network = dt.build(net(ISEG, batches=2), dialect="pjreddie")
    result = dt.train(network, tmp_path / "train.txt", folder=tmp_path / "run", workers=0)
    assert result.batches == 2
    with_a_hole(next((tmp_path / "mask").iterdir()))
    other = data.read(tmp_path / "train.txt", masks=True, names=["red", "green"])
    for old, new in zip(again.samples, other.samples, strict=True):
        assert np.array_equal(old.ground_truth.xyxy, new.ground_truth.xyxy)
    with pytest.raises(UsageError, match=r"state of another training: data was '\w+', is '\w+'"):
        dt.train(network, tmp_path / "train.txt", folder=tmp_path / "run", workers=0)


def with_a_hole(mask: Path) -> None:
    """Take a pixel out of the middle of an object."""
    (class_id, runs), *rest = (line.split() for line in mask.read_text().splitlines())
    numbers = [int(number) for number in runs.split(",")]
    middle = len(numbers) // 4 * 2 + 1  # a run inside
    assert numbers[middle] > 2
    numbers[middle : middle + 1] = [1, 1, numbers[middle] - 2]
    lines = [f"{class_id} {','.join(map(str, numbers))}", *map(" ".join, rest)]
    mask.write_text("\n".join(lines))


def test_a_mask_is_what_darknet_makes_of_it(outlined: Dataset) -> None:
    """Turned, then resized to the grid of the layer, with positions between pixels."""
    (batch,) = some(outlined, net(ISEG), augment=False)
    by_path = {sample.path: sample for sample in outlined.samples}
    masks = batch.truth.masks
    assert masks is not None
    for image, path in enumerate(batch.paths):
        for row, outline in enumerate(by_path[path].ground_truth.outlines):
            whole = torch.from_numpy(outline.mask(64, 48).astype(np.float32))[None, None]
            expected = torch.nn.functional.interpolate(
                whole, (12, 16), mode="bilinear", align_corners=True
            )
            assert (masks[image, row] - expected[0, 0]).abs().max() <= 1 / 255


def test_data_without_outlines(drawn: Path, tmp_path: Path) -> None:
    boxes = data.read(drawn)
    network = dt.build(net(ISEG), dialect="pjreddie")
    with pytest.raises(DataError, match=r"no outline of an object, which \[iseg\] learns from"):
        dt.train(network, boxes, folder=tmp_path)
    network = dt.build(net(REGION.format(filters=7 + 36, coords=40)), dialect="pjreddie")
    with pytest.warns(DarknetWarning, match="masks learn nothing"):
        dt.train(network, boxes, folder=tmp_path, max_batches=1, workers=0)


def test_other_classes_are_refused(drawn: Path, tmp_path: Path) -> None:
    cfg = net(ISEG.replace("classes=2", "classes=1").replace("filters=4", "filters=3"))
    network = dt.build(cfg, dialect="pjreddie")
    with pytest.raises(UsageError, match="class 1 green occurs, but the network has 1 classes"):
        dt.train(network, data.read(drawn, masks=True), folder=tmp_path)
    (tmp_path / "net.cfg").write_text(cfg)
    command = ["train", str(tmp_path / "net.cfg"), str(drawn), "--scratch"]
    assert main([*command, "--dialect", "pjreddie"]) == 2
