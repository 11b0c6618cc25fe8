"""Objects followed and counted, by trackers and supervision where they are installed."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_videos import Finder, draw_frame, write_video

import darknet_torch as dt
from darknet_torch.errors import DataError, UsageError
from darknet_torch.videos.frame import VideoFrame


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A red square that crosses the middle to the right, and goes back."""
    pytest.importorskip("trackers", reason="the extra track is not installed")
    path = tmp_path_factory.mktemp("video") / "a.mp4"

    def where(number: int) -> tuple[int, int, int, int]:
        left = 20 + 4 * min(number, 50 - number)
        return left, 40, left + 30, 70

    write_video(path, 50, draw=lambda number: draw_frame(number, where))
    return path


def counted(path: Path, zones: str, tmp_path: Path, **settings) -> list[VideoFrame]:
    (tmp_path / "zones.yaml").write_text(zones)
    return list(dt.video(Finder(), path, zones=tmp_path / "zones.yaml", **settings))


def test_an_object_keeps_its_number(path: Path) -> None:
    frames = list(dt.video(Finder(), path, track=True))
    assert frames[0].track_ids == (None, None)  # it has been seen once
    ids: dict[str, set[int | None]] = {"ant": set(), "bee": set()}
    for frame in frames[2:]:
        assert frame.track_ids is not None
        for d, track_id in zip(frame.detections, frame.track_ids, strict=True):
            ids[d.name].add(track_id)
    assert {len(each) for each in ids.values()} == {1}
    assert ids["ant"] != ids["bee"]
    content = json.loads(frames[5].to_json())
    assert {each["track_id"] for each in content["detections"]} == ids["ant"] | ids["bee"]


def test_weak_detections_continue_a_track_and_begin_none(path: Path) -> None:
    class Fading(Finder):
        """Its score falls below the threshold after ten frames."""

        def __call__(self, x, /):
            self.score = 0.9 if len(self.batches) < 10 else 0.4
            return super().__call__(x)

    frames = list(dt.video(Fading(), path, track=True, threshold=0.6, workers=1))
    assert [len(frame.detections) for frame in frames] == [2] * 50
    assert frames[-1].track_ids == frames[5].track_ids

    class Weak(Finder):
        score = 0.4

    frames = list(dt.video(Weak(), path, track=True, threshold=0.6))
    assert not any(len(frame.detections) for frame in frames)


def test_lines_count_by_direction_and_class(path: Path, tmp_path: Path) -> None:
    """Upwards along the middle, what comes from the left is on the left-hand side."""
    frames = counted(path, "lines: {gate: [[0.5, 1], [0.5, 0]]}", tmp_path)
    counts = [frame.to_dict()["counts"]["lines"]["gate"] for frame in frames]
    assert counts[0] == {"in": {}, "out": {}}
    assert counts[25] == {"in": {}, "out": {"ant": 1}}
    assert counts[-1] == {"in": {"ant": 1}, "out": {"ant": 1}}
    assert all(sum(a["out"].values()) <= sum(b["out"].values()) for a, b in pairwise(counts))


def test_zones_count_what_is_in_them(path: Path, tmp_path: Path) -> None:
    text = "zones: {right: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}"
    frames = counted(path, text, tmp_path)
    counts = [frame.to_dict()["counts"]["zones"]["right"] for frame in frames]
    assert counts[10]["now"] == {"bee": 1}
    assert counts[25]["now"] == {"ant": 1, "bee": 1}
    assert counts[-1] == {"now": {"bee": 1}, "entered": {"ant": 1, "bee": 1}}
    only = text.replace("[[0.5", "{classes: [ant], points: [[0.5", 1).replace("1]]}", "1]]}}")
    frames = counted(path, only, tmp_path)
    assert frames[-1].to_dict()["counts"]["zones"]["right"] == {"now": {}, "entered": {"ant": 1}}


def test_they_are_drawn(path: Path, tmp_path: Path) -> None:
    (frame,) = counted(path, "lines: {gate: [[80, 0], [80, 119]]}", tmp_path, end=0.04)
    drawn = np.asarray(frame.draw())
    changed = (drawn != frame.image).any(axis=2)
    assert changed[:, 80].mean() > 0.8
    assert changed[40:70, 20].all()
    assert not changed[75:, 90:105].any()


def test_what_is_wrong(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gate: cat is no class of this network"):
        counted(path, "lines: {gate: {points: [[0, 0], [1, 1]], classes: [cat]}}", tmp_path)
    with pytest.raises(DataError, match=r"gate: \(500, 1\) is outside of 160x120"):
        counted(path, "lines: {gate: [[0, 0], [500, 1]]}", tmp_path)


def test_the_package_is_missing(tmp_path: Path, monkeypatch) -> None:
    write_video(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(__import__("sys").modules, "trackers", None)
    with pytest.raises(UsageError, match="trackers is not installed: pip install"):
        dt.video(Finder(), tmp_path / "a.mp4", track=True)
