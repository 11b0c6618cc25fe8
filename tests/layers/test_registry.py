"""The registry of layer types: which class a section has in which fork."""

import pytest

from darknet_torch.errors import CfgError, UsageError
from darknet_torch.layers.convolutional import Convolutional
from darknet_torch.layers.registry import find, layer, registered
from darknet_torch.layers.shortcut import Shortcut, StridedShortcut
from darknet_torch.loading import plan
from darknet_torch.parsing.dialect import ALEXEYAB, HANK_AI, PJREDDIE
from darknet_torch.parsing.parser import Section

LAYER = "[net]\nwidth=8\nheight=8\nchannels=3\n"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[convolutoinal]", r"^<cfg>:5: \[convolutoinal\]: unknown section; did you mean \[conv"),
        ("[Convolutional]", r"^<cfg>:5: \[Convolutional\]: .*did you mean \[convolutional\]\?"),
        (
            "[convolutional]#first",
            r"^<cfg>:5: \[convolutional\]#first: nothing, not even a comment, may stand"
            r" behind the \]; did you mean \[convolutional\]\?",
        ),
        ("[convolutional", r"^<cfg>:5: \[convolutional: the \] is missing; did you mean \[conv"),
        ("[zzzzzzzzzz]", r"^<cfg>:5: \[zzzzzzzzzz\]: unknown section$"),
    ],
)
def test_unknown_section(header: str, message: str) -> None:
    for mode in ("strict", "normal", "darknet"):
        with pytest.raises(CfgError, match=message):
            plan(f"{LAYER}{header}\n", mode=mode)  # type: ignore[arg-type]


def test_section_of_another_fork() -> None:
    with pytest.raises(CfgError, match=r"pjreddie has no such section; dialect alexeyab or hank"):
        plan(f"{LAYER}[scale_channels]\nfrom=-1\n", dialect="pjreddie")
    with pytest.raises(CfgError, match=r"hank-ai has no such section; .*alexeyab"):
        plan(f"{LAYER}[reorg]\n", dialect="hank-ai")


def test_the_class_of_a_section() -> None:
    assert find(Section("conv"), PJREDDIE) is find(Section("convolutional"), HANK_AI)
    assert find(Section("conv"), PJREDDIE) is Convolutional
    assert find(Section("shortcut"), PJREDDIE) is StridedShortcut
    assert find(Section("shortcut"), ALEXEYAB) is find(Section("shortcut"), HANK_AI) is Shortcut


@pytest.mark.parametrize("only", [None, ALEXEYAB, PJREDDIE])
def test_a_name_is_registered_once(only: object) -> None:
    before = registered()
    with pytest.raises(UsageError, match=r"\[shortcut\] is already the layer type StridedShortcut"):
        layer("shortcut", only=only)(type("Other", (Convolutional,), {}))  # type: ignore[arg-type]
    assert registered() == before
