"""The state of a training: a run that went on from it equals one that never stopped."""

import os
import random
from pathlib import Path

import pytest
import torch
from full_disk import limited_files
from torch import Tensor

import darknet_torch as dt
from darknet_torch import files
from darknet_torch.errors import DarknetError, UsageError, WeightsError
from darknet_torch.training import training_state
from darknet_torch.training.solver import Solver

CFG = """[net]
width=4
height=4
channels=1
batch=2
learning_rate=0.1
max_batches=4
ema_alpha=0.5
adam={adam}
[convolutional]
batch_normalize=1
filters={filters}
size=3
pad=1
[dropout]
probability=.5
[convolutional]
filters=1
share_index={share}
"""
PRINT = {"cfg": "a\nb\nc", "batch": 2}


def solver(adam: int = 0, filters: int = 2, freeze: int = 0) -> Solver:
    torch.manual_seed(3)
    text = CFG.format(adam=adam, filters=filters, share=0).replace("share_index=0\n", "")
    return Solver(dt.build(text), freeze=freeze)


def train(here: Solver, batches: range, generator: torch.Generator) -> list[float]:
    """Train on random images, with dropout; return numbers that depend on all random states."""
    for batch in batches:
        images = torch.rand(2, 1, 4, 4, generator=generator)
        here.begin()
        here.scaled(here.network(images).square().sum()).backward()
        here.step(batch)
    return [random.random(), float(torch.rand(1)), float(torch.rand(1, generator=generator))]


def tensors(here: Solver) -> dict[str, Tensor]:
    assert here.ema is not None
    state = here.optimizer.state_dict()["state"]
    return {
        **here.network.state_dict(),
        **{f"ema.{name}": each for name, each in here.ema.state_dict().items()},
        **{f"{n}.{name}": each for n, values in state.items() for name, each in values.items()},
    }


def save(path: Path, here: Solver, generator: torch.Generator, **options: object) -> None:
    training_state.save(
        path,
        here.network,
        here.optimizer,
        here.ema,
        {"batch": 3, "best": 0.1},
        fingerprint=PRINT,
        generators={"images": generator},
        **options,
    )


def load(path: Path, here: Solver, generator: torch.Generator | None = None, **options: object):
    options.setdefault("fingerprint", PRINT)
    generators = {} if generator is None else {"images": generator}
    return training_state.load(
        path, here.network, here.optimizer, here.ema, generators=generators, **options
    )


@pytest.mark.parametrize("adam", [0, 1])
def test_going_on_equals_not_stopping(tmp_path: Path, adam: int) -> None:
    path = tmp_path / "state.safetensors"
    whole, generator = solver(adam), torch.Generator().manual_seed(1)
    train(whole, range(1, 4), generator)
    save(path, whole, generator)
    numbers = train(whole, range(4, 7), generator)

    torch.manual_seed(99)
    random.seed(99)
    second, other = solver(adam), torch.Generator()
    assert load(path, second, other) == {"batch": 3, "best": 0.1}
    assert train(second, range(4, 7), other) == numbers
    expected = tensors(whole)
    assert len(expected) > 12
    for name, each in tensors(second).items():
        assert torch.equal(each, expected[name]), name


def test_a_state_before_the_first_step(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, solver(), torch.Generator())
    assert load(path, solver())["batch"] == 3
    assert training_state.read(path) == {"batch": 3, "best": 0.1}


@pytest.mark.parametrize(
    ("other", "fingerprint", "message"),
    [
        ({}, {**PRINT, "cfg": "a\nx\nc"}, r"another training: cfg, line 2, was 'b', is 'x'$"),
        ({}, {**PRINT, "cfg": "a\nb"}, r"cfg, line 3, was 'c', is ''$"),
        ({}, {"cfg": "a\nb\nc", "batch": 4}, r"another training: batch was 2, is 4$"),
        ({}, {**PRINT, "seed": 1}, r"another training: seed was None, is 1$"),
        ({"filters": 3}, PRINT, r"conv.weight has shape \(2, 1, 3, 3\), .* not \(3, 1, 3, 3\)"),
        ({"freeze": 1}, PRINT, r"of other layers \(such as freeze\)"),
    ],
)
def test_the_state_of_another_training(
    tmp_path: Path, other: dict[str, int], fingerprint: dict[str, object], message: str
) -> None:
    path = tmp_path / "state.safetensors"
    here = solver()
    train(here, range(1, 4), torch.Generator())
    save(path, here, torch.Generator())
    second = solver(**other)
    before = {name: each.clone() for name, each in tensors(second).items()}
    with pytest.raises(UsageError, match=message):
        load(path, second, fingerprint=fingerprint)
    assert all(torch.equal(each, before[name]) for name, each in tensors(second).items())


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [("16,18", "6400,7200", True), ("16,18", "2,2", True), ("6221,6999", "16,18", True),
     ("16,18", "16,19", False), ("5,7", "16,18", False), ("5,7", "5,7", True)],
)  # fmt: skip
def test_steps_that_follow_from_max_batches_may_change(
    tmp_path: Path, before: str, now: str, same: bool
) -> None:
    path, here = tmp_path / "state.safetensors", solver()
    training_state.save(
        path, here.network, here.optimizer, here.ema, {}, fingerprint={"cfg": f"a\nsteps={before}"}
    )
    if same:
        load(path, solver(), fingerprint={"cfg": f"a\nsteps={now}"})
    else:
        with pytest.raises(UsageError, match="another training: cfg, line 2, was 'steps="):
            load(path, solver(), fingerprint={"cfg": f"a\nsteps={now}"})


def test_an_average_that_was_not_there(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    here = solver()
    training_state.save(path, here.network, here.optimizer, None, {}, fingerprint=PRINT)
    with pytest.raises(UsageError, match=r"another training: it lacks ema\."):
        load(path, solver())


@pytest.mark.parametrize("size", [0, 7, 8, 100, 3000, -1])
def test_damaged_files(tmp_path: Path, size: int) -> None:
    path = tmp_path / "state.safetensors"
    save(path, solver(), torch.Generator())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsError, match=r"state\.safetensors: is no state of a training"):
        load(path, solver())


def test_files_of_other_kinds(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for metadata in (None, {training_state.KEY: "[" * 5000}, {training_state.KEY: "{}"}):
        path = tmp_path / "other.safetensors"
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(WeightsError, match=r"is no state of a training$"):
            load(path, solver())
    with pytest.raises(WeightsError, match="there is no such file"):
        load(tmp_path / "none.safetensors", solver())


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_killed_while_writing(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is, the file is the last good state, complete."""
    path = tmp_path / "state.safetensors"
    here = solver()
    save(path, here, torch.Generator())
    good = path.read_bytes()
    train(here, range(1, 4), torch.Generator())

    def killed(*_: object, **__: object) -> None:
        raise Killed

    if step == "open":
        monkeypatch.setattr(files, "temporary_file", killed)
    elif step == "write":
        monkeypatch.setattr(files.os, "fdopen", killed)
    elif step == "fsync":
        monkeypatch.setattr(files.os, "fsync", killed)
    else:
        monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        save(path, here, torch.Generator())
    monkeypatch.undo()
    assert path.read_bytes() == good
    assert load(path, solver())["batch"] == 3


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    here = solver()
    save(path, here, torch.Generator())
    good = path.read_bytes()
    with (
        limited_files(1000),
        pytest.raises(DarknetError, match=r"cannot be written: File too large"),
    ):
        save(path, here, torch.Generator())
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match="cannot be written: No such file or directory"):
        save(tmp_path / "none" / "state.safetensors", solver(), torch.Generator())
