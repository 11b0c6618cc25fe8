"""Settings of a test run in several processes (pytest -n auto)."""

import os

import torch

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # more threads than cores only get in one another's way
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(workers)))
