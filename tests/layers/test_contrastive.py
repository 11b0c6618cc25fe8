"""[contrastive] against a plain loop over pairs."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapes
import torch
from naive.contrastive_loss import deltas
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.layers.base import Layer
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.training.loop import train
from darknet_torch.training.losses import layer_losses

IMAGE = (32, 48)
GRID = (4, 6)
CFG = """[net]
width=48
height=32
channels=3
batch=4
[convolutional]
filters=15
size=8
stride=8
activation=linear
[convolutional]
filters=24
size=1
activation=linear
[yolo]
mask=0,1,2
num=3
anchors=6,6, 12,12, 24,20
classes=3
iou_thresh={iou_thresh}
embedding_layer=0
[route]
layers=0
[contrastive]
yolo_layer=-2
{options}
"""


def detector(options: str = "", iou_thresh: float = 1) -> dt.Network:
    text = CFG.format(options=options, iou_thresh=iou_thresh)
    return dt.build(text, dialect="alexeyab")


def objects(rng: random.Random, images: int = 4, most: int = 5) -> Truth:
    """Pairs of images with the same objects, slightly moved; another order in the second one."""
    boxes = torch.zeros(images, most, 4)
    classes, ids = (torch.zeros(images, most, dtype=torch.int64) for _ in range(2))
    valid = torch.zeros(images, most, dtype=torch.bool)
    for image in range(0, images, 2):
        rows = [
            (*(rng.uniform(0.1, 0.9) for _ in range(2)), *(rng.uniform(0.1, 0.6) for _ in range(2)))
            for _ in range(rng.randrange(2, most + 1))
        ]
        kinds = [rng.randrange(4) for _ in rows]  # class 3 is not the head's
        for member in (image, image + 1):
            order = rng.sample(range(len(rows)), len(rows))
            for place, row in enumerate(order):
                moved = [value + rng.uniform(-0.05, 0.05) for value in rows[row]]
                boxes[member, place] = torch.tensor(moved)
                classes[member, place] = kinds[row]
                ids[member, place] = 1000 * image + row
            valid[member, : len(rows)] = True
    return Truth(boxes, classes, valid, torch.ones_like(valid), object_id=ids)


@pytest.mark.parametrize("seed", range(12))
def test_embeddings_of_anchors(seed: int) -> None:
    rng = random.Random(seed)
    most, temperature = rng.choice([0, 1, 3, 100]), rng.choice([1.0, 0.25])
    normalizer, largest = rng.choice([1.0, 0.375]), rng.choice([1000.0, 0.0625])
    options = f"contrastive_neg_max={most}\ntemperature={temperature}\n"
    options += f"cls_normalizer={normalizer}\nmax_delta={largest}\n"
    network = detector(options, iou_thresh=rng.choice([1, 0.2]))
    layers: list[Layer] = [node.layer for node in network.plan]
    truth = objects(rng)
    raw = torch.randn(4, 15, *GRID, dtype=torch.float64, generator=torch.manual_seed(seed))
    raw.requires_grad_()
    loss = layers[-1].loss(raw, truth, LossContext(IMAGE, layers=layers[:-1]))
    assert loss is not None
    loss.total.backward()
    assert raw.grad is not None

    owners = owners_of(layers[2], truth)
    places = sorted(owners)
    maps = raw.detach().view(4, 3, 5, *GRID).numpy()
    z = np.stack([maps[b, a, :, y, x] for b, a, y, x in places])
    labels, classes = zip(*(owners[place] for place in places), strict=True)
    naive = deltas(
        z, labels, classes, temperature=temperature, detector=True, most=max(most, 1)
    )  # fmt: skip
    expected = np.zeros_like(maps)
    for place, delta in zip(places, naive, strict=True):
        b, a, y, x = place
        expected[b, a, :, y, x] = (normalizer * delta).clip(-largest, largest)
    assert (expected != 0).any()
    found = -raw.grad.view(4, 3, 5, *GRID).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert loss.cost.item() == pytest.approx((expected**2).sum())


def owners_of(head: Layer, truth: Truth) -> dict[tuple[int, ...], tuple[int, int]]:
    """Image, anchor and cell -> label and class, object after object."""
    pairs = [(6, 6), (12, 12), (24, 20)]
    found = {}
    for b in range(len(truth)):
        for row in truth.valid[b].nonzero()[:, 0].tolist():
            x, y, w, h = truth.boxes[b, row].tolist()
            kind = int(truth.class_id[b, row])
            if kind >= 3:
                continue
            shapes = []
            for across, down in pairs:
                across, down = across / IMAGE[1], down / IMAGE[0]
                both = min(across, w) * min(down, h)
                shapes.append(both / (across * down + w * h - both))
            best = shapes.index(max(shapes))
            assert truth.object_id is not None
            owner = int(truth.object_id[b, row]), kind
            cell = min(int(y * GRID[0]), GRID[0] - 1), min(int(x * GRID[1]), GRID[1] - 1)
            for anchor, shape in enumerate(shapes):
                if anchor == best or shape > head.iou_thresh:  # type: ignore[attr-defined]
                    found[b, anchor, *cell] = owner
    return found


def classifier(classes: int, options: str = "") -> tuple[Layer, LossContext]:
    cfg = f"[net]\ninputs=6\nlabel_smooth_eps=.1\n[contrastive]\nclasses={classes}\n{options}\n"
    return dt.plan(cfg, dialect="alexeyab")[0].layer, LossContext((0, 0), label_smoothing=0.1)


def with_values(values: Tensor) -> Truth:
    return replace(Truth.empty(len(values)), values=values)


@pytest.mark.parametrize("seed", range(6))
def test_embeddings_of_images(seed: int) -> None:
    rng = random.Random(seed)
    temperature = rng.choice([1.0, 0.25])
    layer, context = classifier(4, f"temperature={temperature}")
    values = torch.full((8, 4), 0.1 / 3)
    labels = []
    for image in range(8):
        if rng.random() < 0.4:
            labels.append(image // 2)  # without a class: that of its pair
        else:
            labels.append(rng.randrange(4))
            values[image, : labels[-1] + 1] = rng.choice([0.2, 0.9])  # the last one counts
    raw = torch.randn(8, 6, dtype=torch.float64, generator=torch.manual_seed(seed))
    raw.requires_grad_()
    loss = layer.loss(raw, with_values(values), context)
    assert loss is not None
    loss.total.backward()
    assert raw.grad is not None
    expected = deltas(
        raw.detach().numpy(), labels, [0] * 8, temperature=temperature, detector=False
    )  # fmt: skip
    np.testing.assert_allclose(-raw.grad.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_two_images_have_nothing_to_compare_with() -> None:
    layer, context = classifier(2)
    raw = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0.0, 2, 0, 0, 0, 0]], requires_grad=True)
    loss = layer.loss(raw, with_values(torch.zeros(2, 2)), context)
    assert loss is not None
    loss.total.backward()
    assert raw.grad is not None
    assert -raw.grad[0, 1] == pytest.approx(2 * 1e-4, rel=1e-3)


def test_embeddings_of_length_zero_and_no_object_learn_nothing() -> None:
    layer, context = classifier(2)
    raw = torch.zeros(4, 6, requires_grad=True)
    loss = layer.loss(raw, with_values(torch.zeros(4, 2)), context)
    assert loss is not None
    loss.total.backward()
    assert raw.grad is not None
    assert not raw.grad.any()
    losses = layer_losses(
        detector().train(), torch.rand(2, 3, *IMAGE), Truth.empty(2), LossContext(IMAGE)
    )
    assert losses[4].cost == 0


def test_a_network_learns_to_tell_objects_apart() -> None:
    torch.manual_seed(0)
    network = detector().train()
    rng = random.Random(3)
    images = torch.rand(4, 3, *IMAGE)
    truth = objects(rng)
    layers = [node.layer for node in network.plan]
    owners = owners_of(layers[2], truth)

    def same_and_other() -> tuple[float, float]:
        with torch.no_grad():
            z = network.layers[0](images).unflatten(1, (3, 5)).movedim(2, -1)
        rows = [(z[place], owner) for place, owner in owners.items()]
        pairs = [
            (torch.cosine_similarity(a, b, dim=0).item(), of_a[0] == of_b[0])
            for n, (a, of_a) in enumerate(rows)
            for b, of_b in rows[:n]
            if of_a[1] == of_b[1]
        ]
        return (
            float(np.mean([s for s, same in pairs if same])),
            float(np.mean([s for s, same in pairs if not same])),
        )

    optimizer = torch.optim.SGD(network.layers[0].parameters(), lr=0.2)
    before = same_and_other()
    for _ in range(60):
        optimizer.zero_grad()
        layer_losses(network, images, truth, LossContext(IMAGE))[4].total.backward()
        optimizer.step()
    after = same_and_other()
    assert after[0] - after[1] > before[0] - before[1] + 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("yolo_layer=-2", "yolo_layer=-1"), "is no \\[yolo\\]"),
        (("yolo_layer=-2", "yolo_layer=9"), "layer 9 is not one"),
        (("yolo_layer=-2", "yolo_layer=-2\ntemperature=0"), "temperature=0"),
        (("filters=15", "filters=16"), "16 filters before it are not divisible by the 3 anchors"),
        (("yolo_layer=-2", ""), "needs a vector before it, not 6 x 4 pixels"),
    ],
)
def test_impossible_options(change: tuple[str, str], message: str) -> None:
    text = CFG.format(options="", iou_thresh=1).replace(*change)
    network = dt.build(text, dialect="alexeyab").train()
    with pytest.raises(UsageError, match=message):
        layer_losses(network, torch.rand(2, 3, *IMAGE), Truth.empty(2), LossContext(IMAGE))


def test_a_classifier_needs_its_classes() -> None:
    layer, context = classifier(3)
    with pytest.raises(UsageError, match="needs 3 class values for each image, and there are 2"):
        layer.loss(torch.rand(2, 6), with_values(torch.zeros(2, 2)), context)


def test_pairs_of_images_are_trained_with(tmp_path: Path) -> None:
    text = CFG.format(options="", iou_thresh=1).replace("width=48", "width=32")
    lines = "batch=4\nsubdivisions=2\nmax_batches=2\ncontrastive=1\n"
    network = dt.build(text.replace("batch=4\n", lines), dialect="alexeyab")
    data = shapes.draw_detection_set(tmp_path / "shapes")
    train(network, data, folder=tmp_path / "run", workers=0)
    heading, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = heading.split(",").index("contrastive")
    assert all(float(row.split(",")[column]) > 0 for row in rows[:2])
    with pytest.raises(UsageError, match="leave one image for each part, and pairs are compared"):
        train(network, data, folder=tmp_path / "other", subdivisions=4)
