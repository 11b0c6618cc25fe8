"""The verb `train`: what a new user meets, with right and with wrong words."""

import os
from pathlib import Path

import pytest
import shapes
from full_disk import limited_files

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.cli.training_display import command_of
from darknet_torch.training.result import TrainingResult


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a detector and a classifier, and data for both."""
    monkeypatch.chdir(tmp_path)
    shapes.draw_detection_set(tmp_path / "squares", 8)
    shapes.draw_class_folders(tmp_path / "colors", 3)
    Path("net.cfg").write_text(shapes.DETECTOR)
    Path("class.cfg").write_text(shapes.CLASSIFIER)
    return tmp_path


def train(words: str) -> int:
    return main(["train", *words.split(), "--workers", "0", "--max-batches", "2"])


def test_a_first_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("net.cfg squares/shapes.yaml --scratch") == 0
    out, err = capsys.readouterr()
    assert out.startswith("training: 2 batches (max_batches); score 0.")
    assert "batches of 8 in 2 parts" in err
    assert err.endswith(
        "darknet-torch detect training/net.cfg training/net_best.weights IMAGE ... uses it\n"
    )
    # its weights are a start for others: of the same classes, of others, and cut
    assert train("net.cfg training/net_last.weights squares --folder a --clear --val squares") == 0
    Path("two.names").write_text("dark\nlight\nnone\nmore\n")
    words = "training/net.cfg training/net_last.weights squares/shapes.yaml --folder b"
    assert train(f"{words} --classes two.names") == 0
    told = "4 classes: dark, light, none, more; max_batches=2 in the cfg for them"
    assert told in capsys.readouterr().err
    changed = dt.load("b/net.cfg", "b/net_last.weights")
    assert (changed.plan.classes, changed.names) == (4, ("dark", "light", "none", "more"))
    words = "training/net.cfg training/net_last.weights -o net.conv.2 --cutoff 2 --no-verify"
    assert main(["convert", *words.split()]) == 0
    assert train("net.cfg net.conv.2 squares/shapes.yaml --folder c") == 0  # counts from 0


def test_what_has_to_be_the_same_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "net.cfg squares/shapes.yaml --scratch"
    assert train(f"{words} --width 64 --height 64") == 0
    for changed, message in (
        ("", "input was [3, 64, 64], is [3, 32, 32]"),
        ("--width 64 --height 64 --dialect pjreddie", "dialect was 'alexeyab', is 'pjreddie'"),
    ):
        assert train(f"{words} {changed}") == 2
        assert message in capsys.readouterr().err
    words = "net.cfg training/net_last.weights squares/shapes.yaml --width 64 --height 64"
    assert train(words) == 0
    told = "training: this training has ended, after batch 2; --fresh begins anew"
    assert told in capsys.readouterr().err
    assert main(["train", *words.split(), "--workers", "0", "--max-batches", "3"]) == 0
    told = "going on after batch 2 of training, with its own weights, not those given"
    assert told in capsys.readouterr().err


def test_the_command_that_uses_it_can_be_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["net.cfg", "squares/shapes.yaml", "--scratch", "--dialect", "pjreddie"]
    words += ["--folder", "my own", "--workers", "0", "--max-batches", "2"]
    assert main(["train", *words]) == 0
    files = "'my own/net.cfg' 'my own/net_best.weights' --dialect pjreddie"
    assert f"darknet-torch detect {files} IMAGE ... uses it" in capsys.readouterr().err


def test_options_that_change_the_shapes_of_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("net.cfg squares/shapes.yaml --scratch --set channels=1") == 0
    assert dt.load("training/net.cfg", "training/net_last.weights").plan.input.c == 1
    capsys.readouterr()
    words = "training/net.cfg training/net_last.weights squares/shapes.yaml --folder a"
    assert train(f"{words} --clear --set channels=3") == 2
    told = "conv.weight has shape (8, 1, 3, 3), and would need (8, 3, 3, 3): change the cfg"
    assert told in capsys.readouterr().err


TEXT_CFG = """[net]
inputs=256
batch=2
time_steps=4
max_batches=9
[gru]
output=8
[connected]
output=256
[softmax]
[cost]
type=sse
"""


def test_a_text_has_no_options_of_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rnn.cfg").write_text(TEXT_CFG)
    Path("book.txt").write_text("a line of a book\n" * 200)
    assert train("rnn.cfg book.txt --scratch --freeze 1 --val book.txt --classes a.names") == 2
    told = "--val, --freeze, --workers, --classes: of images; training on a text has no such option"
    assert told in capsys.readouterr().err
    assert not Path("training").exists()


def test_the_steps_of_other_classes_follow_max_batches(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("four.names").write_text("dark\nlight\nnone\nmore\n")
    words = "train net.cfg squares/shapes.yaml --scratch --classes four.names --workers 0".split()
    for more, steps in (("--max-batches 3", (2, 2)), ("--set max_batches=5", (4, 4))):
        assert main([*words, *more.split()]) == 0  # goes on
        net = dt.plan("training/net.cfg").net
        assert (net.max_batches, net.steps) == (int(more[-1]), steps)
        err = capsys.readouterr().err
        assert f"; max_batches={more[-1]} in the cfg for them" in err
    assert "going on after batch 3 of training\n" in err, "the same start: no word of weights"
    assert main([*words, "--max-batches", "5", "--set", "steps=1,4"]) == 2
    assert "cfg, line " in capsys.readouterr().err


def test_the_command_names_the_fork_of_a_model_by_name(tmp_path: Path) -> None:
    result = TrainingResult(
        network=dt.build("darknet19", dialect="pjreddie", width=64, height=64), folder=tmp_path,
        cfg=Path("a.cfg"), weights=Path("a b.weights"), batches=1, score=None, best=None,
        stopped="max_batches",
    )  # fmt: skip
    told = "darknet-torch classify a.cfg 'a b.weights' --dialect pjreddie IMAGE ... uses it"
    assert command_of(result) == told


def test_options_that_a_text_has_not_bear_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rnn.cfg").write_text(TEXT_CFG)
    Path("book.txt").write_text("a line of a book\n" * 200)
    assert main(["train", "rnn.cfg", "book.txt", "--scratch", "--no-augment"]) == 2
    assert ": --no-augment: of images; training on a text" in capsys.readouterr().err


def test_one_split_only_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("net.cfg squares/train --scratch") == 0
    out, err = capsys.readouterr()
    assert "no validation images other than those of the training: no score" in err
    assert out == "training: 2 batches (max_batches); score not measured\n"
    assert not Path("training/net_best.weights").exists()


WRONG = [
    ("", "train: CFG and DATA are missing, or --recipe"),
    ("net.cfg", "train: DATA is missing; it comes behind the network and its weights"),
    ("net.cfg none.yaml --scratch", "none.yaml: cannot be read: No such file"),
    ("none.cfg squares --scratch", "none.cfg: no such file, and no such model"),
    ("net.cfg squares", "; there is some.weights; --scratch starts from random values"),
    ("net.cfg none.weights squares", "none.weights: cannot be read: No such file"),
    ("net.cfg some.weights", "train: DATA is missing; it comes behind the network and its weights"),
    ("net.cfg squares some.weights", "some.weights: the weights come before DATA, behind the cfg"),
    ("some.weights net.cfg squares", "some.weights and net.cfg are swapped: the cfg comes first"),
    ("squares/shapes.yaml net.cfg", "shapes.yaml: a data set; the network comes first"),
    ("net.cfg squares colors --scratch", "must be one DATA, not 2: squares colors"),
    ("net.cfg some.weights squares --scratch", "--scratch: starts from random values, not from"),
    ("net.cfg colors/colors.yaml --scratch", "colors.yaml: no box in 9 images"),
    ("class.cfg squares/shapes.yaml --scratch", "shapes.yaml: no image has a class"),
    ("net.cfg squares/shapes.yaml --scratch --split test", "no split test; it has train, val"),
    ("net.cfg squares/train --scratch --val none", "none: no such file or folder"),
    ("net.cfg squares/train --scratch --classes a.names", "a.names: no such file"),
    ("net.cfg squares/train --scratch --set lr", "--set lr: must be KEY=VALUE"),
    ("net.cfg squares/train --scratch --set momentun=1", "did you mean momentum?"),
    ("net.cfg squares/train --scratch --set decay=few", "decay=few: is a word, not a number"),
    ("net.cfg squares/train --scratch --set yollo.jitter=1", "the cfg has no section [yollo]"),
    ("net.cfg squares/train --scratch --points 7", "points=7: must be 0"),
    ("net.cfg squares/train --scratch --patience 0", "patience=0: must be at least 1"),
    ("net.cfg squares/train --scratch --half", "--half: --dtype says in what type"),
    ("net.cfg squares/train --scratch --folder net.cfg", "net.cfg: cannot be made: File exists"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_input_is_one_line_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    Path("some.weights").write_bytes(bytes(20))
    assert train(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert len([line for line in lines if line.startswith("darknet-torch: ")]) == 1
    assert not Path("training").exists()


def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    Path("locked").mkdir(mode=0o555)
    assert train("net.cfg squares/shapes.yaml --scratch --folder locked/here") == 2
    assert "locked/here: cannot be made: Permission denied" in capsys.readouterr().err


def test_a_full_disk_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with limited_files(3000):
        assert train("net.cfg squares/shapes.yaml --scratch") == 2
    assert capsys.readouterr().err.endswith(
        "training/batch-0.jpg: cannot be written: File too large\n"
    )
    assert not list(Path("training").glob("*.part*"))
