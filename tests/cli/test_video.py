"""The verb video: files, JSON, CSV, Ctrl-C, messages."""

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import av
import pytest
from rtsp_server import Camera
from small_videos import write_video

from darknet_torch.cli import main, video_outputs
from darknet_torch.videos import reading

VIDEO = ["video", "net.cfg", "net.weights"]


@pytest.fixture(autouse=True)
def source(small_network, tmp_path: Path) -> Path:
    """The small network's folder, with a video in it."""
    write_video(tmp_path / "street.mp4", sound=True)
    return tmp_path / "street.mp4"


def packets(path: Path | str, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def lines(path: Path | str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_an_annotated_file_is_written_where_nothing_else_is_said(capsys) -> None:
    assert main([*VIDEO, "street.mp4", "--threshold", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert printed == "street.mp4: 20 frames\nwrote detections/street.mp4\n"
    assert len(packets("detections/street.mp4", "video")) == 20
    assert packets("detections/street.mp4", "audio") == packets("street.mp4", "audio")


def test_json_and_csv_say_the_same(capsys) -> None:
    arguments = [*VIDEO, "street.mp4", "--threshold", "0.3", "--every", "5", "--names", "net.names"]
    assert main([*arguments, "--json", "--jsonl", "a.jsonl", "--csv", "a.csv"]) == 0
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert rows == lines("a.jsonl")
    assert "street.mp4: 4 frames" in printed.err
    assert [row["frame"] for row in rows] == [0, 5, 10, 15]
    assert [row["time"] for row in rows] == [0.0, 0.2, 0.4, 0.6]
    with Path("a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    objects = [(row["frame"], each) for row in rows for each in row["detections"]]
    assert len(table) == len(objects) > 4
    for line, (frame, each) in zip(table, objects, strict=True):
        assert (int(line["frame"]), line["class"]) == (frame, each["class"])
        box = [float(line[side]) for side in ("left", "top", "right", "bottom")]
        assert box == pytest.approx(each["box"], abs=0.006)
        assert line["track_id"] == ""
    assert not Path("detections").exists()


def test_a_part_of_a_video() -> None:
    arguments = ["--from", "0:00.2", "--to", "0.6", "--out", "part.mkv", "-q"]
    assert main([*VIDEO, "street.mp4", *arguments]) == 0
    assert len(packets("part.mkv", "video")) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "SOURCE"),
        (["none.mp4"], "none.mp4: no such file, folder or camera"),
        (["street.mp4", "b.mp4"], "video: b.mp4: one word too many"),
        (["street.mp4", "--out", "a.gif"], "a.gif: must end with .mp4"),
        (["street.mp4", "--out", "street.mp4"], "street.mp4: would overwrite the video"),
        (["street.mp4", "--jsonl", "street.mp4"], "street.mp4: would overwrite the video"),
        (["street.mp4", "--csv", "./street.mp4"], "street.mp4: would overwrite the video"),
        (["street.mp4", "--jsonl", "a", "--csv", "./a"], "a: --out, --jsonl and --csv must be"),
        (["street.mp4", "--out", "a.mp4", "--csv", "a.mp4"], "a.mp4: --out, --jsonl and --csv"),
        (["street.mp4", "--from", "9:59"], "street.mp4: no frame is in the part to read"),
        (["street.mp4", "--to", "x"], "--to=x: must be seconds"),
        (["street.mp4", "--font", "net.cfg"], "net.cfg"),
        (["street.mp4", "--json-port", "99999999"], "port 99999999 of 127.0.0.1"),
        (["net.cfg"], "net.cfg: no video in it"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys) -> None:
    assert main([*VIDEO, *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert len(packets("street.mp4", "video")) == 20
    assert not Path("detections/street.mp4").exists()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_ctrl_c_leaves_a_file_that_plays(capsys) -> None:
    write_video("long.mp4", 500, sound=True)

    def interrupt() -> None:
        while not [path for path in Path().glob(".a.mp4.*") if path.stat().st_size > 1000]:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    arguments = ["long.mp4", "--out", "a.mp4", "--jsonl", "a.jsonl"]
    assert main([*VIDEO, *arguments]) == 130
    frames = len(packets("a.mp4", "video"))
    assert 0 < frames < 500
    printed = capsys.readouterr().out
    assert printed == f"long.mp4: {frames} frames\nwrote a.mp4\nwrote a.jsonl\n"
    assert frames == len(lines("a.jsonl"))
    with av.open("a.mp4") as container:
        assert len(list(container.decode(video=0))) == frames
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(
            float(video.duration * video.time_base), abs=0.1
        )


def test_a_camera_that_is_switched_off_and_on_again(monkeypatch, capsys) -> None:
    """The verb goes on where it comes back, and ends well where it does not."""
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.1)
    write_video("live.ts", 50)
    camera = Camera(Path("live.ts").read_bytes())
    arguments = [camera.url, "--reconnect", "3", "--all-frames", "--jsonl", "a.jsonl"]
    assert main([*VIDEO, *arguments]) == 0
    assert camera.served == 2
    rows = lines("a.jsonl")
    assert [row["frame"] for row in rows] == list(range(len(rows)))
    assert 80 < len(rows) <= 100
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    printed = capsys.readouterr()
    assert "connections after the first: 1" in printed.out
    assert "secret" not in printed.out + printed.err


def test_the_feeds(monkeypatch, capsys) -> None:
    """Whoever reads while the video is played has annotated frames, and Darknet's JSON."""
    received: dict[str, bytes] = {}

    def inform(text: str) -> None:
        if ": http://" in text:
            thread = threading.Thread(target=read, args=(text.rpartition(" ")[2],))
            thread.start()
            threads.append(thread)

    def read(address: str) -> None:
        with urlopen(address, timeout=10) as response:
            received[response.headers["Content-Type"].partition(";")[0]] = response.read()

    threads: list[threading.Thread] = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(video_outputs, "inform", inform)
    arguments = ["street.mp4", "--realtime", "--mjpeg-port", "0", "--json-port", "0"]
    assert main([*VIDEO, *arguments, "--threshold", "0.3"]) == 0
    for thread in threads:
        thread.join(10)
    assert received["multipart/x-mixed-replace"].count(b"--frame\r\n") >= 1
    assert received["multipart/x-mixed-replace"].endswith(b"--frame--\r\n")
    frames = json.loads(received["application/json"])
    assert frames[-1]["frame_id"] == 19
    printed = capsys.readouterr().out
    assert "20 frames" in printed or "dropped" in printed
