"""Shares of several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.distributed import _output_as_errors, ranks, shares


@given(st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 9))
def test_shares(sizes, count):
    parts = shares(sizes, count)
    assert len(parts) == count
    assert sorted(index for part in parts for index in part) == list(range(len(sizes)))
    assert all(part == sorted(part) for part in parts)
    loads = [sum(max(1, sizes[index]) for index in part) for part in parts]
    assert max(loads) - min(loads) <= max([1, *sizes])  # no piece could move to the better


def test_one_large_image_and_many_small_ones():
    assert shares([1, 1, 900, 1, 1], 2) == [[2], [0, 1, 3, 4]]


def test_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert ranks() == (0, 1)


CLASSIFIER = """[net]
width=16
height=16
channels=3
[convolutional]
filters=3
size=16
stride=16
activation=linear
[avgpool]
[softmax]
"""


@pytest.fixture
def photos(small_network, tmp_path: Path) -> list[str]:
    """Images of various sizes, beside the small network."""
    dt.save(dt.build(CLASSIFIER), "classifier.weights")
    Path("classifier.cfg").write_text(CLASSIFIER)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        Image.new("RGB", (20 + 30 * number, 40), (number, 90, 30)).save(path)
    return list(map(str, paths))


@pytest.mark.parametrize(("verb", "name"), [("detect", "net"), ("classify", "classifier")])
def test_each_process_has_its_images(verb, name, photos, capsys, monkeypatch):
    """Together the processes do what one does, with the same names of files."""
    words = [verb, f"{name}.cfg", f"{name}.weights", *photos, "--json", "--device", "cpu"]
    words += ["--save", "txt", "--out", "all"] if verb == "detect" else []
    assert main(words) == 0
    alone = sorted(capsys.readouterr().out.splitlines())
    monkeypatch.setenv("WORLD_SIZE", "3")
    lines = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        assert main(["shared" if each == "all" else each for each in words]) == 0
        mine = capsys.readouterr().out.splitlines()
        assert 0 < len(mine) < len(photos)
        lines += mine
    assert sorted(lines) == alone
    assert len(lines) == len(photos)
    folders = [{path.name for path in Path(each).glob("*")} for each in ("all", "shared")]
    assert folders[0] == folders[1]


LATE = """
import sys, time
from pathlib import Path
from darknet_torch.distributed import ranks, wait_for_all
done = Path(sys.argv[1])
if ranks().rank == 1:
    time.sleep(1)
    done.touch()
wait_for_all()
sys.exit(3 if done.exists() else 4)
"""


def test_who_is_done_waits_for_the_others(tmp_path):
    """Else torchrun ends them when it sees a status other than 0."""
    script = tmp_path / "late.py"
    script.write_text(LATE)
    torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2"
    run = subprocess.run(
        [sys.executable, *torchrun.split(), script, tmp_path / "done"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "exitcode  : 3" in run.stderr and "exitcode  : 4" not in run.stderr, run.stderr


def test_standard_input_is_not_shared(small_network, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["detect", "net.cfg", "net.weights", "-"]) == 2
    assert "cannot be shared by torchrun" in capsys.readouterr().err


def test_what_libraries_print_while_they_connect_is_no_output(capfd):
    os.write(1, b"before\n")
    with _output_as_errors():
        os.write(1, b"[Gloo] Rank 0 is connected\n")
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "[Gloo] Rank 0 is connected\n")
