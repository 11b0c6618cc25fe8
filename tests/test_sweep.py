"""The processes of long checks; what they keep is tested with test_variants.py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
JOBS = """
import os, pathlib, time
from sweep import Sweep
def measure(job, threads):
    pathlib.Path(job).write_text(str(os.getpid()))
    time.sleep(60)
if __name__ == "__main__":
    sweep = Sweep(pathlib.Path("r.json"), ["a", "b"], measure, lambda _: [], ())
    list(sweep.each(sweep.jobs, 2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends them")
def test_processes_of_a_sweep_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    environment = os.environ | {"PYTHONPATH": f"{TESTS / 'support'}{os.pathsep}{TESTS.parent}"}
    with subprocess.Popen([sys.executable, "jobs.py"], cwd=tmp_path, env=environment) as parent:
        pids = [int(wait_for(tmp_path / name)) for name in "ab"]
        parent.terminate()
    for pid in pids:
        for _ in range(200):
            if not is_running(pid):
                break
            time.sleep(0.05)
        assert not is_running(pid)


def wait_for(path: Path) -> str:
    for _ in range(1200):
        if path.is_file() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise TimeoutError(path)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
