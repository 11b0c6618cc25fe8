"""Hints: what Darknet calls the same thing, and never what computes another."""

import pytest
import torch
import torch.nn.functional as F

from darknet_torch.layers.activation import activate
from darknet_torch.layers.registry import registered
from darknet_torch.parsing.dialect import ALEXEYAB, DIALECTS, PJREDDIE
from darknet_torch.parsing.hints import (
    ACTIVATIONS,
    OPTIONS,
    SECTIONS,
    UNKNOWN,
    activation_hint,
    option_hint,
    section_hint,
    word_hint,
)

KNOWN = ALEXEYAB.activations


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("silu", "Darknet's name is swish"),
        ("SiLU", "Darknet's name is swish"),
        ("sigmoid", "Darknet's name is logistic"),
        ("identity", "Darknet's name is linear"),
        ("Hardtanh", "Darknet's name is hardtan"),
        ("LeakyReLU(0.1)", "Darknet's name is leaky (slope 0.1) or relie (0.01)"),
        ("hardswish", "Darknet has no such function"),
        ("h-swish", "Darknet has no such function"),
        ("hard_swish", "Darknet has no such function"),
        ("prelu", "Darknet has no such function"),
        ("softplus", "Darknet has no such function"),
        ("Leaky", "unknown; did you mean leaky?"),
        ("leeky", "unknown; did you mean leaky?"),
        ("leaky#c", "unknown; did you mean leaky?"),
        ("re_lu", "unknown; did you mean relu?"),
        ("rellu", "unknown; did you mean relu?"),
        ("logisitc", "unknown; did you mean logistic?"),
    ],
)
def test_activations(text: str, hint: str) -> None:
    assert activation_hint(text, KNOWN, DIALECTS) == hint


@pytest.mark.parametrize("text", ["relu20", "relu1", "lelu", "xelu", "qqqqqq", "elu2", "", "lu"])
def test_no_hint_for_what_may_be_another_function(text: str) -> None:
    hint = activation_hint(text, KNOWN, DIALECTS)
    assert hint.startswith(("unknown; there are elu, gelu, hard_mish", "Darknet has no such"))


def test_a_name_that_the_dialect_lacks() -> None:
    hint = activation_hint("silu", PJREDDIE.activations, DIALECTS)
    assert hint == "Darknet's name is swish, which dialect alexeyab or hank-ai knows"


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("silu", F.silu),
        ("sigmoid", torch.sigmoid),
        ("identity", lambda x: x),
        ("hardtanh", F.hardtanh),
        ("gelutanh", lambda x: F.gelu(x, approximate="tanh")),
    ],
)
def test_the_names_mean_the_same_function(name: str, theirs) -> None:
    x = torch.linspace(-4, 4, 81)
    assert torch.allclose(activate(ACTIVATIONS[name], x), theirs(x), atol=2e-4)


def test_the_tables_are_of_foreign_words_and_lead_to_known_ones() -> None:
    everything = {name for dialect in DIALECTS.values() for name in dialect.activations}
    assert set(ACTIVATIONS.values()) <= everything
    assert not (set(ACTIVATIONS) | UNKNOWN) & everything
    assert set(SECTIONS.values()) <= set(registered())
    assert not set(SECTIONS) & set(registered())
    assert not set(OPTIONS) & set(OPTIONS.values())


@pytest.mark.parametrize(
    ("key", "meant"),
    [("kernel_size", "size"), ("out_channels", "filters"), ("bn", "batch_normalize")],
)
def test_options(key: str, meant: str) -> None:
    keys = ["size", "filters", "batch_normalize", "stride"]
    assert option_hint(key, keys) == f"; did you mean {meant}?"
    assert option_hint(key, ["stride"]) == ""
    assert option_hint("strides", keys) == option_hint("stirde", keys) == "; did you mean stride?"
    assert option_hint("stride1", keys) == "; did you mean stride?"  # a line without its =
    assert option_hint("qqqq", keys) == ""


def test_sections() -> None:
    names = registered()
    assert section_hint("Conv2d", names) == "; did you mean [convolutional]?"
    assert section_hint("concat", names) == "; did you mean [route]?"
    assert section_hint("yollo", names) == "; did you mean [yolo]?"
    assert section_hint("focus", names) == section_hint("spp", names) == ""


def test_words() -> None:
    kinds = ["mse", "iou", "giou", "diou", "ciou"]
    assert word_hint("GIoU", kinds) == "; did you mean giou?"
    assert word_hint("siou", kinds) == word_hint("eiou", kinds) == word_hint("l1", kinds) == ""
