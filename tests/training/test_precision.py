"""The type of the activations: what is faster, and what a training began with."""

import pytest
import torch

from darknet_torch.distributed import Ranks
from darknet_torch.training import precision
from darknet_torch.training.precision import agreed_dtype, choose_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("faster", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_is_asked_what_is_faster(
    faster: bool, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "is_faster_than_float32", lambda _: faster)
    assert choose_dtype("auto", CPU) == chosen
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float32", CPU) == torch.float32


def test_a_training_goes_on_in_its_type(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "is_faster_than_float32", lambda _: True)
    assert agreed_dtype("auto", "float32", CPU, Ranks()) == torch.float32
    assert agreed_dtype("auto", "auto", CPU, Ranks()) == torch.bfloat16
    assert agreed_dtype("bfloat16", "float32", CPU, Ranks()) == torch.bfloat16


def test_ranks_agree(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Ranks, "gather", lambda *_: [b"bfloat16", b"float32"])
    assert agreed_dtype("auto", "bfloat16", CPU, Ranks(0, 2)) == torch.float32
