"""[net]: the first section, and the shape of the input."""

import pytest

from darknet_torch.errors import CfgError, ShapeError
from darknet_torch.loading import plan


@pytest.mark.parametrize("name", ["net", "network"])
def test_first_section(name: str) -> None:
    text = f"[{name}]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n"
    assert plan(text).input == (3, 8, 8)


@pytest.mark.parametrize("name", ["avgpool", "Net", "networks"])
def test_other_first_section(name: str) -> None:
    with pytest.raises(CfgError, match=r"^<cfg>:2: .*the first section must be \[net\]"):
        plan(f"\n[{name}]\n[net]\n")


@pytest.mark.parametrize("again", ["net", "network"])
def test_a_second_net_section(again: str) -> None:
    with pytest.raises(CfgError, match=rf"^<cfg>:6: \[{again}\]: only the first section may be"):
        plan(f"[net]\nwidth=8\nheight=8\nchannels=1\n[avgpool]\n[{again}]\nwidth=4\n")


def test_a_vector_as_input() -> None:
    assert plan("[net]\ninputs=7\n[softmax]\n").input == (7, 0, 0)
    assert plan("[net]\ninputs=7\nwidth=2\nheight=3\nchannels=4\n[softmax]\n").input == (4, 3, 2)


@pytest.mark.parametrize("size", ["", "width=2\nheight=3\n", "inputs=0\n"])
def test_no_input(size: str) -> None:
    message = r"^<cfg>:1: \[net\]: width, height and channels \(or inputs\) must be given$"
    with pytest.raises(ShapeError, match=message):
        plan(f"[net]\n{size}[softmax]\n")
