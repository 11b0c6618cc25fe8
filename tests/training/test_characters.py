"""`train_characters`: a recurrent network learns a text, and goes on where it was stopped."""

from pathlib import Path

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import DataError, UsageError
from darknet_torch.inference.generator import generate
from darknet_torch.training.characters import train_characters
from darknet_torch.training.result import TrainingResult

CFG = """[net]
inputs=128
batch=8
subdivisions=2
time_steps=8
max_batches=40
learning_rate=0.3
momentum=.9
decay=0
[rnn]
output=24
hidden=24
activation=tanh
[connected]
output=128
activation=linear
[softmax]
[cost]
type=sse
"""


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    path = tmp_path / "rnn.cfg"
    path.write_text(CFG)
    return path


def run(cfg: Path, folder: str, **options: int) -> TrainingResult:
    text = cfg.with_name("text.txt")
    text.write_text("abcd" * 200)
    torch.manual_seed(0)
    network = dt.build(cfg)
    return train_characters(network, text, folder=cfg.parent / folder, **options)  # type: ignore[arg-type]


def test_a_text_is_learned_and_written(cfg: Path) -> None:
    result = run(cfg, "run")
    assert result.score is not None
    assert result.score < 1, "seven bits at the start"
    loaded = dt.load(cfg, cfg.parent / "run" / "rnn_last.weights")
    assert bytes(generate(loaded, b"abcd", length=8, temperature=0)) == b"abcdabcd"


def test_a_text_goes_on_with_the_same_bits(cfg: Path) -> None:
    whole = run(cfg, "whole", max_batches=4)
    run(cfg, "parts", max_batches=2)
    (cfg.parent / "parts" / "rnn.cfg").unlink()
    parts = run(cfg, "parts", max_batches=4)
    state = parts.network.state_dict()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_wrong_texts(cfg: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, text = dt.build(cfg), tmp_path / "text.txt"
    text.write_text("ab")
    with pytest.raises(DataError, match="2 bytes; this network needs at least"):
        train_characters(network, text, folder=tmp_path / "run")
    text.write_bytes(b"ab" * 99 + b"\xff")
    with pytest.raises(DataError, match="byte 198 is 255; the network has 128 inputs"):
        train_characters(network, text, folder=tmp_path / "run")
    with pytest.raises(UsageError, match="needs a recurrent network of vectors"):
        train_characters(dt.build("yolov3-tiny", width=32, height=32), text)
    assert not (tmp_path / "run").exists()
