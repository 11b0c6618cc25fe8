"""Darknet's own batch norm; its numbers are compared in test_answer_keys."""

import copy

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.training.batch_norm import darknet_batch_norm, kernels_of

CFG = "[net]\nwidth=8\nheight=8\nchannels=2\n[batchnorm]\n"


def network(dialect: str = "alexeyab") -> dt.Network:
    return dt.build(CFG, dialect=dialect).double().train()


def test_it_divides_by_the_unbiased_variance_and_keeps_it() -> None:
    model = network()
    x = 3 * torch.randn(4, 2, 8, 8, dtype=torch.float64) + 1
    with darknet_batch_norm(model):
        y = model(x)
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=1)
    torch.testing.assert_close(y, (x - mean) / (variance + 1e-5).sqrt())
    buffers = dict(model.layers[0].named_buffers())
    torch.testing.assert_close(buffers["running_mean"], 0.01 * mean.flatten())
    torch.testing.assert_close(buffers["running_var"], 0.99 + 0.01 * variance.flatten())


def test_epsilon_is_where_the_fork_has_it() -> None:
    x = 1e-4 * torch.randn(4, 2, 8, 8, dtype=torch.float64)
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True)
    for dialect, deviation in (
        ("pjreddie", variance.sqrt() + 1e-6),
        ("alexeyab", (variance + 1e-5).sqrt()),
    ):
        model = network(dialect)
        with darknet_batch_norm(model):
            torch.testing.assert_close(model(x), (x - mean) / deviation)


def test_its_gradient_is_nearly_the_derivative() -> None:
    """N in place of N - 1, and another epsilon, hardly matter where N is large."""
    x = torch.randn(8, 2, 8, 8, dtype=torch.float64)
    weight = torch.randn_like(x)
    gradients = []
    for darknet in (True, False):
        model, raw = network(), x.clone().requires_grad_()
        with darknet_batch_norm(model) if darknet else torch.enable_grad():
            (model(raw) * weight).sum().backward()
        norm = model.layers[0]
        gradients.append((raw.grad, norm.weight.grad, norm.bias.grad))
    for ours, theirs in zip(*gradients, strict=True):
        assert float((ours - theirs).abs().max()) < 0.01 * float(theirs.abs().max())


def test_what_is_outside_of_the_block_or_in_eval_mode_is_torchs() -> None:
    model, x = network(), torch.randn(4, 2, 8, 8, dtype=torch.float64)
    names = list(model.state_dict())
    expected = copy.deepcopy(model)(x)
    frozen = copy.deepcopy(model).eval()(x)
    with darknet_batch_norm(model):
        assert list(model.state_dict()) == names
        assert not torch.equal(copy.deepcopy(model)(x), expected)
        assert torch.equal(copy.deepcopy(model).eval()(x), frozen)
    assert torch.equal(model(x), expected)


def test_a_copy_has_its_own_statistics() -> None:
    """Such as the average of the weights."""
    model, x = network(), torch.randn(4, 2, 8, 8, dtype=torch.float64)
    with darknet_batch_norm(model):
        copy.deepcopy(model)(x)
    assert not dict(model.named_buffers())["layers.0.running_mean"].any()


def test_defects_of_the_code_for_processors() -> None:
    assert kernels_of(PJREDDIE, cpu_defects=True) == kernels_of(PJREDDIE)
    kernels = kernels_of(ALEXEYAB, cpu_defects=True)
    assert (kernels.momentum, kernels.biases_learn) == (0.1, False)
    model = network()
    with darknet_batch_norm(model, kernels):
        model(torch.randn(4, 2, 8, 8, dtype=torch.float64)).sum().backward()
    assert model.layers[0].bias.grad is None
    assert model.layers[0].weight.grad is not None


def test_one_value_has_no_variance() -> None:
    model = dt.build("[net]\nwidth=1\nheight=1\nchannels=2\n[batchnorm]\n").train()
    with darknet_batch_norm(model), pytest.raises(UsageError, match="more than one value"):
        model(torch.zeros(1, 2, 1, 1))


def test_bfloat16_is_normalised_in_float32() -> None:
    model, x = network().float(), torch.randn(4, 2, 8, 8)
    with darknet_batch_norm(model):
        exact, rounded = model(x), model(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
