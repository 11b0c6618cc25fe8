"""Feeds over HTTP: MJPEG, Darknet's JSON, and their limits."""

import json
import threading
import time
from http.client import HTTPConnection

import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.videos import serving
from darknet_torch.videos.frame import VideoFrame
from darknet_torch.videos.serving import Feed, darknet_json, json_feed, mjpeg_feed


def connect(feed: Feed) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", feed.port, timeout=5)
    connection.request("GET", "/")
    return connection


def wait_for_readers(feed: Feed, count: int) -> None:
    end = time.monotonic() + 60
    while len(feed._readers) != count:
        assert time.monotonic() < end
        time.sleep(0.005)


def frame_with_a_box() -> VideoFrame:
    found = dt.Detections(
        torch.tensor([[20.0, 10.0, 60.0, 30.0]]),
        torch.tensor([0.5]),
        torch.tensor([1]),
        ("ant", "bee"),
        200,
        100,
    )
    return VideoFrame(image=None, number=7, time=0.28, detections=found, track_ids=(3,))  # type: ignore[arg-type]


def test_darknets_json() -> None:
    assert json.loads(darknet_json(frame_with_a_box())) == {
        "frame_id": 7,
        "objects": [
            {
                "class_id": 1,
                "name": "bee",
                "relative_coordinates": {
                    "center_x": 0.2,
                    "center_y": 0.2,
                    "width": 0.2,
                    "height": 0.2,
                },
                "confidence": 0.5,
                "track_id": 3,
            }
        ],
    }


def test_json_is_one_array_for_each_reader() -> None:
    feed = json_feed(0)
    connections = [connect(feed) for _ in range(3)]
    wait_for_readers(feed, 3)
    for number in range(5):
        feed.send(json.dumps({"frame_id": number}).encode())
    threading.Thread(target=feed.close).start()
    for connection in connections:
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        assert json.loads(response.read()) == [{"frame_id": n} for n in range(5)]


def test_an_array_without_frames() -> None:
    feed = json_feed(0)
    connection = connect(feed)
    wait_for_readers(feed, 1)
    feed.close()
    assert json.loads(connection.getresponse().read()) == []


def test_pictures_come_one_by_one() -> None:
    feed = mjpeg_feed(0)
    assert not feed.has_readers
    connection = connect(feed)
    wait_for_readers(feed, 1)
    assert feed.has_readers
    feed.send(b"\xff\xd8 first")
    response = connection.getresponse()
    kind = response.getheader("Content-Type")
    assert kind == "multipart/x-mixed-replace; boundary=frame"
    expected = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8 first\r\n"
    assert response.read(len(expected)) == expected
    feed.close()
    assert response.read() == b"--frame--\r\n"


def test_a_reader_that_does_not_read_holds_up_nobody() -> None:
    feed = mjpeg_feed(0)
    lazy = connect(feed)
    wait_for_readers(feed, 1)
    begun = time.monotonic()
    for _ in range(200):
        feed.send(bytes(1 << 20))
    assert time.monotonic() - begun < 5
    assert all(len(waiting) <= 1 for waiting in feed._readers)
    lazy.close()
    feed.close()


def test_too_many_readers(monkeypatch) -> None:
    monkeypatch.setattr(serving, "MOST_READERS", 2)
    feed = json_feed(0)
    first = [connect(feed), connect(feed)]
    wait_for_readers(feed, 2)
    late = connect(feed)
    assert late.getresponse().status == 503
    first[0].close()
    for _ in range(3):
        feed.send(b"{}")
        time.sleep(0.05)
    wait_for_readers(feed, 1)
    again = connect(feed)
    wait_for_readers(feed, 2)
    feed.close()
    for each in (first[1], late, again):
        each.close()


def test_a_port_in_use() -> None:
    feed = json_feed(0)
    with pytest.raises(UsageError, match=rf"port {feed.port} of 127\.0\.0\.1: "):
        json_feed(feed.port)
    feed.close()
    with pytest.raises(UsageError, match="port 70000"):
        json_feed(70000)
