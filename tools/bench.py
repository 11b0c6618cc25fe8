#!/usr/bin/env python3
"""Measure what the project promises about time and memory; every figure beside its yardstick.

    python tools/bench.py              # everything
    python tools/bench.py load memory  # some of it
    python tools/bench.py speed --networks yolov4-tiny --batches 1 --opencv4 ENVIRONMENT/bin/python
    python tools/bench.py speed import --engines eager packed --before ../OLDER_CHECKOUT

Machines are shared and noisy, so each figure is a ratio of medians taken in turns in one run.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_batch import bench_batch
from bench_card import ENGINES as CARD_ENGINES
from bench_decoders import bench_decoders
from bench_evaluate import bench_evaluate
from bench_figures import keep
from bench_folder import bench_folder
from bench_fresh import CONVERT, IMPORT, LOAD, PLAN, fresh, median
from bench_optimize import bench_boxes, bench_layers
from bench_pipeline import bench_pipeline, bench_resize
from bench_serve import bench_serve
from bench_speed import ENGINES, NETWORKS, bench_speed
from bench_threads import bench_threads
from bench_tiles import bench_tiles
from bench_train import bench_augment, bench_faults, bench_images, bench_train
from bench_turns import in_turns
from bench_video import bench_video

if TYPE_CHECKING:
    from torch import Tensor

    from darknet_torch.inference.detector import Detector

ROUNDS = 5
IMPORTS = 15
"""Rounds of imports, which are short."""
SHARED = Path(__file__).resolve().parents[2] / "shared"


def bench_load(options: argparse.Namespace) -> None:
    """A 204 MB yolov2 file of random floats, against numpy.fromfile; fresh processes in turns."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "yolov2.weights"
        values = np.random.default_rng(0).random(50983561, dtype=np.float32)
        with path.open("wb") as file:
            np.array((0, 1, 0, 0), dtype="<i4").tofile(file)
            values.tofile(file)
        rows: dict[str, list[dict[str, Any]]] = {"fromfile": [], "load": [], "memory": []}
        for _round in range(ROUNDS):
            for what, found in rows.items():
                found.append(fresh(LOAD, what, str(path)))
        size = path.stat().st_size
    numpy_s, ours_s = (median(rows[what], "seconds") for what in ("fromfile", "load"))
    print(
        f"load yolov2 ({size / 1e6:.0f} MB): {ours_s * 1e3:.0f} ms; numpy.fromfile"
        f" {numpy_s * 1e3:.0f} ms; bound 2 x that + 50 ms = {numpy_s * 2e3 + 50:.0f} ms"
    )
    print(
        f"  anonymous memory at peak: {median(rows['memory'], 'anonymous') / size:.2f} x the file"
        f" (bound 1.3)"
    )
    figures = {
        "load, ms": ours_s * 1e3,
        "numpy.fromfile, ms": numpy_s * 1e3,
        "at most, ms": numpy_s * 2e3 + 50,
        "memory / file": median(rows["memory"], "anonymous") / size,
        "memory at most": 1.3,
    }
    keep(options, "load", f"{size / 1e6:.0f} MB of yolov2", "", figures)


def bench_import(options: argparse.Namespace) -> None:
    """Imports, in fresh processes in turns; beside those of another checkout, if there is one."""
    lines = ("import torch", "import darknet_torch", "import darknet_torch as dt; dt.load")
    packages = {"": None} if options.before is None else {"": None, " before": options.before}
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {
        (line, name): [] for line in lines for name in packages
    }
    for _round in range(IMPORTS):
        for (line, name), results in rows.items():
            results.append(fresh(IMPORT, line, package=packages[name]))
    for (line, name), results in rows.items():
        brings = "with" if results[0]["torch"] else "without"
        ms = median(results, "seconds") * 1e3
        print(f"{line}{name}: {ms:.1f} ms, {brings} torch")
        keep(options, "import", f"{line}{name}", "ms", {brings + " torch": ms})


def bench_convert(options: argparse.Namespace) -> None:
    """yolov4-tiny to ONNX and verified, against torch.onnx.export alone; fresh processes."""
    rows: dict[str, list[dict[str, Any]]] = {"bare": [], "ours": []}
    for _round in range(ROUNDS):
        for what, found in rows.items():
            found.append(fresh(CONVERT, what))
    ours, bare = median(rows["ours"], "seconds"), median(rows["bare"], "seconds")
    print(
        f"convert and verify yolov4-tiny: {ours:.1f} s = {ours / bare:.2f} x torch.onnx.export"
        f" alone (bound 3); memory at most {median(rows['ours'], 'memory') / 1e6:.0f} MB over"
        f" the loaded network (bound 1000), torch.onnx.export"
        f" {median(rows['bare'], 'memory') / 1e6:.0f} MB"
    )
    figures = {
        "time / torch.onnx.export": ours / bare,
        "at most": 3.0,
        "memory, MB": median(rows["ours"], "memory") / 1e6,
        "memory at most, MB": 1000,
    }
    keep(options, "convert", "yolov4-tiny to ONNX, and verified", "", figures)


def bench_plan(options: argparse.Namespace) -> None:
    """The plan of all official cfgs, against the import of torch; fresh processes."""
    cfgs = sorted(str(path) for path in (SHARED / "oracle/official_cfg").rglob("*.cfg"))
    if not cfgs:
        print("plan: the official cfgs (../shared) are not here")
        return
    rows = [fresh(PLAN, *cfgs) for _ in range(ROUNDS)]
    ours, torch_s = median(rows, "seconds"), median(rows, "import")
    print(
        f"plan of {len(cfgs)} cfgs: {ours:.2f} s = {ours / torch_s:.2f} x import torch (bound 2);"
        f" {rows[0]['refused']} refused"
    )
    figures = {"time / import torch": ours / torch_s, "at most": 2.0}
    keep(options, "plan", f"{len(cfgs)} official cfgs", "", figures)


def bench_memory(options: argparse.Namespace) -> None:
    """Activations that live at once in yolov3 at 416, against keeping all: counted by storage."""
    import torch

    import darknet_torch as dt

    network = dt.build("yolov3", width=416, height=416)
    living: dict[int, int] = {}
    most = total = 0

    def watch(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        import weakref

        nonlocal most, total
        storage = output.untyped_storage()
        key = storage.data_ptr()
        if key not in living:
            living[key] = storage.nbytes()
            total += storage.nbytes()
            weakref.finalize(output, living.pop, key, None)
        most = max(most, sum(living.values()))

    for layer in network.layers:
        layer.register_forward_hook(watch)
    with torch.inference_mode():
        network(torch.rand(1, 3, 416, 416))
    print(
        f"memory of a yolov3 416 forward: {most / 1e6:.0f} MB of activations at once,"
        f" {total / 1e6:.0f} MB in all: {most / total:.3f} (bound 1/3)"
    )
    figures = {"at once, MB": most / 1e6, "in all, MB": total / 1e6}
    figures |= {"share": most / total, "at most": 1 / 3}
    keep(options, "memory", "activations of yolov3 416", "", figures)


def bench_detect(options: argparse.Namespace) -> None:
    """What detect adds to the forward pass: resize, decode, NMS, back to the image's pixels."""
    for name, bound in (("yolov4-tiny", 0.10), ("yolo9000", 0.25)):
        detect_overhead(name, bound, options)


def detect_overhead(name: str, bound: float, options: argparse.Namespace) -> None:
    import torch

    import darknet_torch as dt

    try:
        detector, image = scene(name)
    except dt.DarknetError as error:
        print(f"detect {name}: {error}")
        return
    with torch.inference_mode():
        prepared = detector.prepare(image)
        x = prepared.pixels[None]
        raw = detector.network(x)
        work: dict[str, Callable[[], object]] = {
            "forward": lambda: detector.network(x),
            "resize": lambda: detector.prepare(image),
            "postprocess": lambda: detector.postprocess(raw, [prepared]),
        }
        seconds = in_turns(work, rounds=13, warm=2)
        boxes = len(detector.postprocess(raw, [prepared])[0])
    share = (seconds["resize"] + seconds["postprocess"]) / seconds["forward"]
    print(
        f"detect {name}: forward {seconds['forward'] * 1e3:.1f} ms, resize"
        f" {seconds['resize'] * 1e3:.2f} ms, decode + NMS {seconds['postprocess'] * 1e3:.2f} ms"
        f" ({boxes} boxes): {share:.1%} of the forward pass (bound {bound:.0%})"
    )
    figures = {f"{stage}, ms": each * 1e3 for stage, each in seconds.items()}
    figures |= {"share of the forward pass": share, "at most": bound}
    keep(options, "detect", f"{name}, {boxes} boxes", "", figures)


def scene(name: str) -> "tuple[Detector, Tensor]":
    """Return a detector and an image (3, 576, 768) in which it has up to 100 boxes."""
    import torch

    import darknet_torch as dt
    from darknet_torch.inference.detector import Detector
    from darknet_torch.network import as_network

    torch.manual_seed(0)
    if name == "yolo9000":
        trees = SHARED / "names"
        with chdir(trees if trees.is_dir() else "."):
            network = dt.build(name, dialect="pjreddie")
    else:
        network = as_network(dt.load(name))
    image = torch.randint(0, 256, (3, 576, 768), dtype=torch.uint8)
    detector = Detector(network, threshold=0.5)
    prepared = detector.prepare(image)
    with torch.inference_mode():
        scores = [
            head.objectness(head.maps(raw)[:, :, head.objectness_entry()]).flatten()
            for head, raw in zip(detector.heads, network(prepared.pixels[None]), strict=True)
        ]
    cut = torch.cat(scores).sort(descending=True).values[100]
    return Detector(network, threshold=float(cut)), image


BENCHES = {
    "load": bench_load,
    "plan": bench_plan,
    "import": bench_import,
    "convert": bench_convert,
    "memory": bench_memory,
    "detect": bench_detect,
    "folder": bench_folder,
    "evaluate": bench_evaluate,
    "speed": bench_speed,
    "layers": bench_layers,
    "boxes": bench_boxes,
    "train": bench_train,
    "faults": bench_faults,
    "augment": bench_augment,
    "images": bench_images,
    "resize": bench_resize,
    "pipeline": bench_pipeline,
    "video": bench_video,
    "serve": bench_serve,
    "threads": bench_threads,
    "tiles": bench_tiles,
    "decoders": bench_decoders,
    "batch": bench_batch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(BENCHES)}; default all")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="of speed")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=list(dict.fromkeys((*ENGINES, *CARD_ENGINES))),
        help="of speed",
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], help="of speed, folder")
    parser.add_argument("--rounds", type=int, default=9, help="of speed; with --before")
    parser.add_argument("--device", default="cpu", help="of speed, pipeline, decoders, train (cpu)")
    parser.add_argument(
        "--json", type=Path, help="a file to append the figures to, see tools/bench_figures.py"
    )
    parser.add_argument("--threads", type=int, help="of speed (all cores)")
    parser.add_argument(
        "--before",
        type=Path,
        help="of speed, folder, resize, import: a checkout to run beside this one",
    )
    parser.add_argument("--opencv4", help="of speed: a Python that has opencv-python-headless<5")
    parser.add_argument("--libreyolo", help="of speed: a Python that has libreyolo")
    options = parser.parse_args()
    chosen = options.what or list(BENCHES)
    if unknown := set(chosen) - set(BENCHES):
        parser.error(f"{sorted(unknown)[0]}: must be any of {', '.join(BENCHES)}")
    for name in chosen:
        BENCHES[name](options)


if __name__ == "__main__":
    main()
