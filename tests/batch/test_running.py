"""Images in, Parquet out: every image once, whatever is stopped, killed or broken."""

import io
import json
import os
import pickle
import signal
import sys
import tarfile
import threading
from collections import Counter
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.batch import detector as batch_detector
from darknet_torch.batch import inputs, running
from darknet_torch.batch.detector import RESULT_COLUMNS, RayDetector
from darknet_torch.batch.inputs import units_of
from darknet_torch.batch.output import Output
from darknet_torch.cli import main
from darknet_torch.errors import UsageError
from darknet_torch.extras import installed

parquet = pytest.importorskip("pyarrow.parquet", reason='needs the extra "batch"')
pyarrow = pytest.importorskip("pyarrow", reason='needs the extra "batch"')

pytestmark = pytest.mark.usefixtures("small_folder")

NETWORK = ["net.cfg", "net.weights"]


def encoded(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


def photos(count: int) -> None:
    """Images in a folder and one below, one of them broken."""
    Path("photos/more").mkdir(parents=True)
    for number in range(count):
        folder = "photos/more" if number % 2 else "photos"
        Path(f"{folder}/{number}.png").write_bytes(encoded(number) if number else b"broken")


def rows() -> list[dict[str, Any]]:
    tables = [parquet.read_table(path) for path in sorted(Path("found").glob("part-*.parquet"))]
    return pyarrow.concat_tables(tables).to_pylist() if tables else []


def names(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(Path(row["path"]).name for row in found)


def batch(source: str, *more: str) -> int:
    return main(["batch", *NETWORK, source, "found", "--threshold", "0.1", "-q", *more])


def test_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    photos(5)
    assert batch("photos") == 1  # one is broken
    assert "5 images, 1 of them cannot be read" in capsys.readouterr().out
    found = {Path(row["path"]).stem: row for row in rows()}
    assert sorted(found) == ["0", "1", "2", "3", "4"]
    assert found["0"]["error"]
    assert found["0"]["width"] == 0
    assert not found["0"]["boxes"]
    network = dt.load("net.cfg", "net.weights", names="net.names")
    expected = dt.detect(network, "photos/2.png", threshold=0.1)
    assert isinstance(expected, dt.Detections)
    assert len(expected) > 3
    assert np.allclose(found["2"]["boxes"], expected.xyxy.flatten(), atol=1e-3)
    assert found["2"]["class_ids"] == expected.class_id.tolist()
    assert (found["2"]["width"], found["2"]["height"]) == (64, 48)
    assert set(found["2"]) == {"path", *RESULT_COLUMNS}
    assert parquet.read_table("found").num_rows == 5  # as other programs read a folder


def test_a_restart_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    photos(4)
    assert batch("photos/*.png") == 1
    assert batch("photos") == 0  # what is left
    assert "2 images, 0 of them" in capsys.readouterr().out
    assert batch("photos") == 0
    assert names(rows()) == Counter({f"{number}.png": 1 for number in range(4)})
    settings = json.loads(Path("found/_settings.json").read_text())
    del settings["decoder"]  # as an earlier version wrote it
    Path("found/settings.json").write_text(json.dumps(settings))
    Path("found/_settings.json").unlink()
    assert batch("photos") == 0
    if installed("simplejpeg"):
        assert batch("photos", "--decoder", "turbojpeg") == 2
        assert "was begun with decoder=pillow, not turbojpeg" in capsys.readouterr().err
    assert main(["batch", *NETWORK, "photos", "found", "--nms", "0.3", "-q"]) == 2
    assert "was begun with" in capsys.readouterr().err


def test_a_part_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    photos(2)
    Path("found").mkdir()
    Path("found/part-a.parquet").write_text("no Parquet\n" * 100)
    assert batch("photos") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "found/part-a.parquet: is none of its parts: " in line
    assert len(line) < 400


def test_shards(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shards").mkdir()
    with tarfile.open("shards/a.tar", "w") as archive:
        for name, content in (("1.png", encoded(1)), ("1.json", b"{}"), ("2.png", b"broken")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    table = pyarrow.table({"image": [{"bytes": encoded(3), "path": "3"}], "n": [1]})
    parquet.write_table(table, "shards/b.parquet")
    Path("shards/c.tar").write_bytes(b"no archive" * 100)
    assert batch("shards", "--column", "image") == 1
    printed = capsys.readouterr()
    assert "3 images, 1 of them cannot be read" in printed.out
    assert "c.tar: cannot be read" in printed.err
    assert names(rows()) == Counter({"1.png": 1, "2.png": 1, "b.parquet#0": 1})
    assert batch("shards", "--column", "image") == 1  # the damaged one is tried again
    assert "0 images" in capsys.readouterr().out
    with pytest.raises(UsageError, match="has no column pixels; there are image, n"):
        list(units_of("shards/b.parquet", frozenset())[0][0].items("pixels"))


def test_what_is_no_image_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, texts and numbers in Parquet; files and members that are too large to be read."""
    monkeypatch.setattr(inputs, "LARGEST", len(encoded(1)))
    Path("in").mkdir()
    Path("in/1.png").write_bytes(encoded(1))
    Path("in/2.png").write_bytes(encoded(1) + b"\0")
    with tarfile.open("in/a.tar", "w") as archive:
        archive.add("in/1.png", "3.png")
        archive.add("in/2.png", "4.png")
    values = [{"bytes": each} for each in (encoded(1), None, encoded(1) + b"\0")]
    parquet.write_table(pyarrow.table({"image": values}), "in/b.parquet")
    parquet.write_table(pyarrow.table({"image": ["x.png"]}), "in/c.parquet")
    parquet.write_table(pyarrow.table({"image": [1 << 60]}), "in/d.parquet")
    assert batch("in", "--column", "image") == 1
    reasons = {Path(row["path"]).name: row["error"].partition(": ")[2] for row in rows()}
    large = f"has more than {inputs.LARGEST} bytes"
    no_image = "not the bytes of an image, but "
    assert reasons == {
        **dict.fromkeys(("1.png", "3.png", "b.parquet#0"), ""),
        **dict.fromkeys(("2.png", "4.png", "b.parquet#2"), large),
        "b.parquet#1": f"{no_image}nothing",
        "c.parquet#0": f"{no_image}str",
        "d.parquet#0": f"{no_image}int",
    }
    found = RayDetector(*NETWORK)({"bytes": [encoded(1), None, 1 << 60]})
    assert [not each for each in found["error"]] == [True, False, False]


def test_units_of_few_and_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are shared out in small units, so that many workers have equal shares."""
    for count, size in ((10, 16), (400, 16), (6400, 100), (20_000, 256)):
        monkeypatch.setattr(
            inputs, "_listed", lambda source, n=count: [f"{i}.jpg" for i in range(n)]
        )
        units, _ = units_of("photos", frozenset())
        sizes = [len(unit.addresses) for unit in units]
        assert sum(sizes) == count
        assert max(sizes) == min(size, count)


def test_files_are_read_at_the_same_time_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as READERS: an object store takes its time for each."""
    together = threading.Barrier(inputs.READERS, timeout=20)

    def fetch(address: str) -> bytes:
        together.wait()
        return address.encode()

    monkeypatch.setattr(inputs, "_content", fetch)
    addresses = tuple(f"{number}.jpg" for number in range(2 * inputs.READERS))
    found = list(inputs.Unit(addresses).items("bytes"))
    assert found == [(each, each.encode()) for each in addresses]


def test_a_worker_compiles_on_request_only() -> None:
    """As that takes longer than some thousand images."""
    assert not RayDetector(*NETWORK).detector.network.compiles
    assert RayDetector(*NETWORK, compile=True).compile


@pytest.mark.parametrize(
    ("device", "cores", "threads"), [("cpu", 16, 2), ("cuda:0", 16, 8), ("cuda:0", 4, 4)]
)
def test_threads_that_read(
    device: str, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = SimpleNamespace(device=torch.device(device))
    monkeypatch.setattr(batch_detector, "core_count", lambda: cores)
    assert batch_detector._threads(network) == threads
    assert RayDetector(*NETWORK).detector.workers == 2
    assert RayDetector(*NETWORK, workers=3).detector.workers == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos"], "come INPUT and OUTPUT"),
        (["", "found"], "come INPUT and OUTPUT, neither of them empty"),
        (["nothing", "found"], "nothing: no images"),
        (["what://x/y", "found"], "cannot be listed"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", *NETWORK, *words]) == 2
    assert message in capsys.readouterr().err


def test_columns_of_spark_and_dask() -> None:
    """A DataFrame in, a DataFrame out; the class is pickled without its network."""
    pandas = pytest.importorskip("pandas")
    detector = RayDetector(*NETWORK, threshold=0.1)
    frame = pandas.DataFrame({"id": [7, 8], "bytes": [encoded(1), b"broken"]}, index=[3, 4])
    found = detector(frame)
    assert list(found.columns) == ["id", "bytes", *RESULT_COLUMNS]
    assert list(found.index) == [3, 4]
    assert found["error"].tolist()[0] == ""
    assert found["error"].tolist()[1]
    again = pickle.loads(pickle.dumps(detector))
    assert again._detector is None
    assert again({"bytes": frame["bytes"].tolist()})["scores"][0] == found["scores"][3]
    with pytest.raises(UsageError, match="has no column bytes; there are id"):
        detector({"id": [1]})


def frame_of(count: int) -> Any:
    """Images with their numbers, the second one broken."""
    pandas = pytest.importorskip("pandas")
    contents = [encoded(number) if number != 1 else b"broken" for number in range(count)]
    return pandas.DataFrame({"id": range(count), "bytes": contents})


def same(found: Any, expected: Any) -> bool:
    rows = zip(found.itertuples(), expected.itertuples(), strict=True)
    return all(
        np.allclose(a.boxes, b.boxes, atol=1e-3)
        and list(a.class_ids) == list(b.class_ids)
        and (a.id, a.width, a.height, a.error) == (b.id, b.width, b.height, b.error)
        for a, b in rows
    )


@pytest.mark.parametrize("column", ["bytes", "path"])
def test_dask(column: str) -> None:
    dask = pytest.importorskip("dask")
    frames = pytest.importorskip("dask.dataframe")
    frame = frame_of(6)
    detector = RayDetector(*NETWORK, threshold=0.1)
    expected = detector(frame)
    if column == "path":
        frame["path"] = [f"{number}.png" for number in frame["id"]]
        for path, content in zip(frame["path"], frame.pop("bytes"), strict=True):
            Path(path).write_bytes(content)
        expected["error"] = expected["error"].str.replace("<bytes>", "1.png")
        detector = RayDetector(*NETWORK, threshold=0.1, column="path")
    with dask.config.set({"dataframe.convert-string": column == "path"}):
        lazy = frames.from_pandas(frame, npartitions=3).map_partitions(detector)
    assert list(lazy.columns) == [*frame.columns, *RESULT_COLUMNS]
    found = lazy.compute(scheduler="threads")
    assert dict(found.dtypes) == dict(lazy.dtypes)
    assert same(found, expected)


SPARK_COLUMNS = """id long, bytes binary, boxes array<float>, scores array<float>,
    class_ids array<int>, classes array<string>, width int, height int, error string"""


@pytest.mark.skipif(not (installed("pyspark") and which("java")), reason="needs pyspark and Java")
def test_spark() -> None:
    from pyspark.sql import SparkSession

    frame, folder = frame_of(6), Path.cwd()
    files = [str(folder / name) for name in NETWORK]  # its workers have another folder
    detector = RayDetector(*files, threshold=0.1)
    settings = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    with settings.getOrCreate() as spark:
        found = spark.createDataFrame(frame).mapInPandas(
            lambda parts: map(detector, parts), SPARK_COLUMNS
        )
        assert same(found.toPandas().sort_values("id"), detector(frame))


class Mortal(RayDetector):
    """Its process is killed at one batch, once."""

    def __call__(self, batch: Any) -> Any:
        torch.set_num_threads(1)
        if not Path("killed").exists() and len(list(Path("found").glob("part-*"))) > 1:
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def test_a_worker_of_ray_is_killed() -> None:
    """Of a cluster of two nodes, in the middle: each image is there once."""
    ray = pytest.importorskip("ray", reason='needs the extra "ray"')
    clusters = pytest.importorskip("ray.cluster_utils")
    photos(60)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cluster = clusters.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    try:
        folder = Path.cwd()
        Output("found").begin({})
        units, _ = units_of(str(folder / "photos"), frozenset(), size=3)
        detector = Mortal(str(folder / "net.cfg"), str(folder / "net.weights"), threshold=0.1)
        outcomes = running.run_on_ray(units, detector, str(folder / "found"), "bytes")
        assert sum(done.images for done in outcomes) == 60
        assert len({each["NodeID"] for each in ray.nodes() if each["Alive"]}) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert Path("killed").exists()
    assert names(rows()) == Counter({f"{number}.png": 1 for number in range(60)})
    assert len([row for row in rows() if row["error"]]) == 1
