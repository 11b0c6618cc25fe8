"""Jobs of several threads, computed together: batches, order, errors, the end."""

import io
import threading
from typing import Any

import pytest
import torch
from PIL import Image
from small_server import LOW, photo

import darknet_torch as dt
from darknet_torch.images import decoders
from darknet_torch.inference import detector as detector_module
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network
from darknet_torch.server.batcher import Batcher, Batching, Job, of_images


class Counting:
    """A network that notes the sizes of its batches, and waits until it may compute."""

    def __init__(self, network: Network) -> None:
        self.network, self.sizes, self.may = network, list[int](), threading.Event()
        self.concurrent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, x: torch.Tensor) -> Any:
        self.may.wait(10)
        self.sizes.append(len(x))
        return self.network(x)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, "JPEG")
    return file.getvalue()


def found(job: Job) -> Any:
    return job.future.result(10)


def job_of(detector: Detector, image: bytes) -> Job:
    return Job(image, detector, lambda computed: computed.result)


def test_what_waits_is_computed_together(small_network: Network) -> None:
    counting = Counting(small_network)
    seen: list[tuple[int, float]] = []
    batching = Batching(batch_size=4, workers=1)
    batcher = Batcher(counting, batching, lambda count, _: seen.append((count, 0)))
    detectors = [Detector(counting, threshold=LOW + 0.01 * number) for number in range(9)]
    images = [photo(seed=number) for number in range(9)]
    jobs = [job_of(*pair) for pair in zip(detectors, images, strict=True)]
    first = batcher.submit(jobs[0])
    while batcher.waiting:
        pass
    for job in jobs[1:]:
        batcher.submit(job)
    counting.may.set()
    first.result(10)
    results = [found(job) for job in jobs]
    batcher.close()
    assert counting.sizes == [1, 4, 4]
    assert [count for count, _ in seen] == [1, 4, 4]
    for number, result in enumerate(results):
        alone = dt.detect(small_network, images[number], threshold=LOW + 0.01 * number)
        assert isinstance(alone, dt.Detections)
        assert torch.allclose(result.xyxy, alone.xyxy, atol=0.02)
        assert result.class_id.tolist() == alone.class_id.tolist()


class Postprocessing(Detector):
    """A detector that notes how many images it postprocesses at once."""

    counts: list[int]

    def postprocess(self, outputs: Any, images: Any) -> list[dt.Detections]:
        self.counts.append(len(images))
        return super().postprocess(outputs, images)


def test_images_of_one_detector_are_postprocessed_together(small_network: Network) -> None:
    """Those of others apart; whoever keeps outputs has those of its own image."""
    counting = Counting(small_network)
    batcher = Batcher(counting, Batching(batch_size=6, workers=1, batch_wait=5))
    low, high = (Postprocessing(counting, threshold=LOW + more) for more in (0, 0.05))
    low.counts, high.counts = [], []
    images = [photo(seed=number) for number in range(6)]
    tasks = [low, high, low, low, high, low]
    jobs = [
        Job(image, task, lambda computed: computed, keeps_outputs=number in (2, 4))
        for number, (image, task) in enumerate(zip(images, tasks, strict=True))
    ]
    counting.may.set()
    for job in jobs:
        batcher.submit(job)
    computed = [found(job) for job in jobs]
    batcher.close()
    assert (counting.sizes, low.counts, high.counts) == ([6], [4], [2])
    for image, task, each, job in zip(images, tasks, computed, jobs, strict=True):
        alone = dt.detect(small_network, image, threshold=task.threshold)
        assert isinstance(alone, dt.Detections)
        assert torch.allclose(each.result.xyxy, alone.xyxy, atol=0.02)
        assert bool(each.outputs) == job.keeps_outputs
        if each.outputs:
            (again,) = Detector.postprocess(task, each.outputs, [each.image])
            assert torch.equal(again.xyxy, each.result.xyxy)


def test_an_error_of_postprocessing_is_that_of_its_image(small_network: Network) -> None:
    class Failing(Detector):
        def postprocess(self, outputs: Any, images: Any) -> list[dt.Detections]:
            if any(image.width == 50 for image in images):
                raise MemoryError
            return super().postprocess(outputs, images)

    batcher = Batcher(small_network, Batching(batch_size=4, workers=1, batch_wait=5))
    failing, good = Failing(small_network, threshold=LOW), Detector(small_network, threshold=LOW)
    kinds = [(failing, 96), (good, 50), (failing, 50), (failing, 97)]
    jobs = [job_of(task, photo(width)) for task, width in kinds]
    for job in jobs:
        batcher.submit(job)
    with pytest.raises(MemoryError):
        found(jobs[2])
    for number in (0, 1, 3):
        width = kinds[number][1]
        alone = dt.detect(small_network, photo(width), threshold=LOW)
        assert isinstance(alone, dt.Detections)
        assert found(jobs[number]).width == width
        assert torch.allclose(found(jobs[number]).xyxy, alone.xyxy, atol=0.02)
    batcher.close()


def test_a_broken_image_spoils_no_other(small_network: Network) -> None:
    batcher = Batcher(small_network, Batching(workers=1, batch_wait=0.05))
    detector = Detector(small_network)
    good, bad = job_of(detector, photo()), job_of(detector, b"none")
    for job in (bad, good):
        batcher.submit(job)
    assert found(good).width == 96
    with pytest.raises(dt.DarknetError):
        found(bad)
    failing = Job(photo(), detector, lambda _: 1 // 0)
    batcher.submit(failing)
    with pytest.raises(ZeroDivisionError):
        found(failing)
    batcher.submit(again := job_of(detector, photo()))
    assert found(again).width == 96
    batcher.close()


def test_a_jpeg_that_the_device_refuses_spoils_no_other(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow takes its place in the first image, and refuses the second, too."""

    def refuse(contents: list[bytes], device: torch.device) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr(decoders, "_nvjpeg", refuse)
    monkeypatch.setattr(detector_module, "check_decoder", lambda decoder, device: decoder)
    detector = Detector(small_network, decoder="nvjpeg")
    batcher = Batcher(small_network, Batching(workers=1, batch_wait=0.05))
    content = bytearray(jpeg())
    start = content.index(b"\xff\xc4")  # its Huffman tables
    content[start + 4 : start + 40] = b"\xff" * 36
    jobs = [job_of(detector, jpeg()), job_of(detector, bytes(content))]
    for job in jobs:
        batcher.submit(job)
    assert found(jobs[0]).width == 60
    with pytest.raises(dt.DarknetError):
        found(jobs[1])
    batcher.close()


def test_what_was_cancelled_is_not_computed(small_network: Network) -> None:
    counting = Counting(small_network)
    batcher = Batcher(counting, Batching(batch_size=1, workers=1, batch_wait=0))
    detector = Detector(counting)
    jobs = [job_of(detector, photo()) for _ in range(3)]
    batcher.submit(jobs[0])
    while batcher.waiting:
        pass
    for job in jobs[1:]:
        batcher.submit(job)
    assert jobs[1].future.cancel()
    counting.may.set()
    found(jobs[2])
    batcher.close()
    assert counting.sizes == [1, 1]


def test_the_end(small_network: Network) -> None:
    """What waits is computed, the cores are as before, and nothing more is taken."""
    before = torch.get_num_threads()
    batcher = Batcher(small_network, Batching())
    detector = Detector(small_network)
    jobs = [job_of(detector, photo()) for _ in range(9)]
    for job in jobs:
        batcher.submit(job)
    batcher.close()
    assert all(job.future.done() for job in jobs)
    assert torch.get_num_threads() == before
    with pytest.raises(dt.DarknetError, match="the server ends"):
        batcher.submit(job_of(detector, photo()))


def test_when_the_interpreter_ends_nothing_more_is_computed(small_network: Network) -> None:
    counting = Counting(small_network)
    batcher = Batcher(counting, Batching(batch_size=1, workers=1, batch_wait=0))
    jobs = [job_of(Detector(counting), photo()) for _ in range(3)]
    batcher.submit(jobs[0])
    while batcher.waiting:
        pass
    for job in jobs[1:]:
        batcher.submit(job)
    batcher.stop()
    counting.may.set()
    assert found(jobs[0]).width == 96
    assert [job.future.cancelled() for job in jobs] == [False, True, True]
    batcher.close()
    assert counting.sizes == [1]


def test_a_network_in_training_mode_computes_as_at_inference(small_network: Network) -> None:
    small_network.train()
    before = small_network.state_dict()["layers.0.bn.running_mean"].clone()
    batcher = Batcher(small_network, Batching())
    batcher.submit(job := job_of(Detector(small_network, threshold=LOW), photo()))
    result = found(job)
    batcher.close()
    assert small_network.training
    assert torch.equal(before, small_network.state_dict()["layers.0.bn.running_mean"])
    alone = dt.detect(small_network.eval(), photo(), threshold=LOW)
    assert isinstance(alone, dt.Detections)
    assert torch.equal(result.xyxy, alone.xyxy)


def test_detections_of_one_image_of_a_batch(small_network: Network) -> None:
    """Of a file whose rows are detections after NMS."""

    class Rows:
        contents = "detections"

    rows = torch.tensor([[0.0, 1, 2, 3, 4, 0.5, 0], [2, 1, 1, 1, 1, 0.4, 1], [2, 0, 0, 1, 1, 1, 0]])
    of = [of_images((rows,), [number], Rows())[0] for number in range(3)]  # type: ignore[arg-type]
    assert [each.shape[0] for each in of] == [1, 0, 2]
    assert of[2][:, 0].tolist() == [0, 0]
    assert of[2][:, 5].tolist() == [rows[1, 5], 1]
    assert rows[:, 0].tolist() == [0, 2, 2]
    (both,) = of_images((rows,), [2, 0], Rows())  # type: ignore[arg-type]
    assert both[:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": 0}, {"batch_wait": -1}])
def test_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(dt.DarknetError, match="must be at least"):
        Batching(**wrong)
