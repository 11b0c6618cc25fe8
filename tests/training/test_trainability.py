"""Short trainings of small networks of every kind; `tools/check --training` does all cfgs."""

from functools import partial

import pytest
import shapes
import torch
import trainings

import darknet_torch as dt
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network import Network

CONV = "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\npad=1\nactivation=leaky\n"
END = "[avgpool]\n[softmax]\n[cost]\n"
LAYERS = {
    "xnor": "[convolutional]\nxnor=1\nbin_output=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n",
    "local": "[local]\nfilters=4\nsize=3\npad=1\nactivation=leaky\n",
    "crnn": "[crnn]\nbatch_normalize=1\npad=1\noutput=4\nhidden=4\nactivation=leaky\n",
    "conv_lstm": "[conv_lstm]\nbatch_normalize=1\npad=1\noutput=4\npeephole=1\n",
    "scale_channels": "[avgpool]\n[convolutional]\nfilters=4\nactivation=logistic\n"
    "[scale_channels]\nfrom=-3\n",
    "sam": "[convolutional]\nfilters=4\nactivation=logistic\n[sam]\nfrom=-2\n",
    "weighted shortcut": CONV.format(4)
    + "[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=softmax\n",
    "implicit": "[implicit]\nfilters=4\n[scale_channels]\nfrom=-2\n",
    "antialiasing": CONV.format(4) + "stride=2\nantialiasing=1\n",
    "normalization": "[normalization]\nsize=5\n",
    "reorg": "[reorg]\nstride=2\n[upsample]\nstride=2\n",
    "dropout": "[dropout]\ndropblock=1\ndropblock_size_abs=2\n",
    "connected": "[connected]\noutput=5\nbatch_normalize=1\nactivation=mish\n",
    "lstm": "[lstm]\noutput=5\nbatch_normalize=1\n",
    "deconvolutional": "[deconvolutional]\nfilters=4\nsize=2\nstride=2\nactivation=relu\n",
    "l2norm": "[l2norm]\n",
    "crnn of pjreddie": "[crnn]\noutput_filters=4\nhidden_filters=4\nactivation=relu\n",
}
"""Layers in the middle of a classifier."""
PJREDDIE = ("deconvolutional", "l2norm", "crnn of pjreddie")


def classifier(name: str) -> Network:
    dialect = "pjreddie" if name in PJREDDIE else "alexeyab"
    text = "[net]\nbatch=4\nwidth=8\nheight=8\nchannels=3\nlearning_rate=.05\nmax_batches=40\n"
    vector = name in ("connected", "lstm")
    last = "[connected]\noutput=3\nactivation=linear\n[softmax]\n" if vector else (
        "[convolutional]\nfilters=3\nactivation=linear\n" + END
    )  # fmt: skip
    torch.manual_seed(0)
    return dt.build(text + CONV.format(4) + LAYERS[name] + last, dialect=dialect)


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_is_learnt_through_every_layer(name: str) -> None:
    network = classifier(name)
    training = trainings.Training(network, batch=4)
    losses = []
    for number in range(1, 31):
        loss, bad, none = training.step(number)
        assert not bad
        assert not none
        losses.append(sum(loss.parts.values()))
    assert losses[-1] < 0.8 * losses[0], losses


def test_gradients_of_binary_convolutions_are_those_of_the_signs() -> None:
    """Handed on to the real weights, and to inputs between -1 and 1."""
    dialect = dt.plan("[net]\ninputs=1\n[softmax]\n", dialect="alexeyab").context.dialect
    block = ConvBlock(2, 3, 1, dialect=dialect, activation="linear", xnor=True).train()
    x = torch.tensor([0.5, -2.0, -0.5, 3.0]).view(1, 2, 1, 2).requires_grad_()
    block(x).sum().backward()
    signs = torch.where(x > 0, 1.0, -1.0).detach()
    weight = block.conv.weight.detach()
    binary = weight.abs().mean(dim=1, keepdim=True) * torch.where(weight > 0, 1.0, -1.0)
    assert x.grad is not None
    wanted = binary.sum(0).view(1, 2, 1, 1).expand(1, 2, 1, 2) * (x.detach().abs() < 1)
    torch.testing.assert_close(x.grad, wanted)
    assert block.conv.weight.grad is not None
    torch.testing.assert_close(
        block.conv.weight.grad, signs.sum(3).view(1, 2, 1, 1).expand(3, 2, 1, 1)
    )


def test_three_steps_and_back() -> None:
    """What the sweep does with every official cfg."""
    result = trainings.Result("shapes", "three steps")
    trainings.three_steps(partial(dt.build, shapes.DETECTOR), result)
    assert not result.failures
    assert not result.notes
