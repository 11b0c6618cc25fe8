"""Records of a data set: resumed from a cache, and by several processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import darknet_torch as dt
from darknet_torch.data import Dataset, GroundTruth, Sample
from darknet_torch.distributed import Ranks
from darknet_torch.evaluation.cache import Record, encode
from darknet_torch.evaluation.collect import EvaluationTask, RunSettings, collect_records


class Counting(torch.nn.Module):
    """A network that counts the batches that run through it, and may stop."""

    def __init__(self, network: dt.Network, stop: int = 1 << 30) -> None:
        super().__init__()
        self.network, self.plan, self.names = network, network.plan, network.names
        self.device, self.dtype, self.input_dtype = network.device, network.dtype, network.dtype
        self.contents, self.letterbox, self.concurrent = "raw", network.letterbox, False
        self.batches, self.stop = 0, stop

    def forward(self, x: torch.Tensor) -> object:
        self.batches += 1
        if self.batches > self.stop:
            raise KeyboardInterrupt
        return self.network(x)


def test_a_cache_goes_on_where_it_stopped(folder: Path, network: dt.Network) -> None:
    plain = dt.evaluate(network, "data.yaml", batch_size=2)
    stopped = Counting(network, stop=3)  # the first batch is noise, for the key; two are images
    with pytest.raises(KeyboardInterrupt):
        dt.evaluate(stopped, "data.yaml", batch_size=2, cache="records")
    (path,) = Path("records").iterdir()
    with path.open("a") as file:
        file.write('{"picture":4,"error":null,"rows":[[0,0.9,1,')  # as if cut off
    again = Counting(network)
    calls: list[tuple[int, int]] = []
    result = dt.evaluate(
        again,
        "data.yaml",
        batch_size=2,
        cache="records",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert again.batches == 1 + 2
    assert calls == [(5, 7), (6, 7), (7, 7)]
    assert result.detections.to_rows().tolist() == plain.detections.to_rows().tolist()
    known = Counting(network)
    whole = dt.evaluate(known, "data.yaml", batch_size=2, cache="records")
    assert known.batches == 1
    assert whole.to_json() == plain.to_json()


def test_a_cache_belongs_to_one_network_and_one_setting(folder: Path, network: dt.Network) -> None:
    dt.evaluate(network, "data.yaml", cache="records")
    other = dt.build("net.cfg")
    assert not torch.equal(other.layers[0].conv.weight, network.layers[0].conv.weight)
    for each, options in ((other, {}), (network, {"nms": 0.3}), (network, {"threshold": 0.1})):
        counting = Counting(each)
        dt.evaluate(counting, "data.yaml", cache="records", **options)
        assert counting.batches == 8
    (folder / "photos" / "2.png").write_bytes((folder / "photos" / "1.png").read_bytes())
    counting = Counting(network)
    dt.evaluate(counting, "data.yaml", cache="records")
    assert counting.batches == 8


@pytest.mark.parametrize("size", [1, 2, 3])
def test_torchrun_gives_the_same_result(folder: Path, network: dt.Network, size: int) -> None:
    want = dt.evaluate(network, "data.yaml", batch_size=2).to_dict()
    torchrun = f"-m torch.distributed.run --standalone --nproc-per-node {size} --no-python"
    verb = "evaluate net.cfg net.weights data.yaml --batch-size 2 --json --cache records"
    script = Path(sys.executable).parent / "darknet-torch"
    run = subprocess.run(
        [sys.executable, *torchrun.split(), script, *verb.split()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    assert got == json.loads(json.dumps(want))
    assert len(list(Path("records").iterdir())) == size


def test_records_of_other_processes_arrive_whole() -> None:
    """With those of this process, in the order of the images."""
    samples = tuple(Sample(Path(f"{n}"), 1, 1, GroundTruth.empty(), n + 1) for n in range(5))
    other = "".join(encode(Record(n, np.full((n, 6), n, np.float32))) for n in (2, 3))

    class Two(Ranks):
        def gather(self, content: bytes) -> list[bytes]:
            return [content, other.encode()]

    def stream(paths):
        from darknet_torch.inference.streaming import Outcome

        yield from (Outcome(path, int(path.name)) for path in paths)

    task = EvaluationTask(
        None, stream, lambda number: np.full((number, 6), number, np.float32), 2, ""
    )
    settings = RunSettings(None, None, Two(0, 2))
    records = collect_records(task, Dataset(("a",), samples), settings)
    assert list(records) == [0, 1, 2, 3, 4]
    assert [len(record.rows) for record in records.values()] == [0, 1, 2, 3, 4]
