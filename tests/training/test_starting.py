"""Starting points: other classes with their schedule, and heads that expect few objects."""

from pathlib import Path

import pytest
import shapes
import torch

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.training.starting import expect_few_objects, fit_classes, needs_other_classes

REGION = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=16\nsize=3\npad=1\n"
REGION += "activation=linear\n[region]\nnum=2\nclasses=3\nanchors=1,1,2,2\nsoftmax=1\n"
NEW_COORDS = shapes.DETECTOR.replace("activation=linear", "activation=logistic")
NEW_COORDS = NEW_COORDS.replace("jitter=.1", "new_coords=1")


@pytest.mark.parametrize("text", [shapes.DETECTOR, REGION, NEW_COORDS])
def test_heads_that_start_at_random_expect_few_objects(text: str) -> None:
    network = dt.build(text)
    expect_few_objects(network)
    head = network.plan.head_layers[0]
    weighted = network.layers[network.plan.heads[0] - 1]
    with torch.no_grad():
        weighted.conv.weight.zero_()  # type: ignore[union-attr]
        (raw,) = network(torch.rand(1, 3, 32, 32))
    decoded = head.decode(raw, (32, 32))
    assert torch.allclose(decoded.objectness, torch.tensor(0.01))
    bias = weighted.conv.bias  # type: ignore[union-attr]
    assert int((bias != 0).sum()) == 2  # one for each anchor
    bias.data[4] = 1.5
    expect_few_objects(network)
    assert float(bias.detach()[4]) == 1.5, "a trained head stays"


def test_a_vector_stays_as_it_is() -> None:
    network = dt.build(
        "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=32\nactivation=linear\n"
        "[detection]\nclasses=3\ncoords=4\nside=2\nnum=1\n"
    )
    before = {name: each.clone() for name, each in network.state_dict().items()}
    expect_few_objects(network)
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())


def test_other_classes_bring_their_schedule() -> None:
    network = dt.build(shapes.DETECTOR)
    fitted = fit_classes(network, ["a", "b", "c", "d", "e"], 100)
    net = fitted.plan.net
    assert (net.max_batches, net.steps, net.scales) == (10000, (8000, 9000), (0.1, 0.1))
    assert net.policy == "steps"
    assert fitted.plan.classes == 5
    assert fitted.names == ("a", "b", "c", "d", "e")
    assert fit_classes(network, ["a"], 100).plan.net.max_batches == 6000
    assert fit_classes(network, ["a"], 7777).plan.net.max_batches == 7777
    net = fit_classes(network, ["a"], 100, batches=50).plan.net
    assert (net.max_batches, net.steps) == (50, (40, 45))
    net = fit_classes(network, ["a"], 9, batches=1).plan.net
    assert net.steps == (2, 2), "not at the first batch"


def test_when_classes_must_change() -> None:
    network = dt.build(shapes.DETECTOR)
    assert not needs_other_classes(network, ["a", "b", "c"])
    assert needs_other_classes(network, ["a", "b"])
    assert not needs_other_classes(network, ["0", "1"])
    assert needs_other_classes(network, ["0", "1", "2", "3"])
    network.names = ("x", "b", "c")
    assert needs_other_classes(network, ["a", "b", "c"])


def test_darknet19_on_class_folders_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    description = shapes.draw_class_folders(tmp_path / "flowers", images=3).read_text()
    Path("flowers.yaml").write_text(f"root: flowers\n{description}")
    small = (
        "--scratch --width 32 --height 32 --batch 2 --subdivisions 1 --max-batches 1 --workers 0"
    )
    assert main(["train", "darknet19", "flowers.yaml", *small.split()]) == 0
    output = capsys.readouterr()
    assert "top 1" in output.err
    assert Path("training/darknet19.names").read_text().split() == ["red", "green", "blue"]
    assert (
        dt.load("training/darknet19.cfg", "training/darknet19_last.weights").plan[-1].shape.c == 3
    )
