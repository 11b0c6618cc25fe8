"""Warnings point to the line that called the package; messages can always be printed."""

import sys
import warnings

import pytest

import darknet_torch as dt
from darknet_torch import errors
from darknet_torch.errors import DarknetError, DarknetWarning, warn

CFG = "[net]\nwidth=8\nheight=8\nchannels=1\nnonsense=1\n[avgpool]\n"


def lines(caught: list[warnings.WarningMessage]) -> list[tuple[str, int]]:
    return [(each.filename, each.lineno) for each in caught if each.category is DarknetWarning]


@pytest.fixture(params=["as here", "walking"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what this Python has, and by walking the frames as on Python 3.11."""
    if request.param == "walking":
        monkeypatch.setattr(sys, "version_info", (3, 11, 0))


@pytest.mark.usefixtures("python")
def test_a_warning_names_the_line_of_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        here = sys._getframe().f_lineno + 1
        dt.plan(CFG)
        dt.build(CFG)
    assert lines(caught) == [(__file__, here), (__file__, here + 1)]


@pytest.mark.usefixtures("python")
def test_at_the_outermost_frame_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every frame is the package's own, as in the command."""
    monkeypatch.setattr(errors, "_own_files", lambda: ("/", "<"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("doubtful")
    assert [str(each.message) for each in caught] == ["doubtful"]


def test_messages_can_be_printed() -> None:
    assert str(DarknetError("gr\udcff\xfc")) == "gr\\xff\xfc"
