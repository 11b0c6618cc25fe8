"""Forward passes on a graphics card, side by side; `tools/bench.py speed --device cuda`.

All run in one process, in turns, on images that lie on the card. A pass is one of several that are
launched one behind the other; the card is waited for behind the last.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_figures import keep
from bench_speed import network_files
from bench_turns import seconds_of

if TYPE_CHECKING:
    import torch

    from darknet_torch.network import Network

__all__ = ["bench_card"]

TURN = 0.1
"""Seconds of a turn at least."""
SIDE = 8192
"""Of the square matrices whose product shows what the card reaches."""
BY_HAND = "torch.compile(mode=reduce-overhead), float16"
ENGINES = {
    "eager": "torch, the plain network",
    "packed": "optimize(compile=False)",
    "compiled": "optimize()",
    "compiled tf32": "optimize(dtype=tf32)",
    "compiled bf16": "optimize(dtype=bfloat16)",
    "packed fp16": "optimize(dtype=float16, compile=False)",
    "compiled fp16": "optimize(dtype=float16)",
    "by hand": BY_HAND,
    "libreyolo": "LibreYOLO, the plain network",
    "onnxruntime": "ONNX Runtime, CUDA",
    "tensorrt": "TensorRT, float16",
}
TYPES = {"tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
HALF = ("bf16", "fp16", "by hand", "tensorrt")
TARGETS = (
    ("yolov2", 1, "compiled fp16", "by hand", 0.75),
    ("yolov2", 64, "compiled fp16", "by hand", 0.8),
)
"""Network, batch, one of ours, another, and the largest share of its time."""


def bench_card(options: argparse.Namespace, networks: list[str]) -> None:
    """Print a table for each network and batch size."""
    import torch

    from darknet_torch.network.device import as_device

    device = as_device(options.device)
    card = torch.cuda.get_device_name(device)
    peaks = {name: _peak(name, device) for name in ("float32", "float16")}
    reached = ", ".join(f"{peak / 1e12:.0f} TFLOP/s in {name}" for name, peak in peaks.items())
    print(f"{card}; matrix products reach {reached}")
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            try:
                files, flops = network_files(name, Path(folder))
            except FileNotFoundError as error:
                print(f"{name}: {error}")
                continue
            for batch in options.batches:
                runs = _runs(options.engines or ENGINES, files, batch, device)
                ms = _in_turns(runs, device, options.rounds)
                what = f"{name} {files.side}, batch {batch}"
                _print(what, ms, flops * batch, peaks)
                named = {ENGINES[each]: value for each, value in ms.items()}
                keep(options, "card", what, f"ms, {card}", named)
                for network, size, mine, other, most in TARGETS:
                    if (network, size) == (name, batch) and {mine, other} <= set(ms):
                        figures = {"time / its time": ms[mine] / ms[other], "at most": most}
                        keep(options, "card_targets", f"{what}: {ENGINES[mine]}", "", figures)


def _peak(dtype: str, device: "torch.device") -> float:
    """Return the operations a second of a matrix product, of random values."""
    import torch

    side = SIDE if dtype == "float16" else SIDE // 2
    a = torch.randn(side, side, dtype=getattr(torch, dtype), device=device)
    run = partial(torch.mm, a, a)
    seconds = [_seconds(run, 10, device) for _ in range(6)]
    return 2 * side**3 / statistics.median(seconds[1:])


def _seconds(run: Callable[[], object], passes: int, device: "torch.device") -> float:
    """Return the seconds of a pass."""
    import torch

    def all_of_them() -> None:
        for _ in range(passes):
            run()
        torch.cuda.synchronize(device)

    torch.cuda.synchronize(device)
    return seconds_of(all_of_them) / passes


def _in_turns(
    runs: dict[str, Callable[[], object]], device: "torch.device", rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of a pass of each."""
    passes, times = dict[str, int](), dict[str, list[float]]()
    for name, run in list(runs.items()):
        try:
            _seconds(run, 3, device)
            passes[name] = max(3, round(TURN / _seconds(run, 3, device)))
        except Exception as error:  # of an engine that lacks something
            print(f"  {name}: cannot run here: {str(error).splitlines()[:1]}")
            continue
        times[name] = []
    for _ in range(rounds):
        for name in times:
            times[name].append(_seconds(runs[name], passes[name], device) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def _print(what: str, ms: dict[str, float], flops: float, peaks: dict[str, float]) -> None:
    print(f"\n{what} ({flops / 1e9:.1f} GFLOP)\n\n| engine | ms | of the peak |\n|---|---|---|")
    for name, each in sorted(ms.items(), key=lambda item: item[1]):
        peak = peaks["float16" if name.endswith(HALF) else "float32"]
        share = "" if name.endswith("tf32") else f"{flops / each * 1e3 / peak:.0%}"
        print(f"| {ENGINES[name]} | {each:.3f} | {share} |")
    print(flush=True)


def _runs(
    engines: Any, files: Any, batch: int, device: "torch.device"
) -> dict[str, Callable[[], object]]:
    """Return a pass of each engine that is installed."""
    import torch

    import darknet_torch as dt
    from darknet_torch.network import as_network

    network = as_network(dt.load(files.cfg, files.weights, dialect=files.dialect, device=device))
    x = torch.rand(batch, 3, files.side, files.side, device=device)
    runs: dict[str, Callable[[], object]] = {}
    for name in engines:
        make: Callable[..., Callable[[], object]] = MAKERS.get(name, _ours)
        try:
            run = make(name, network, files, x)
        except (ImportError, dt.DarknetError) as error:
            print(f"  {name}: cannot run here: {str(error).splitlines()[0]}")
            continue
        runs[name] = _without_gradients(run)
    return runs


def _without_gradients(run: Callable[[], object]) -> Callable[[], object]:
    import torch

    def call() -> None:
        with torch.inference_mode():
            run()

    return call


def _ours(name: str, network: "Network", _: Any, x: "torch.Tensor") -> Callable[[], object]:
    import darknet_torch as dt

    if name == "eager":
        return lambda: network(x)
    how, _, kind = name.partition(" ")
    dtype: Any = TYPES.get(kind, "float32")
    fast = dt.optimize(network, dtype=dtype, compile=how == "compiled")
    return lambda: fast(x)


def _by_hand(_: str, network: "Network", files: Any, x: "torch.Tensor") -> Callable[[], object]:
    """What one writes without this package: half, channels last, compiled, CUDA graphs."""
    from copy import deepcopy

    import torch

    model: Any = deepcopy(network).half()
    model = model.to(memory_format=torch.channels_last)
    compiled: Any = torch.compile(model, mode="reduce-overhead")
    half = x.half().contiguous(memory_format=torch.channels_last)
    return lambda: compiled(half)


def _libreyolo(_: str, network: "Network", files: Any, x: "torch.Tensor") -> Callable[[], object]:
    from libreyolo.models.darknet import DarknetNet, load_darknet_weights_file, parse_cfg_file

    model = DarknetNet(*parse_cfg_file(files.cfg)).eval()
    load_darknet_weights_file(model, files.weights)
    model = model.to(x.device)
    return lambda: model(x)


def _onnxruntime(_: str, network: "Network", files: Any, x: "torch.Tensor") -> Callable[[], object]:
    """Bind the input where it lies; outputs stay on the card."""
    import numpy as np
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ImportError("ONNX Runtime without CUDA")
    session = onnxruntime.InferenceSession(files.onnx, providers=["CUDAExecutionProvider"])
    binding = session.io_binding()
    place = ("cuda", x.device.index or 0)
    binding.bind_input("images", *place, np.float32, tuple(x.shape), x.data_ptr())
    for each in session.get_outputs():
        binding.bind_output(each.name, *place)
    return lambda: session.run_with_iobinding(binding)


def _tensorrt(_: str, network: "Network", files: Any, x: "torch.Tensor") -> Callable[[], object]:
    import tensorrt
    import torch

    import darknet_torch as dt

    target = Path(files.onnx).with_suffix(".engine")
    dt.export(network, target, dtype="float16", max_batch=len(x))
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(target.read_bytes())
    context = engine.create_execution_context()
    context.set_input_shape("images", tuple(x.shape))
    context.set_tensor_address("images", x.data_ptr())
    outputs = []
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        if name != "images":
            size = tuple(context.get_tensor_shape(name))
            outputs.append(torch.empty(size, device=x.device))
            context.set_tensor_address(name, outputs[-1].data_ptr())
    return lambda: context.execute_async_v3(torch.cuda.current_stream(x.device).cuda_stream)


MAKERS: dict[str, Callable[..., Callable[[], object]]] = {
    "by hand": _by_hand,
    "libreyolo": _libreyolo,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
