"""Triton's kernels in a process of their own, see `interpreted.py`."""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_triton", "run_interpreted"]

needs_triton = pytest.mark.skipif(util.find_spec("triton") is None, reason="no triton here")
SCRIPT = Path(__file__).with_name("interpreted.py")


def run_interpreted(what: str) -> Any:
    """Return what the script prints."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
