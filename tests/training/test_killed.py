"""A process that is killed; `tools/check --training` does it at twenty random instants."""

import time
from pathlib import Path

import shapes
from forked import needs_forks, run_with_saves, started


@needs_forks
def test_kill_9_and_the_same_call_again(tmp_path: Path) -> None:
    cfg = tmp_path / "net.cfg"
    cfg.write_text(shapes.DETECTOR)
    data = shapes.draw_detection_set(tmp_path / "shapes")
    parts = tmp_path / "parts"
    process = started(run_with_saves, cfg, data, parts)
    deadline = time.monotonic() + 120
    while not (parts / "state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert (parts / "state.safetensors").exists()
    assert not (parts / "net_16.weights").exists(), "killed too late"
    for folder in (parts, tmp_path / "whole"):
        run_with_saves(cfg, data, folder)
    for name in ("net_last.weights", "net_8.weights", "metrics.csv"):
        one, other = ((folder / name).read_bytes() for folder in (parts, tmp_path / "whole"))
        assert one == other, name
