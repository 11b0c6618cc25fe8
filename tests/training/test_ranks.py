"""Several processes share each batch; `tools/check --training` starts them with torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shapes
import torch
from forked import (
    INTERRUPTED,
    NOT_FINITE,
    Accident,
    interrupted,
    needs_forks,
    not_finite,
    run,
    run_sizes,
    run_two,
)

import darknet_torch as dt
from darknet_torch.training import training_state
from darknet_torch.training.metrics_log import read_rows


@needs_forks
@pytest.mark.parametrize(
    ("accident", "status", "batches"),
    [(interrupted, INTERRUPTED, 2), (not_finite, NOT_FINITE, 1)],
)
def test_what_happens_to_one_process_ends_both(
    tmp_path: Path, accident: Accident, status: int, batches: int
) -> None:
    (tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    cfg, folder = tmp_path / "net.cfg", tmp_path / "run"
    assert run_two(cfg, data, folder, accident) == [status, status]
    course = training_state.read(folder / "state.safetensors")["course"]
    assert course["batches"] == batches  # done, whose state is whole
    if accident is interrupted:
        assert run_two(cfg, data, folder) == [0, 0]  # goes on


@needs_forks
def test_two_processes_get_the_weights_of_one(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    dropout = "[dropout]\nprobability=.2\n[convolutional]\nfilters=16\n"
    cfg.write_text(shapes.DETECTOR.replace("[convolutional]\nfilters=16\n", dropout))
    data = shapes.draw_detection_set(tmp_path / "shapes")
    assert run_two(cfg, data, tmp_path / "two") == [0, 0]
    run(cfg, data, tmp_path / "one")
    must_be_equal(cfg, tmp_path)


def must_be_equal(cfg: Path, folder: Path) -> None:
    one, two = (dt.load(cfg, folder / each / "net_last.weights") for each in ("one", "two"))
    for name, value in one.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, two.state_dict()[name], atol=1e-5, rtol=0, msg=name)


@needs_forks
def test_two_processes_share_batches_of_other_sizes(tmp_path: Path) -> None:
    """With `dynamic_minibatch` there are more images where they are smaller."""
    (cfg := tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    assert run_two(cfg, data, tmp_path / "two", how=run_sizes) == [INTERRUPTED, INTERRUPTED]
    assert run_sizes(cfg, data, tmp_path / "one").batches == 22
    rows = read_rows(tmp_path / "one" / "metrics.csv")
    assert {row["width"] for row in rows} == {32, 64}
    must_be_equal(cfg, tmp_path)


def test_torchrun_as_the_documentation_has_it(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    command = "--standalone --nproc-per-node 2 --no-python darknet-torch train net.cfg"
    words = [*command.split(), str(data), *"--subdivisions 2 --scratch --max-batches 2".split()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],  # which is torchrun
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout + done.stderr).count("2 batches (max_batches)") == 1  # one process reports
    assert (
        training_state.read(tmp_path / "training" / "state.safetensors")["course"]["batches"] == 2
    )
