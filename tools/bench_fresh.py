"""What is measured in a process of its own, where nothing has been imported or loaded before."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

LOAD = """
import json, sys, threading, time
import numpy as np, torch, darknet_torch as dt
from darknet_torch.loading import load
def anonymous():
    line = next(l for l in open("/proc/self/status") if l.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
base, most, stop = anonymous(), 0, threading.Event()
def watch():
    global most
    while not stop.wait(0.001):
        most = max(most, anonymous())
what, path = sys.argv[1:]
if what == "memory":  # the watching itself takes time
    thread = threading.Thread(target=watch); thread.start()
start = time.perf_counter()
kept = np.fromfile(path, dtype="<f4") if what == "fromfile" else load("yolov2", path)
seconds = time.perf_counter() - start
most = max(most, anonymous()); stop.set()
print(json.dumps({"seconds": seconds, "anonymous": most - base}))
"""

PLAN = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
start = time.perf_counter()
import torch
imported = time.perf_counter() - start
import darknet_torch as dt
from darknet_torch.errors import CfgError
from pathlib import Path
cfgs = [(p, Path(p).parts[-2]) for p in sys.argv[1:]]
dt.plan("yolov2-tiny")
start, refused = time.perf_counter(), 0
for path, folder in cfgs:
    try:
        dt.plan(path, dialect="pjreddie" if folder == "pjreddie" else "alexeyab")
    except CfgError:
        refused += 1
print(json.dumps({"seconds": time.perf_counter() - start, "import": imported, "refused": refused}))
"""


CONVERT = """
import io, json, sys, tempfile, time, warnings
from contextlib import redirect_stdout
warnings.simplefilter("ignore")
import torch, darknet_torch as dt
what = sys.argv[1]
def peak():  # not ru_maxrss, which begins at what the parent process had
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
network, base = dt.load("yolov4-tiny"), peak()
with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
    start, path = time.perf_counter(), folder + "/net.onnx"
    if what == "bare":
        x = torch.zeros(1, 3, 416, 416)
        torch.onnx.export(network, (x,), path, dynamo=True, verbose=False)
    else:
        dt.export(network, path)
        assert dt.verify(network, path).good
    seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "memory": peak() - base}))
"""

IMPORT = """
import json, sys, time
start = time.perf_counter()
exec(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "torch": "torch" in sys.modules}))
"""


def fresh(code: str, *arguments: str, package: Path | None = None) -> dict[str, Any]:
    """Run Python code in a process of its own; return the JSON that it prints.

    package: the checkout whose package it imports, None the one that is installed.
    """
    path = {} if package is None else {"PYTHONPATH": str(package.resolve())}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **path},
        cwd=package,  # which Python looks in before all others
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median(rows: list[dict[str, Any]], name: str) -> float:
    """Return the median of a figure of some results."""
    return float(statistics.median(row[name] for row in rows))
