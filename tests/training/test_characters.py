"""`train_characters`: a recurrent network learns a text, and goes on where it was stopped."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import darknet_torch as dt
from darknet_torch.errors import DataError, UsageError
from darknet_torch.inference.generator import generate
from darknet_torch.training.characters import train_characters
from darknet_torch.training.result import TrainingResult
from darknet_torch.training.text_steps import Streams, TextStepper, text_batches

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
    saved = safe_open(cfg.parent / "parts" / "state.safetensors", "pt")
    assert saved.get_tensor("kept.0.0").shape == (4, 24)  # streams, values of [rnn]
    assert saved.get_tensor("kept.0.0").any()
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
    text.write_text("ab" * 99)
    with pytest.raises(UsageError, match="time_steps=0: must be at least 1"):
        options = {"time_steps": 0}
        train_characters(network, text, folder=tmp_path / "run", options=options)
    assert not (tmp_path / "run").exists()


def test_streams_go_on_until_they_jump() -> None:
    streams = Streams(count=30, length=1000, steps=7, seed=5)
    place, jumped = streams[0]
    assert jumped.all()
    jumps, reached = 0, place
    for run in range(1, 300):
        place, jumped = streams[run]
        expected = (reached + 7) % 1000
        assert (place[~jumped] == expected[~jumped]).all() and (place < 1000).all()
        jumps, reached = jumps + int(jumped.sum()), place
    assert 0.5 < jumps / (30 * 299 / 64) < 1.5
    assert (Streams(30, 1000, 7, 5)[250][0] == streams[250][0]).all()


def test_the_state_goes_on_from_batch_to_batch(cfg: Path) -> None:
    torch.manual_seed(0)
    network = dt.build(cfg).train()
    text = np.random.default_rng(0).integers(97, 123, 500, dtype=np.uint8)
    stepper = TextStepper(network, streams=2, runs=3, steps=4, count=24)
    state: dict[int, tuple[torch.Tensor, ...]] = {}
    made = text_batches(text, cfg, stepper, seed=2, start=0)
    for batch in itertools.islice(made, 12):
        before = stepper.kept()
        stepper.gradients(batch.images, batch.truth, 0, 0)
        for run, pieces in enumerate(batch.images):
            assert batch.truth.values is not None
            for stream in batch.truth.values[:, run].nonzero()[:, 0].tolist():
                for tensors in state.values():
                    tensors[0][stream] = 0
            for byte in pieces[:-1].long():
                with torch.no_grad():
                    _, state = network.step(torch.nn.functional.one_hot(byte, 128).float(), state)
        for index, tensors in state.items():
            torch.testing.assert_close(stepper.kept()[f"{index}.0"], tensors[0])
    stepper.undo()
    assert all(torch.equal(each, before[name]) for name, each in stepper.kept().items())
    other = TextStepper(network, streams=2, runs=3, steps=4, count=24)
    other.restore(stepper.kept())
    assert all(torch.equal(each, before[name]) for name, each in other.kept().items())
    with pytest.raises(UsageError, match="is that of other layers"):
        other.restore({"0.0": torch.zeros(3, 24)})
