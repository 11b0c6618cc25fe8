"""The solver: which layers learn when, and each option of [net] and of layers."""

import copy

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, UsageError
from darknet_torch.training.solver import Solver

NET = "[net]\nwidth=8\nheight=8\nchannels=2\nbatch=4\nlearning_rate=0.1\nmax_batches=8\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters=3\nsize=1\nactivation=leaky\n"


def network(*layers: str, net: str = "", dialect: str = "alexeyab") -> dt.Network:
    torch.manual_seed(0)
    return dt.build(NET + net + "".join(layers), dialect=dialect)


def trained(
    model: dt.Network, batches: int = 1, first: int = 1, **options: object
) -> tuple[set[str], Solver]:
    """Train for some batches; return the names of the tensors that changed."""
    before = copy.deepcopy(model.state_dict())
    solver = Solver(model, **options)  # type: ignore[arg-type]
    images = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    for batch in range(first, first + batches):
        solver.begin()
        output = model(images)
        solver.scaled((output - 1).square().sum()).backward()
        solver.step(batch)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return {name.removeprefix("layers.") for name in changed if "num_batches" not in name}, solver


PARAMETERS = {"conv.weight", "bn.weight", "bn.bias"}
STATISTICS = {"bn.running_mean", "bn.running_var"}


def of_layer(changed: set[str], index: int) -> set[str]:
    return {name[2:] for name in changed if name.startswith(f"{index}.")}


@pytest.mark.parametrize(
    ("options", "first", "learns"),
    [
        # (of layer 0, of layer 1, of layer 2), number of the batch, which layers learn
        (("", "", ""), 1, (True, True, True)),
        (("", "stopbackward=1", ""), 1, (False, False, True)),
        (("", "stopbackward=1", ""), 999, (False, False, True)),
        (("", "stopbackward=5", ""), 5, (False, False, True)),
        (("", "stopbackward=5", ""), 6, (True, True, True)),
        (("", "onlyforward=1", ""), 1, (False, False, True)),
        (("", "dont_update=5", ""), 5, (True, False, True)),
        (("", "dont_update=5", ""), 6, (True, True, True)),
        (("", "burnin_update=2", ""), 5, (True, False, True)),
        (("", "burnin_update=2", ""), 6, (True, True, True)),
        (("", "train_only_bn=1", ""), 1, (False, False, True)),
        (("", "learning_rate=0", ""), 1, (True, False, True)),
    ],
)
def test_which_layers_learn(options: tuple[str, ...], first: int, learns: tuple[bool, ...]) -> None:
    layers = [f"{CONV}{each}\n" for each in options]
    changed, _ = trained(network(*layers, net="burn_in=3\n"), first=first)
    for index, does in enumerate(learns):
        expected = STATISTICS | (PARAMETERS if does else set())
        assert of_layer(changed, index) == expected, index


def test_pjreddies_stopbackward_is_for_ever() -> None:
    model = network(CONV, f"{CONV}stopbackward=5\n", CONV, dialect="pjreddie")
    changed, _ = trained(model, first=6)
    assert [of_layer(changed, index) >= PARAMETERS for index in range(3)] == [False, False, True]


def test_frozen_layers_keep_their_statistics_too() -> None:
    changed, solver = trained(network(CONV, CONV, CONV), freeze=2)
    assert not of_layer(changed, 0) | of_layer(changed, 1)
    assert of_layer(changed, 2) == PARAMETERS | STATISTICS
    assert not solver.network.layers[0].training
    with pytest.raises(UsageError, match="no layer is left to train"):
        Solver(network(CONV, CONV), freeze=2)
    with pytest.raises(UsageError, match="freeze=3: the network has 2 layers"):
        Solver(network(CONV, CONV), freeze=3)


def test_a_factor_of_the_learning_rate() -> None:
    plain, slow = network(CONV), network(f"{CONV}learning_rate=0.1\n")
    start = plain.layers[0].get_parameter("conv.weight").detach().clone()
    steps = []
    for model in (plain, slow):
        trained(model)
        steps.append(model.layers[0].get_parameter("conv.weight").detach() - start)
    torch.testing.assert_close(steps[1], steps[0] / 10, atol=1e-7, rtol=1e-4)


def test_decay_is_for_weights_only() -> None:
    model = network("[convolutional]\nbatch_normalize=1\nfilters=2\n", net="decay=0.5\n")
    solver = Solver(model, as_darknet=True)
    solver.begin()
    values = [model.layers[0].get_parameter(name) for name in ("conv.weight", "bn.weight")]
    before = [value.detach().clone() for value in values]
    solver.step(1)  # without gradients Darknet still decays
    torch.testing.assert_close(values[0].detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(values[1], before[1])


def test_without_gradient_nothing_decays() -> None:
    changed, _ = trained(network(f"{CONV}stopbackward=1\n", CONV, net="decay=0.5\n"))
    assert of_layer(changed, 0) == STATISTICS


@pytest.mark.parametrize(
    ("dialect", "net", "layer"), [("alexeyab", "", "clip=0.01\n"), ("pjreddie", "clip=0.01\n", "")]
)
def test_clip_bounds_the_weights(dialect: str, net: str, layer: str) -> None:
    model = network(CONV + layer, net=net, dialect=dialect)
    trained(model)
    values = model.layers[0].state_dict()
    assert float(values["conv.weight"].abs().max()) == pytest.approx(0.01)
    assert float(values["bn.weight"].abs().max()) > 0.1


@pytest.mark.parametrize(("dialect", "net"), [("alexeyab", ""), ("pjreddie", "clip=0.01\n")])
def test_clip_is_for_convolutions_as_in_darknet(dialect: str, net: str) -> None:
    layer = "[connected]\noutput=3\n" + ("" if net else "clip=0.01\n")
    model = network(layer, net=net, dialect=dialect)
    trained(model)
    assert float(model.layers[0].get_parameter("fc.weight").detach().abs().max()) > 0.1


def test_alexeyabs_code_forgets_connected_layers() -> None:
    layers = (CONV, "[connected]\noutput=3\n")
    assert {"fc.weight", "fc.bias"} <= of_layer(trained(network(*layers))[0], 1)
    assert not of_layer(trained(network(*layers), as_darknet=True)[0], 1)
    changed, _ = trained(network(*layers, dialect="pjreddie"), as_darknet=True)
    assert of_layer(changed, 1) == {"fc.weight", "fc.bias"}


def test_shared_weights_are_trained_once() -> None:
    shared = "[convolutional]\nbatch_normalize=1\nfilters=2\nshare_index=0\n"
    model = network("[convolutional]\nbatch_normalize=1\nfilters=2\n", shared)
    changed, solver = trained(model)
    assert of_layer(changed, 0) == of_layer(changed, 1) == PARAMETERS | STATISTICS
    assert sum(len(group["params"]) for group in solver.optimizer.param_groups) == 3


def test_ema_begins_at_half_of_the_batches() -> None:
    model = network(CONV, net="ema_alpha=0.75\n")
    solver = Solver(model)
    weight = model.layers[0].get_parameter("conv.weight")
    mean = model.layers[0].get_buffer("bn.running_mean")
    for batch, value in ((3, 0.0), (4, 4.0), (5, 8.0)):
        with torch.no_grad():
            weight.fill_(value)
            mean.fill_(value)
        assert solver.averaged() is (model if batch < 5 else solver.ema.module)
        solver.step(batch)
    average = solver.averaged()
    assert average.layers[0].get_parameter("conv.weight").unique().tolist() == [5.0]
    assert average.layers[0].get_buffer("bn.running_mean").unique().tolist() == [5.0]
    assert not average.training
    assert Solver(model, ema_alpha=0).ema is None
    with pytest.raises(UsageError, match=r"must be in 0\.\.1"):
        Solver(model, ema_alpha=2)


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_adam_counts_as_the_fork_does(dialect: str) -> None:
    """The first of Adam's steps is as long as the rate; AlexeyAB's only if no batch was before."""
    model = network("[convolutional]\nfilters=1\n", net="adam=1\n", dialect=dialect)
    weight = model.layers[0].get_parameter("conv.weight")
    before = weight.detach().clone()
    trained(model, first=100)
    step = float((weight - before).detach().abs().max())
    if dialect == "pjreddie":
        assert step == pytest.approx(0.1, rel=1e-3)
    else:  # m = 0.1 g, v = 0.001 g^2, hardly corrected
        assert step == pytest.approx(0.1 * 0.1 / (0.001 / (1 - 0.999**100)) ** 0.5, rel=1e-3)


def test_batches_that_are_too_small() -> None:
    with pytest.raises(UsageError, match=r"<cfg>:1: \[net\]: batch=4: must be at least subdiv"):
        Solver(network(CONV, net="subdivisions=8\n"))
    with pytest.raises(UsageError, match="batch=0: must be at least 1"):
        Solver(network(CONV), batch=0)


def test_a_policy_of_the_other_fork_is_a_warning() -> None:
    with pytest.warns(DarknetWarning, match="policy=sgdr: pjreddie does not know it and keeps the"):
        Solver(network(CONV, net="policy=sgdr\n", dialect="pjreddie"))


def test_float16_with_a_scaler() -> None:
    """A step whose gradients overflow is left out, and the scale is lowered."""
    model = network(CONV)
    before = copy.deepcopy(model.state_dict())
    solver = Solver(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    solver.begin()
    output = model(torch.full((4, 2, 8, 8), torch.inf))
    scaler.scale(solver.scaled(output.sum())).backward()
    solver.step(1, scaler)
    assert torch.equal(before["layers.0.conv.weight"], model.state_dict()["layers.0.conv.weight"])
    assert scaler.get_scale() == 2.0


@pytest.mark.parametrize("adam", [False, True])
def test_batches_of_several_sizes_are_those_of_darknet(adam: bool) -> None:
    """Momentum is of sums of gradients, and each step divides it by the images of its batch."""
    options = f"decay=.3\nmomentum=.8\nadam={int(adam)}\n"
    model = network("[convolutional]\nfilters=2\n", net=options)
    solver, weight = Solver(model), model.layers[0].get_parameter("conv.weight")
    wanted = weight.detach().double()
    update, square = torch.zeros_like(wanted), torch.zeros_like(wanted)
    random = torch.Generator().manual_seed(3)
    for number, images in enumerate((4, 4, 10, 7, 4), 1):
        gradient = torch.randn(images, *weight.shape, generator=random)
        solver.begin()
        solver.scaled((gradient * weight).sum()).backward()
        solver.step(number, size=images / 4)
        change = -gradient.sum(dim=0).double() - 0.3 * images * wanted
        if adam:
            update = 0.9 * update + 0.1 * change
            square = 0.999 * square + 0.001 * change**2
            mean, spread = update / (1 - 0.9**number), square / (1 - 0.999**number)
            wanted = wanted + 0.1 * mean / (spread.sqrt() + 1e-6)
        else:
            update = 0.8 * update + change
            wanted = wanted + 0.1 / images * update
        torch.testing.assert_close(weight.detach().double(), wanted, atol=1e-6, rtol=1e-5)
