"""Doubts about numbers and lists of a cfg: one warning for each kind, with its lines."""

import warnings

import pytest

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import CfgError, DarknetWarning
from darknet_torch.network.editing import cut, with_classes, with_options

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=linear\n"
HEAD = "[convolutional]\nfilters=14\nactivation=linear\n[yolo]\nclasses=2\n"


def doubts(text: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dt.plan(text)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("batch_normalize=true", "batch_normalize=true: is a word, not a number; read as 0"),
        ("batch_normalize=yes", "batch_normalize=yes: is a word, not a number; read as 0"),
        ("stride=1,5", "stride=1,5: is not a number of this kind; read as 1"),
        ("groups=1e3", "groups=1e3: is not a number of this kind; read as 1"),
    ],
)
def test_what_is_no_number(line: str, what: str) -> None:
    assert doubts(f"{NET}{CONV}{line}\n") == [f"<cfg>:10: [convolutional] {what}"]


@pytest.mark.parametrize("dash", "\u2013\u2014\u2212\u2010")
def test_a_typographic_dash_is_no_minus(dash: str) -> None:
    (said,) = doubts(f"{NET}{CONV}[route]\nlayers={dash}1\n")
    assert said == (
        f"<cfg>:11: [route] layers={dash}1: begins with a typographic dash, which is no minus;"
        " read as 0"
    )


@pytest.mark.parametrize("value", ["1", "+1", " 1 ", "1#one", "1 # one", "1x", "1.0", "1;"])
def test_what_is_a_number(value: str) -> None:
    assert not doubts(f"{NET}{CONV}stride={value}\n")


@pytest.mark.parametrize("value", [".1", "1.", "1e-3", "0.1#x", "-.5"])
def test_what_is_a_real_number(value: str) -> None:
    assert not doubts(f"{NET}learning_rate={value}\n{CONV}")
    assert doubts(f"{NET}learning_rate=0,1\n{CONV}")


def test_one_warning_for_each_kind() -> None:
    layers = f"{CONV}colour=red\nbatch_normalize=on\n" * 32
    unknown, word = doubts(f"{NET}{layers}")
    for said, first in ((unknown, 10), (word, 11)):
        lines = ", ".join(str(first + 7 * n) for n in range(1, 11))
        assert said.startswith(f"<cfg>:{first}: [convolutional] ")
        assert said.endswith(f" (so too lines {lines} and 21 more)")
    assert "colour: unknown option" in unknown and "batch_normalize=on: is a word" in word
    assert doubts(f"{NET}{CONV}colour=red\n{CONV}colour=red\n")[0].endswith("(so too line 16)")


def test_they_are_told_before_an_error() -> None:
    with pytest.raises(CfgError), pytest.warns(match="bathc: unknown option; did you mean batch"):
        dt.plan(f"{NET}bathc=1\n{CONV}activation=linear\n[shortcut]\nfrom=7\n")


@pytest.mark.parametrize(
    ("anchors", "found"),
    [("1.5, 2.6", 2), ("10,14 20,30", 3), ("", 0), ("1,2,3,4", 4), ("1,2,3,4,5,6", 6)],
)
def test_anchors(anchors: str, found: int) -> None:
    said = doubts(f"{NET}{HEAD}num=2\nanchors={anchors}\n")
    if found >= 4:
        assert not said
    else:
        what = f"{found} numbers, 4 expected; two for each of num anchors; Darknet takes 0.5"
        assert len(said) == (1 if anchors else 2) and what in said[-1]


@pytest.mark.parametrize("line", ["classes=", "classes", " classes = "])
def test_an_option_without_a_value(line: str) -> None:
    what = "<cfg>:9: [yolo] classes: no value behind it; as if the line were not there"
    text = f"{NET}{HEAD.replace('filters=14', 'filters=25')}".replace("classes=2", line)
    assert what in doubts(f"{text}anchors=1,2\n")
    assert dt.plan(f"{NET}[maxpool]\nstride=\nstride=2\n")[0].layer.stride == 2


def test_a_list_with_an_empty_entry() -> None:
    (said,) = doubts(f"{NET}{CONV}{CONV}[route]\nlayers=-1,-2,\n")
    assert said.endswith(
        "[route] layers=-1,-2,: nothing before or behind a comma, which is read as 0"
    )
    assert len(dt.plan(f"{NET}{CONV}{CONV}[route]\nlayers=-1,-2,\n")[2].inputs) == 3


def test_a_line_is_named_once() -> None:
    said, _ = doubts(f"{NET}{HEAD}num=2\nanchors=(1,(2,(3,(4\n")
    assert said.endswith("read as 0")


@pytest.mark.parametrize(
    ("head", "anchors", "what"),
    [
        ("yolo", ".7,1.1, .9,1.4", "in pixels of the network's input, and all of these are below"),
        ("yolo", ".1,.2, 3,4", None),
        ("region", "1.1,2.2, 3.3,4.4", None),
        ("region", "10,14, 116,90", "anchors are in cells (32 pixels, mostly), and one has 116"),
    ],
)
def test_the_unit_of_anchors(head: str, anchors: str, what: str | None) -> None:
    text = f"{NET}{HEAD}".replace("yolo", head)
    said = doubts(f"{text}num=2\nanchors={anchors}\n")
    assert [what in each for each in said] == [True] if what else not said


def test_networks_made_from_a_network_do_not_repeat_its_doubts() -> None:
    with pytest.warns(DarknetWarning, match="all of these are below two"):
        network = dt.build(f"{NET}{HEAD}num=2\nanchors=.7,1.1, .9,1.4\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = with_options(with_classes(network, 3), {"max_batches": 10})
        cut(other, 2)
    with pytest.warns(DarknetWarning, match="all of these are below two"):
        with_options(other, {"yolo.anchors": ".1,.1, .2,.2"})


def test_steps_and_scales() -> None:
    net = f"{NET}policy=steps\n"
    (said,) = doubts(f"{net}steps=10,20,30\nscales=.1,.1\n{CONV}")
    assert said == "<cfg>:7: [net] scales=.1,.1: 2 numbers, 3 expected; one for each of steps"
    assert "steps=: 0 numbers, 1 expected; policy=steps needs one" in doubts(f"{net}{CONV}")[0]
    assert not doubts(f"{NET}steps=10,20\n{CONV}")
    assert not doubts(f"{net}steps=10,20,\nscales=.1,.1,\n{CONV}")


def test_strict_mode_and_the_command(tmp_path, capsys) -> None:
    path = tmp_path / "a.cfg"
    path.write_text(f"{NET}{CONV}batch_normalize=true\n")
    with pytest.raises(CfgError, match="is a word, not a number"):
        dt.plan(path, mode="strict")
    assert main(["check", str(path)]) == 1
    assert "batch_normalize=true: is a word" in capsys.readouterr().out


def test_counters_per_class() -> None:
    head = f"{NET}{HEAD}num=2\nanchors=1,2,3,4\n"
    (said,) = doubts(f"{head}counters_per_class=5\n")
    assert said.endswith("counters_per_class=5: 1 numbers, 2 expected; one for each class")
    assert not doubts(f"{head}counters_per_class=5,6\n")
