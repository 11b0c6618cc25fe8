"""Files that a cfg names, beside a copy of the cfg."""

from pathlib import Path

import pytest

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.network.named_files import copy_named_files

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=8
[region]
anchors=1,1
classes=3
num=1
softmax=1
tree=data/colors.tree
map=colors.map
"""
TREE = "red -1\ngreen -1\nblue -1\n"


@pytest.fixture
def network(tmp_path: Path) -> dt.Network:
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    (source / "data" / "colors.tree").write_text(TREE)
    (source / "net.cfg").write_text(CFG)
    return dt.build(source / "net.cfg", dialect="pjreddie")


def test_a_tree_is_copied_and_a_map_that_is_not_there_is_not(
    network: dt.Network, tmp_path: Path
) -> None:
    copy_named_files(network.plan, tmp_path)
    assert (tmp_path / "colors.tree").read_text() == TREE
    assert not (tmp_path / "colors.map").exists()


def test_what_is_there_stays(network: dt.Network, tmp_path: Path) -> None:
    (tmp_path / "colors.tree").write_text("mine")
    copy_named_files(network.plan, tmp_path)
    assert (tmp_path / "colors.tree").read_text() == "mine"


def test_it_cannot_be_written(network: dt.Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        copy_named_files(network.plan, tmp_path / "missing")


def test_a_converted_network_finds_its_tree(
    network: dt.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    dt.export(network, folder / "net.weights")
    (tmp_path / "source" / "data" / "colors.tree").unlink()
    monkeypatch.chdir(tmp_path)
    again = dt.load(folder / "net.cfg", folder / "net.weights", dialect="pjreddie")
    assert again.plan.head_layers[0].word_tree is not None
