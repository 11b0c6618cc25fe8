"""From images to detections: forms of input, options, the broken image among good ones."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, ImageError, UsageError
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.postprocess import FAR
from darknet_torch.inference.streaming import MOST_AT_ONCE, _shares

CFG = """
[net]
width=64
height=48
channels=3
[convolutional]
filters=12
size=8
stride=8
activation=leaky
[convolutional]
filters=16
size=1
activation=linear
[yolo]
mask=0,1
anchors=10,12, 30,20
classes=3
num=2
"""
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture
def network() -> dt.Network:
    torch.manual_seed(3)
    network = dt.build(CFG, dialect="alexeyab")
    network.names = ("ant", "bee", "cow")
    return network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    path = tmp_path / "path.png"
    Image.fromarray(pixels).save(path)
    return path


def same(a: dt.Detections, b: dt.Detections, bound: float = 1e-4) -> bool:
    return (
        len(a) == len(b)
        and torch.equal(a.class_id, b.class_id)
        and bool(torch.allclose(a.xyxy, b.xyxy, atol=100 * bound))
        and bool(torch.allclose(a.score, b.score, atol=bound))
    )


def naive(network: dt.Network, path: Path, threshold: float, nms: float, letterbox: bool):
    """The whole way by hand: loops over cells, anchors, classes and boxes."""
    from darknet_torch.images import reading, resizing

    image = reading.read(path)
    fit = resizing.letterbox if letterbox else resizing.resize
    with torch.no_grad():
        (raw,) = network(fit(image, 64, 48)[None])
    raw = raw[0].numpy()
    new_w, new_h = resizing.fit(130, 90, 64, 48) if letterbox else (64, 48)
    anchors, rows = ((10, 12), (30, 20)), []
    for j in range(6):
        for i in range(8):
            for a, (anchor_w, anchor_h) in enumerate(anchors):
                t = raw[a * 8 : a * 8 + 8, j, i]
                s = 1 / (1 + np.exp(-t))
                x, y = (i + s[0]) / 8, (j + s[1]) / 6
                w, h = np.exp(t[2]) * anchor_w / 64, np.exp(t[3]) * anchor_h / 48
                x, w = (x - (64 - new_w) / 2 / 64) / (new_w / 64), w * 64 / new_w
                y, h = (y - (48 - new_h) / 2 / 48) / (new_h / 48), h * 48 / new_h
                for c in range(3):
                    if s[4] > threshold and s[4] * s[5 + c] > threshold:
                        rows.append(
                            (s[4] * s[5 + c], c, x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                        )
    kept = []
    for row in sorted(rows, reverse=True):
        if all(row[1] != other[1] or overlap(row[2:], other[2:]) <= nms for other in kept):
            kept.append(row)
    return kept


def overlap(a, b) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@pytest.mark.parametrize("device", DEVICES)
def test_batches_in_flight(network, device) -> None:
    """The last, smaller batch is prepared while the boxes of the one before are decoded."""
    rng = np.random.default_rng(4)
    images = [rng.integers(0, 256, (40 + n, 60, 3), dtype=np.uint8) for n in range(23)]
    expected = dt.detect(network, images, threshold=0.2)
    fast = dt.optimize(network.to(device), compile=False)
    found = dt.detect(fast, images, threshold=0.2, batch_size=4)
    assert all(same(*pair) for pair in zip(found, expected, strict=True))
    assert all(map(len, expected))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("letterbox", [False, True])
@pytest.mark.parametrize("nms", [0.45, 0.1])
def test_equals_the_loops(network, path, letterbox, nms, device) -> None:
    expected = naive(network, path, 0.2, nms, letterbox)
    detections = dt.detect(network.to(device), path, threshold=0.2, nms=nms, letterbox=letterbox)
    assert 3 < len(expected) == len(detections)
    assert detections.class_id.tolist() == [row[1] for row in expected]
    np.testing.assert_allclose(detections.score, [row[0] for row in expected], atol=1e-5)
    pixels = np.array([row[2:] for row in expected]) * (130, 90, 130, 90)
    np.testing.assert_allclose(detections.xyxy, pixels, atol=1e-3)


def test_forms_of_one_image(network, path) -> None:
    expected = dt.detect(network, str(path), threshold=0.2)
    image = Image.open(path)
    array = np.array(image)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    forms = [path, image, array, tensor, tensor.float() / 255, io.BytesIO(path.read_bytes())]
    for form in [*forms, path.read_bytes()]:
        detections = dt.detect(network, form, threshold=0.2)
        assert isinstance(detections, dt.Detections)
        assert same(detections, expected), type(form)
    assert expected.path == str(path)


def test_forms_of_many(network, path, tmp_path) -> None:
    other = tmp_path / "other.jpg"
    Image.effect_noise((40, 70), 90).convert("RGB").save(other)
    (tmp_path / "notes.txt").write_text("no image")
    expected = [dt.detect(network, path, threshold=0.2) for path in (other, path)]
    for many in ([other, path], tmp_path, str(tmp_path / "*[gn]"), iter([other, path])):
        detections = dt.detect(network, many, threshold=0.2, batch_size=2)
        assert isinstance(detections, list)
        assert [each.path for each in detections] == [str(other), str(path)]
        assert all(map(same, detections, expected))
    batch = torch.rand(3, 3, 50, 60)
    assert len(dt.detect(network, batch, threshold=0.2)) == 3


def test_a_broken_image_does_not_stop_the_rest(network, path, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    outcomes = list(Detector(network, batch_size=2).stream([path, broken, path]))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, ImageError)
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        dt.detect(network, [path, broken])


def test_broken_images_can_be_left_out(network, path, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.warns(DarknetWarning, match=r"left out: .*broken\.jpg") as caught:
        found = dt.detect(network, [path, broken, tmp_path / "none.jpg", path], errors="skip")
    assert len(caught) == 2
    assert isinstance(found, list)
    assert [each.path for each in found] == [str(path)] * 2
    with pytest.raises(ImageError, match=r"broken\.jpg"):  # of one image nothing would be left
        dt.detect(network, broken, errors="skip")
    with pytest.raises(UsageError, match="errors=ignore: must be one of raise, skip"):
        dt.detect(network, path, errors="ignore")


def test_a_stream_takes_what_detect_takes(network, path, tmp_path) -> None:
    """A folder, a glob, a list file, one image, a batch: not the letters of a name."""
    (tmp_path / "list.txt").write_text(f"{path}\n{path}\n")
    detector = Detector(network)
    one = [str(path)]
    for source, expected in (
        (str(tmp_path), one),
        (tmp_path / "list.txt", 2 * one),
        (str(tmp_path / "*.png"), one),
        (path, one),
    ):
        assert [str(outcome.source) for outcome in detector.stream(source)] == expected
    assert len(list(detector.stream(torch.rand(3, 3, 20, 20)))) == 3


ONE_BOX = """
[net]
width=32
height=32
channels=3
[maxpool]
size=32
stride=32
[convolutional]
filters=6
size=1
activation=linear
[yolo]
mask=0
anchors=16,16
classes=1
num=1
"""


@pytest.mark.parametrize(
    ("width", "left", "right"),
    [(200.0, -FAR, FAR), (float("inf"), -FAR, FAR), (float("nan"), 0, 0)],
)
def test_a_box_without_end_does_not_stop_the_rest(tmp_path, width, left, right) -> None:
    """Darknet goes on where exp(200) is infinite in float32; the images around have their boxes."""
    detector = Detector(dt.build(ONE_BOX))
    images = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for image in images:
        Image.new("RGB", (64, 48)).save(image)
    raw = torch.zeros(3, 6, 1, 1)
    raw[:, 4:] = 9
    raw[1, 2] = width
    with pytest.warns(DarknetWarning, match=r"b\.png: 1 of 1 boxes are infinite or NaN") as caught:
        found = detector.postprocess((raw,), [detector.prepare(image) for image in images])
    assert len(caught) == 1
    assert [each.xyxy.tolist() for each in found] == [
        [[16, 12, 48, 36]],
        [[left, 12, right, 36]],
        [[16, 12, 48, 36]],
    ]
    assert found[1].draw().size == (64, 48)


def test_outputs_that_are_not_numbers_are_told(tmp_path: Path) -> None:
    """No score of such an image is above a threshold; the images around are not meant."""
    detector = Detector(dt.build(ONE_BOX))
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    images = [detector.prepare(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    raw = torch.zeros(3, 6, 1, 1)
    raw[0, 4:] = 9
    raw[1] = float("nan")
    raw[2, 4:] = -9
    with pytest.warns(DarknetWarning, match=r"b\.png: no detections, as outputs .* NaN") as caught:
        found = detector.postprocess((raw,), images)
    assert len(caught) == 1
    assert [len(each) for each in found] == [1, 0, 0]


def test_infinite_outputs_are_no_nan(recwarn) -> None:
    """Although their sum is."""
    detector = Detector(dt.build(ONE_BOX))
    raw = torch.full((1, 6, 1, 1), -9.0)
    raw[0, 0], raw[0, 1] = float("inf"), float("-inf")
    assert raw.sum().isnan()
    assert not len(*detector.postprocess((raw,), [detector.prepare(np.zeros((4, 4, 3), np.uint8))]))
    assert not recwarn.list


def many_images(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for path in paths:
        size = (*rng.integers(20, 90, 2), 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return paths


RUNNERS = {
    "plain": lambda network: network,
    "packed": lambda network: dt.optimize(network, compile=False),
    "compiled": dt.optimize,
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_long_lists_run_side_by_side(network, tmp_path, runner, batch_size) -> None:
    paths = many_images(tmp_path, 20)
    paths[7].write_bytes(b"broken")
    busy, at_once, threads = set(), [], torch.get_num_threads()

    class Watched(Detector):
        def forward(self, images):
            busy.add((threading.get_ident(), torch.get_num_threads()))
            assert len(images) <= batch_size
            return super().forward(images)

        def postprocess(self, outputs, images):
            at_once.append(len(images))
            return super().postprocess(outputs, images)

    chosen = {"threshold": 0.2, "batch_size": batch_size}
    fast = list(Watched(RUNNERS[runner](network), **chosen, workers=2).stream(paths))
    assert {each for _, each in busy} == {max(1, threads // 2)}
    assert sum(at_once) == 19
    assert max(at_once) > batch_size or batch_size > 1
    assert threading.get_ident() not in {thread for thread, _ in busy}
    assert torch.get_num_threads() == threads
    one_by_one = list(Watched(network, **chosen, workers=1).stream(paths))
    assert (threading.get_ident(), threads) in busy
    assert [each.source for each in fast] == [each.source for each in one_by_one] == paths
    assert [each.error is None for each in fast] == [number != 7 for number in range(20)]
    assert all(same(a.result, b.result) for a, b in zip(fast, one_by_one, strict=True) if a.result)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 20])
@pytest.mark.parametrize("count", [0, 1, 7, 64, 129])
def test_shares_of_the_workers(count, batch_size) -> None:
    shares = _shares(range(count), batch_size, 2)
    assert [number for share in shares for number in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size % batch_size == 0 for size in sizes[:-1])
    assert all(size <= max(MOST_AT_ONCE, batch_size) for size in sizes)
    assert sizes[-1:] in ([], [1]) or batch_size > 1


def test_what_may_not_run_side_by_side(network, tmp_path) -> None:
    """Short lists and iterators need the least delay; recurrent networks remember."""
    paths, here = many_images(tmp_path, 12), threading.get_ident()
    recurrent = dt.build(CFG.replace("[yolo]", "[crnn]\nhidden=16\noutput=16\npad=1\n[yolo]"))
    assert network.concurrent and not recurrent.concurrent
    for runner, sources in ((network, paths[:3]), (network, iter(paths)), (recurrent, paths)):

        class Watched(Detector):
            def forward(self, images):
                assert threading.get_ident() == here
                return super().forward(images)

        assert all(each.error is None for each in Watched(runner, workers=2).stream(sources))


def test_errors_of_a_pass_come_through(network, tmp_path) -> None:
    class Broken(Detector):
        def forward(self, images):
            raise UsageError("no")

    threads = torch.get_num_threads()
    with pytest.raises(UsageError, match="no"):
        list(Broken(network, workers=2).stream(many_images(tmp_path, 12)))
    assert torch.get_num_threads() == threads


def test_one_compilation_for_all_threads(network, tmp_path, monkeypatch) -> None:
    from darknet_torch.speed import optimized

    shapes = []
    monkeypatch.setattr(optimized, "compiled_for", lambda run, x: shapes.append(x.shape) or run)
    monkeypatch.setattr(optimized, "can_compile", lambda network: True)
    monkeypatch.setattr(optimized, "has_tiny_layers", lambda network: False)
    list(Detector(dt.optimize(network), workers=2).stream(many_images(tmp_path, 12)))
    assert shapes == [(1, 3, 48, 64)]


def test_classes_and_limits(network, path) -> None:
    every = dt.detect(network, path, threshold=0.2)
    for classes in (["bee"], [1]):
        only = dt.detect(network, path, threshold=0.2, classes=classes)
        assert same(only, every[every.class_id == 1])
        assert len(only) > 0
    assert same(dt.detect(network, path, threshold=0.2, max_det=2), every[:2])
    with pytest.raises(UsageError, match="wasp"):
        dt.detect(network, path, classes=["wasp"])


def test_agnostic_nms(network, path) -> None:
    every = dt.detect(network, path, threshold=0.2, nms=0)
    kept: list[int] = []
    for i in range(len(every)):
        if all(overlap(every.xyxy[i].tolist(), every.xyxy[k].tolist()) <= 0.3 for k in kept):
            kept.append(i)
    detections = dt.detect(network, path, threshold=0.2, nms=0.3, agnostic=True)
    assert same(detections, every[kept])
    assert len(kept) < len(dt.detect(network, path, threshold=0.2, nms=0.3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2}, "threshold=2: must be from 0 to 1"),
        ({"nms": -1}, "nms=-1"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"nms_kind": "soft"}, "nms_kind=soft: must be one of"),
    ],
)
def test_wrong_options(network, path, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        dt.detect(network, path, **options)


def test_a_classifier_yields_no_boxes(path) -> None:
    classifier = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]")
    with pytest.raises(UsageError, match="classifier"):
        dt.detect(classifier, path)


def test_defaults_come_from_the_dialect(path) -> None:
    for dialect, threshold, letterbox in (("pjreddie", 0.5, True), ("alexeyab", 0.25, False)):
        detector = Detector(dt.build(CFG, dialect=dialect))
        assert (detector.threshold, detector.letterbox) == (threshold, letterbox)
    boxed = dt.build(CFG.replace("channels=3", "channels=3\nletter_box=1"))
    assert Detector(boxed).letterbox


def test_half_precision(network, path) -> None:
    expected = dt.detect(network, path, threshold=0.2, nms=0)
    detections = dt.detect(network.half(), path, threshold=0.2, nms=0)
    assert abs(len(detections) - len(expected)) <= 2
    assert float((detections.score[:5] - expected.score[:5]).abs().max()) < 5e-3


def test_empty_folder_and_glob(network, tmp_path) -> None:
    with pytest.raises(ImageError, match="an empty path is no image"):
        dt.detect(network, "")
    with pytest.raises(ImageError, match="no images in this folder"):
        dt.detect(network, tmp_path)
    with pytest.raises(ImageError, match="no file matches"):
        dt.detect(network, str(tmp_path / "*.png"))


def test_what_is_no_network():
    network = dt.build("yolov4-tiny", width=32, height=32)
    wrapped = torch.nn.DataParallel(network)
    for other, hint in (("my.weights", "not str$"), (wrapped, "DataParallel; its .module is one$")):
        with pytest.raises(UsageError, match=hint):
            dt.detect(other, dt.SAMPLE)
        with pytest.raises(UsageError, match=hint):
            dt.classify(other, dt.SAMPLE)
    assert Detector(wrapped.module)


@pytest.mark.parametrize("address", ["rtsp://camera:554/1", "RTMP://host/live"])
def test_a_stream_is_no_image(address):
    network = dt.build("yolov4-tiny", width=32, height=32)
    with pytest.raises(ImageError, match="a stream, no image; `darknet-torch video` and"):
        dt.detect(network, address)


def test_no_password_is_shown():
    network = dt.build("yolov4-tiny", width=32, height=32)
    with pytest.raises(ImageError, match=r"^rtsp://\*\*\*@camera/1: a stream"):
        dt.detect(network, "rtsp://me:secret@camera/1")
