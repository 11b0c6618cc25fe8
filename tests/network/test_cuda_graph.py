"""Functions recorded on a graphics card."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from darknet_torch.network.cuda_graph import CudaGraph

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")


def test_it_runs_again_with_other_values() -> None:
    def run(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x.float() + y, x * 2

    graph = CudaGraph(run, [torch.zeros(4, dtype=torch.float16).cuda(), torch.ones(4).cuda()])
    for number in range(3):
        total, twice = graph(torch.full((4,), float(number)).cuda(), torch.ones(4).cuda())
        assert total.tolist() == [number + 1] * 4
        assert twice.tolist() == [2 * number] * 4
        assert twice.dtype == torch.float16


def test_what_waits_cannot_be_recorded() -> None:
    with pytest.raises(RuntimeError):
        CudaGraph(lambda x: (x.nonzero(),), [torch.ones(4).cuda()])
    assert int(torch.ones(4).cuda().sum()) == 4  # the card goes on


def test_threads_record_one_after_the_other() -> None:
    def record(number: int) -> float:
        graph = CudaGraph(lambda x: (x + number,), [torch.ones(4).cuda()])
        return float(graph(torch.full((4,), 1.0).cuda())[0][0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(record, range(16))) == [1.0 + number for number in range(16)]
