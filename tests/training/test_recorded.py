"""Recorded passes: on the CPU with a recording that runs its function again, and on a card."""

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.distributed import Ranks
from darknet_torch.errors import DarknetWarning
from darknet_torch.layers.dropout import Dropout
from darknet_torch.layers.truth import Truth
from darknet_torch.training import recorded
from darknet_torch.training.losses import LossInputs
from darknet_torch.training.recorded import PassFigures, RecordedPasses
from darknet_torch.training.solver import Solver
from darknet_torch.training.step import Stepper

CFG = """[net]
width=64
height=64
channels=3
batch=4
subdivisions=2
learning_rate=.01
momentum=.9
decay=.0005
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=14
size=1
activation=linear
[{head}]
classes=2
num=2
anchors=8,8,30,30
mask=0,1
"""
CONVOLUTION = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")


class Again:
    """A recording in place of CUDA's: it runs the function at every replay."""

    made: int = 0
    fault: str | None = None

    def __init__(self, run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], **_: object):
        type(self).made += 1
        if self.fault == "waits":
            raise RuntimeError("operation not permitted when stream is capturing")
        self.run, self.inputs = run, inputs

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        (values,) = self.run(*self.inputs)
        return (values * 2 if self.fault == "wrong" else values,)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> type[Again]:
    """Let the CPU pass for a card that has 80 GB."""

    class Mine(Again):
        pass

    class Card:
        total_memory = 80 << 30

    monkeypatch.setattr(recorded, "CudaGraph", Mine)
    for name, value in {
        "get_device_properties": Card,
        "max_memory_allocated": 1 << 30,
        "graph_pool_handle": (0, 1),
        "get_rng_state": torch.zeros(1),
        "set_rng_state": None,
        "empty_cache": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    return Mine


def stepper_of(network: dt.Network, *, records: bool) -> tuple[Stepper, Solver]:
    solver, device = Solver(network), network.device
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    module = LossInputs(network)
    stepper = Stepper(network.plan, module, device, torch.float32, 4, 2, Ranks(), scaler)
    stepper.recorded = RecordedPasses(module) if records else None
    return stepper, solver


def truth_with(objects: int, device: torch.device) -> Truth:
    truth = Truth.empty(4, objects)
    boxes, classes = torch.rand(4, objects, 4) / 3 + 0.2, torch.randint(2, (4, objects))
    here = torch.ones_like(truth.valid)
    return Truth(boxes, classes, here, here).padded(4).to(device)


def weights_after(network: dt.Network, batches: int, *, records: bool) -> list[Tensor]:
    """Train with some batches of one to three objects; return parameters and statistics."""
    network = deepcopy(network)
    stepper, solver = stepper_of(network, records=records)
    torch.manual_seed(5)
    found = []
    for number in range(batches):
        images = torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8).to(network.device)
        truth = truth_with(1 + number % 3, network.device)
        solver.begin()
        loss = stepper.gradients(images, truth, 4 * number, number)
        assert loss.finite and loss.parts.keys() == {"box", "objectness", "class"}
        found.append(torch.tensor([loss.cost, *loss.parts.values()]))
        solver.step(number + 1)
    return [*found, *(each.detach().cpu() for each in network.state_dict().values())]


@pytest.mark.parametrize("head", ["yolo", "region"])
def test_recorded_passes_have_the_same_numbers(again: type[Again], head: str) -> None:
    torch.manual_seed(0)
    network = dt.build(CFG.replace("{head}", head))
    mine, plain = (weights_after(network, 6, records=records) for records in (True, False))
    assert again.made == 1
    for one, two in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@needs_card
@pytest.mark.parametrize("head", ["yolo", "region"])
def test_on_a_card(head: str) -> None:
    torch.manual_seed(0)
    network = dt.build(CFG.replace("{head}", head)).cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine, plain = (weights_after(network, 8, records=records) for records in (True, False))
    for one, two in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fault", ["waits", "wrong"])
def test_what_cannot_be_recorded_is_launched_as_before(again: type[Again], fault: str) -> None:
    network = dt.build(CFG.replace("{head}", "yolo"))
    plain = weights_after(network, 5, records=False)
    again.fault = fault
    with pytest.warns(DarknetWarning, match="passes are not recorded"):
        mine = weights_after(network, 5, records=True)
    assert again.made == 1
    for one, two in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_without_memory_for_both_nothing_is_recorded(
    again: type[Again], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 40 << 30)
    with pytest.warns(DarknetWarning, match="not enough memory"):
        weights_after(dt.build(CFG.replace("{head}", "yolo")), 4, records=True)
    assert not again.made


def figures_of(value: Tensor) -> PassFigures:
    return PassFigures(((1, "box"),), value.detach()[None])


def test_recordings_make_room_for_other_passes(
    again: type[Again], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch that has no memory is computed again, as if nothing had been recorded."""
    network = dt.build(CFG.replace("{head}", "yolo"))
    plain = weights_after(network, 6, records=False)
    one, left = Stepper._one, [9]  # of the fifth batch the first mini-batch finds no memory

    def failing(stepper: Stepper, *arguments: Any) -> PassFigures:
        figures = one(stepper, *arguments)  # gradients are there already
        left[0] -= 1
        if not left[0]:
            raise torch.OutOfMemoryError("no memory")
        return figures

    monkeypatch.setattr(Stepper, "_one", failing)
    with pytest.warns(DarknetWarning, match="memory that others need"):
        mine = weights_after(network, 6, records=True)
    assert again.made == 1
    statistics = {"rolling", "running", "num_batches"}
    names = [*range(6), *network.state_dict()]
    for name, found, wanted in zip(names, mine, plain, strict=True):
        if not any(word in str(name) for word in statistics):  # which that batch changes twice
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_without_recordings_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> PassFigures:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Stepper, "_one", full)
    with pytest.raises(torch.OutOfMemoryError):
        weights_after(dt.build(CFG.replace("{head}", "yolo")), 1, records=True)


def test_other_shapes_momenta_and_phases_are_other_kinds(again: type[Again]) -> None:
    norm = nn.BatchNorm2d(2)
    module = nn.Sequential(nn.Conv2d(3, 2, 1), norm)
    passes = RecordedPasses(module)

    def run(x: Tensor) -> PassFigures:
        value = module(x).square().sum()
        value.backward()
        return figures_of(value)

    for number in range(2 * recorded.OFTEN):
        norm.momentum = 1 / (number + 1)
        passes("kind", [torch.rand(1, 3, 2, 2)], run)
    for kind, side in (("kind", 3), ("other", 3), (None, 3), (None, 3), (None, 3), (None, 3)):
        passes(kind, [torch.rand(1, 3, side, side)], run)
    assert not again.made


def test_a_batch_begins_without_gradients(again: type[Again]) -> None:
    module = nn.Linear(2, 1, bias=False)
    passes = RecordedPasses(module)

    def run(x: Tensor) -> PassFigures:
        value = module(x).sum()
        value.backward()
        return figures_of(value)

    for number in range(recorded.OFTEN + 3):
        module.zero_grad(set_to_none=True)
        passes.begin()
        for _ in range(2):
            passes("kind", [torch.full((1, 2), float(number))], run)
        assert module.weight.grad is not None
        assert module.weight.grad.tolist() == [[2.0 * number] * 2]
    assert again.made == 1


def test_phases_of_layers() -> None:
    """What one pass launches is what another does, unless a layer decides, or is not ours."""

    def phases(seen: int, text: str) -> list[int | None]:
        return [node.layer.training_phase(seen) for node in dt.plan("[net]\n" + text)]

    size = "width=8\nheight=8\nchannels=3\n"
    region = "[region]\nclasses=1\nnum=1\nanchors=1,1\n"
    assert phases(12_799, size + CONVOLUTION.format(6) + region) == [0, 0]
    assert phases(12_800, size + CONVOLUTION.format(6) + region) == [0, 1]
    detection = (
        "[connected]\noutput=6\n[detection]\nside=1\nnum=1\nclasses=1\ncoords=4\nrandom={}\n"
    )
    assert phases(9, size + detection.format(1)) == [0, None]
    assert phases(9, size + detection.format(0)) == [0, 0]
    assert phases(9, size + "[crop]\ncrop_width=4\ncrop_height=4\n") == [None]

    class Elsewhere(Dropout):
        pass

    assert Elsewhere.training_phase(object.__new__(Elsewhere), 9) is None
    assert Dropout.training_phase(object.__new__(Dropout), 9) == 0
