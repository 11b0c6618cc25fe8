"""Losses of layers without boxes, and of whole networks; answer keys are in test_answer_keys."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.layers.truth import NO_LABEL, LossContext, Truth
from darknet_torch.training.losses import LossInputs, layer_losses, network_cost, total_loss

CONTEXT = LossContext((1, 1))
TREE = "a -1\nb -1\nc 0\nd 0\ne 0\n"


def vector(*layers: str, n: int = 4, dialect: str = "pjreddie") -> dt.Network:
    return dt.build(f"[net]\ninputs={n}\n" + "".join(layers), dialect=dialect).train()


def truth(values: Tensor) -> Truth:
    empty = Truth.empty(len(values))
    return Truth(empty.boxes, empty.class_id, empty.valid, empty.has_box, values)


def gradient(model: dt.Network, x: Tensor, values: Tensor) -> tuple[Tensor, float]:
    """The gradient with respect to the input, and the network's cost."""
    x = x.clone().requires_grad_()
    losses = layer_losses(model, x, truth(values), CONTEXT)
    total_loss(losses).backward()
    assert x.grad is not None
    return x.grad, float(network_cost(losses))


X = torch.tensor([[0.5, -2.0, 3.0, 0.25]], dtype=torch.float64)
T = torch.tensor([[0.0, 1.0, 0.5, 0.0]], dtype=torch.float64)
D = X - T


@pytest.mark.parametrize(
    ("cost", "dialect", "expected"),
    [
        ("type=sse", "pjreddie", D),
        ("type=sse\nscale=3", "alexeyab", 3 * D),
        ("type=L1", "pjreddie", D.sign()),
        ("type=L1", "alexeyab", D),  # no such type: squares
        ("type=smooth", "alexeyab", D.clamp(-1, 1)),
        ("type=smooth", "pjreddie", torch.tensor([[0.5, 1.0, -1.0, 0.25]]).double()),
        ("type=wgan", "pjreddie", torch.tensor([[1.0, -1.0, -1.0, 1.0]]).double()),
        ("type=seg\nnoobj=.1", "pjreddie", D * torch.tensor([[0.1, 1, 1, 0.1]]).double()),
        ("type=sse\nthresh=8", "pjreddie", D * torch.tensor([[0, 1, 1, 0]]).double()),
        ("type=sse\nsmooth=.2", "pjreddie", X - (0.8 * T + 0.05)),
    ],
)
def test_cost(cost: str, dialect: str, expected: Tensor) -> None:
    found, _ = gradient(vector(f"[cost]\n{cost}\n", dialect=dialect), X, T)
    torch.testing.assert_close(found, expected)


def test_masked_cost() -> None:
    values = torch.tensor([[NO_LABEL, 1.0, NO_LABEL, 0.0]], dtype=torch.float64)
    found, cost = gradient(vector("[cost]\ntype=masked\n"), X, values)
    torch.testing.assert_close(found, (X - values) * (values != NO_LABEL))
    assert cost == pytest.approx(9 + 0.0625)


@pytest.mark.parametrize("layer", ["[logistic]\n", "[softmax]\n", "[softmax]\ngroups=2\n"])
def test_gradcheck(layer: str) -> None:
    """Cross-entropies are true gradients where the truth of each group sums to 1."""
    model = vector(layer)
    values = (
        torch.tensor([[1.0, 0.0, 0.0, 1.0]]) if "2" in layer else torch.tensor([[0.0, 1, 0, 0]])
    )

    def total(x: Tensor) -> Tensor:
        return total_loss(layer_losses(model, x, truth(values), CONTEXT))

    assert torch.autograd.gradcheck(total, X.clone().requires_grad_())


def test_temperature_is_no_factor_of_the_gradient() -> None:
    found, _ = gradient(vector("[softmax]\ntemperature=2\n"), X, T)
    torch.testing.assert_close(found, torch.softmax(X / 2, 1) - T)


def test_a_cost_behind_a_softmax_adds_to_its_gradient() -> None:
    difference = torch.softmax(X, 1) - T
    for first, factor in (("[softmax]\n", 2), ("[softmax]\nnoloss=1\n", 1)):
        found, _ = gradient(vector(first, "[cost]\n"), X, T)
        torch.testing.assert_close(found, factor * difference)


def test_groups_of_a_tree_without_label(tmp_path: Path) -> None:
    (tmp_path / "my.tree").write_text(TREE)
    (tmp_path / "my.cfg").write_text("[net]\ninputs=5\n[softmax]\ntree=my.tree\n")
    model = dt.build(tmp_path / "my.cfg").train()
    x = torch.randn(1, 5, dtype=torch.float64)
    values = torch.tensor([[0.0, 1.0, NO_LABEL, NO_LABEL, NO_LABEL]]).double()
    found, cost = gradient(model, x, values)
    probabilities = torch.softmax(x[:, :2], 1)
    torch.testing.assert_close(found[:, :2], probabilities - values[:, :2])
    assert not found[:, 2:].any()
    assert cost == pytest.approx(-float(probabilities[0, 1].log()))


def test_a_certain_mistake_costs_a_finite_number() -> None:
    _, cost = gradient(
        vector("[softmax]\n", n=2), torch.tensor([[0.0, 500.0]]), torch.tensor([[1.0, 0.0]])
    )
    assert 80 < cost < 100


def test_bfloat16_is_compared_in_float32() -> None:
    model = vector("[softmax]\n")
    losses = layer_losses(model, X.bfloat16(), truth(T.float()), CONTEXT)
    assert total_loss(losses).dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [(None, "this has boxes only"), (torch.zeros(1, 3), r"\(1, 3\) values; .* needs \(1, 4\)")],
)
def test_ground_truth_of_another_kind(values: Tensor | None, message: str) -> None:
    other = Truth.empty(1) if values is None else truth(values)
    with pytest.raises(UsageError, match=message):
        layer_losses(vector("[softmax]\n"), X, other, CONTEXT)


def test_a_network_without_loss() -> None:
    with pytest.raises(UsageError, match="cannot be trained: no layer has a loss"):
        LossInputs(vector("[connected]\n"))


def iseg_delta(raw: Tensor, masks: Tensor, class_id: Tensor, classes: int) -> Tensor:
    """The rule for one image, pixel by pixel."""
    delta = torch.cat((-torch.sigmoid(raw[:classes]), -0.1 * raw[classes:]))
    means = [raw[classes:, mask > 0].mean(dim=1) for mask in masks]
    for i, mask in enumerate(masks):
        for y, x in mask.nonzero().tolist():
            delta[class_id[i], y, x] = mask[y, x] - torch.sigmoid(raw[class_id[i], y, x])
            for j, mean in enumerate(means):
                pull = torch.where(mean - raw[classes:, y, x] < 0, -0.1, 0.1)
                delta[classes:, y, x] += pull if i == j else -pull
    delta[classes:] *= 0.01
    return delta


@pytest.mark.parametrize("classes", [[1, 0], [1, 1]])
def test_iseg(classes: list[int]) -> None:
    model = dt.build(
        "[net]\nwidth=5\nheight=4\nchannels=5\n[iseg]\nclasses=2\nids=3\n", dialect="pjreddie"
    ).train()
    torch.manual_seed(0)
    raw = torch.randn(1, 5, 4, 5, dtype=torch.float64)
    # some overlap, in parts of pixels; the last is padding, one of no class
    masks = torch.rand(1, 4, 4, 5) * (torch.rand(1, 4, 4, 5) < 0.5)
    class_id = torch.tensor([[*classes, 7, 1]])
    assert (masks[0, :2] > 0).all(dim=0).any()
    valid = torch.tensor([[True, True, True, False]])
    known = Truth(torch.zeros(1, 4, 4), class_id, valid, valid, None, masks)
    x = raw.clone().requires_grad_()
    losses = layer_losses(model, x, known, CONTEXT)
    total_loss(losses).backward()
    expected = iseg_delta(raw[0], masks[0, :2].double(), class_id[0], 2)
    torch.testing.assert_close(x.grad[0], -expected)
    assert float(network_cost(losses)) == pytest.approx(float(expected.square().sum()))
    with pytest.raises(UsageError, match=r"\[iseg\] needs masks of objects, \(4, 5\) pixels"):
        layer_losses(model, x, Truth.empty(1), CONTEXT)


def test_a_layer_that_is_the_truth_of_those_behind_it() -> None:
    model = vector(
        "[connected]\noutput=4\nactivation=linear\n",
        "[logistic]\ntruth=1\n",
        "[connected]\noutput=4\nactivation=linear\n",
        "[cost]\n",
    )
    x, values = torch.randn(3, 4), torch.rand(3, 4)
    losses = layer_losses(model, x, truth(values), CONTEXT)
    first = model.layers[0](x).flatten(1)
    expected = -(values * first.sigmoid().log() + (1 - values) * (1 - first.sigmoid()).log()).sum()
    torch.testing.assert_close(losses[1].cost, expected.detach())  # its own: the data set's
    output = first.sigmoid()
    difference = output.detach() - model.layers[2](output).flatten(1)
    torch.testing.assert_close(losses[3].cost, difference.square().sum().detach())
    losses[3].total.backward()
    weight = next(model.layers[2].parameters())
    (of_weight,) = torch.autograd.grad(difference.square().sum() / 2, [weight])
    torch.testing.assert_close(weight.grad, of_weight)
