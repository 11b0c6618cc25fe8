"""Batches on their way to a graphics card, whose streams are written down here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from written_streams import written_streams

from darknet_torch.errors import DataError
from darknet_torch.layers.truth import Truth
from darknet_torch.training.collate import Batch
from darknet_torch.training.uploading import Uploaded


def batches() -> Iterator[Batch]:
    for number in range(3):
        images = torch.full((2, 3, 4, 4), number, dtype=torch.uint8)
        yield Batch(images, Truth.empty(2), (Path("a"), Path("b")), torch.tensor([[0.0, 1, 1]] * 2))


def test_on_the_cpu_they_come_one_by_one() -> None:
    source = batches()
    made = Uploaded(source, torch.device("cpu"))
    made.prepare()  # does nothing
    first = next(made)
    assert int(first.images.max()) == 0
    assert first.colours is None  # they are made
    assert int(next(source).images.max()) == 1  # not read ahead


def test_a_card_gets_the_next_one_while_it_computes_this_one(monkeypatch) -> None:
    steps = written_streams(monkeypatch)

    def copied(batch: Batch, device: torch.device) -> Batch:
        steps.append(f"copy {int(batch.images.max())}")
        return batch

    monkeypatch.setattr(Batch, "on", copied)
    kept = []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: kept.append(stream))
    made = Uploaded(batches(), torch.device("cuda", 1))
    for batch in made:
        assert batch.truth.valid.shape == (2, 16) and not batch.truth.valid.any()
        steps.append(f"compute {int(batch.images.max())}")
        made.prepare()
        made.prepare()  # it is there
    copies = [
        ["on beside", f"copy {number}", "beside: record", "end of beside"] for number in range(3)
    ]
    wait = "computing: wait for beside"
    assert steps == [
        *copies[0],
        wait,
        "compute 0",
        *copies[1],
        wait,
        "compute 1",
        *copies[2],
        wait,
        "compute 2",
    ]
    assert {stream.name for stream in kept} == {"computing"}
    assert len(kept) == 3 * 5  # images, boxes, class_id, valid, has_box


def test_a_broken_image_is_an_error_of_its_own_batch(monkeypatch) -> None:
    written_streams(monkeypatch)
    monkeypatch.setattr(Batch, "on", lambda batch, device: batch)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)

    def broken() -> Iterator[Batch]:
        yield next(batches())
        raise DataError("b.jpg: cannot be read")

    made = Uploaded(broken(), torch.device("cuda", 1))
    next(made)
    made.prepare()
    made.prepare()
    for _ in range(2):
        with pytest.raises(DataError, match="cannot be read"):
            next(made)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_on_a_card() -> None:
    device = torch.device("cuda")
    for number, batch in enumerate(Uploaded((b.pin_memory() for b in batches()), device)):
        assert batch.images.is_cuda
        assert (batch.images == number).all()
