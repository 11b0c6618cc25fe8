"""Small images through a Ray cluster of two nodes, beside two plain processes; `bench.py batch`.

Each node and each process has one core. The rate is that between the first and the last part of the
results of each process, and of the whole cluster, so that starting the programs does not count. In
a last run a worker is killed.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_figures import keep

if TYPE_CHECKING:
    from darknet_torch.batch.detector import RayDetector

__all__ = ["bench_batch"]

IMAGES = 10_000
UNITS = 64
"""That the images are cut into."""
ROUNDS = 3


def bench_batch(options: argparse.Namespace) -> None:
    """Images a second of both, in turns, and whether each image is there once after a kill."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    from small_network import CFG  # takes less time than reading an image, so that all else shows

    import darknet_torch as dt
    from darknet_torch.batch.detector import RayDetector
    from darknet_torch.extras import installed

    if not (installed("ray.cluster_utils") and installed("pyarrow")):
        print("batch: needs the extra ray")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "net.cfg").write_text(CFG)
        dt.save(dt.build(home / "net.cfg"), home / "net.weights")
        _draw(home)
        plain, ray, shares = list[float](), list[float](), list[float]()
        for number in range(ROUNDS):
            halves = _in_processes(home, f"plain{number}")
            plain.append(sum(map(_rate, halves)))
            ray.append(_rate(_on_ray(home, f"ray{number}", RayDetector)))
            shares.append(ray[-1] / plain[-1])
        killed = _on_ray(home, "killed", _mortal(home))
        row = {
            "plain processes, images a second": round(statistics.median(plain), 1),
            "ray, images a second": round(statistics.median(ray), 1),
            "share": round(statistics.median(shares), 3),
            "a worker was killed": (home / "was-killed").exists(),
            "images once after that": _once(killed),
        }
    print("batch: " + ", ".join(f"{what} {value}" for what, value in row.items()) + " (0.85)")
    keep(options, "batch", f"{IMAGES} images", "", row)


def _mortal(home: Path) -> "type[RayDetector]":
    """Return a detector whose process is killed in the middle of the images, once."""
    from darknet_torch.batch.detector import RayDetector

    mark, most = home / "was-killed", UNITS // 3

    class Mortal(RayDetector):
        def __call__(self, batch: Any) -> Any:
            if not mark.exists() and len(list((home / "killed").glob("part-*"))) > most:
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    return Mortal


def _draw(home: Path) -> None:
    """Write the images, half of them into each of two folders."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (home / "photos" / name).mkdir(parents=True)
        for number in range(IMAGES // 2):
            pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "photos" / name / f"{number}.jpg")


def _in_processes(home: Path, name: str) -> list[list[Path]]:
    """Run the command twice side by side, each on half of the images; return the parts of each."""
    start = "import sys; from darknet_torch.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "batch", str(home / "net.cfg")]
    one_core = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*command, str(home / "net.weights"), str(home / "photos" / half), out, "-q"],
            env=one_core,
            stdout=subprocess.DEVNULL,
        )
        for half, out in (("a", str(home / name / "a")), ("b", str(home / name / "b")))
    ]
    for process in started:
        if process.wait():
            raise RuntimeError(f"batch ended with {process.returncode}")
    return [list((home / name / half).glob("part-*.parquet")) for half in ("a", "b")]


def _on_ray(home: Path, name: str, detector_type: "type[RayDetector]") -> list[Path]:
    """Run all images on a cluster of two nodes on this machine; return the parts."""
    import ray
    from ray.cluster_utils import Cluster

    from darknet_torch.batch.inputs import units_of
    from darknet_torch.batch.output import Output
    from darknet_torch.batch.running import run_on_ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        output = str(home / name)
        Output(output).begin({})
        units, _ = units_of(str(home / "photos"), frozenset())
        detector = detector_type(str(home / "net.cfg"), str(home / "net.weights"))
        for _done in run_on_ray(units, detector, output, "bytes"):
            pass
    finally:
        ray.shutdown()
        cluster.shutdown()
    return list((home / name).glob("part-*.parquet"))


def _rate(parts: Sequence[Path]) -> float:
    """Return the images a second between the first and the last part."""
    import pyarrow.parquet

    ended = sorted((path.stat().st_mtime, path) for path in parts)
    counts = [pyarrow.parquet.read_metadata(path).num_rows for _, path in ended]
    rate: float = sum(counts[1:]) / (ended[-1][0] - ended[0][0])
    return rate


def _once(parts: Sequence[Path]) -> int:
    """Return how many of the images are in one part, and there once."""
    import pyarrow.parquet

    times = Counter[str]()
    for path in parts:
        times.update(pyarrow.parquet.read_table(path, columns=["path"])["path"].to_pylist())
    return sum(count == 1 for count in times.values())
