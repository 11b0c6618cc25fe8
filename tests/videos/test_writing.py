"""Video files: frames, times and sound of the source, and nothing half done."""

from pathlib import Path

import av
import numpy as np
import pytest
from small_videos import draw_frame, write_video

from darknet_torch.errors import DarknetWarning, UsageError
from darknet_torch.videos.places import place_of
from darknet_torch.videos.reading import Reader, Span
from darknet_torch.videos.writing import VIDEO_ENDINGS, VideoWriter


def copy(source: Path, target: Path, span: Span = Span(), **settings) -> None:  # noqa: B008
    sound = place_of(source)
    with VideoWriter(target, sound=sound, start=span.start, end=span.end, **settings) as writer:
        for frame in Reader(sound, span).frames():
            writer.write(frame.image, frame.time, frame.duration)


def content(path: Path) -> dict[str, list]:
    """Times of the frames, packets of the sound, and how long both are."""
    with av.open(str(path)) as container:
        video, *sounds = container.streams.video[0], *container.streams.audio
        times = [float(frame.time) for frame in container.decode(video)]
        found = {"frames": times, "length": [container.duration / 1e6]}
    if sounds:
        with av.open(str(path)) as container:
            packets = [p for p in container.demux(audio=0) if p.size]
            found["sound"] = [bytes(packet) for packet in packets]
            found["times"] = [float(packet.pts * packet.time_base) for packet in packets]
    return found


@pytest.mark.parametrize("lengths", [(512,), (512, 2048, 256)], ids=["constant", "variable"])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
def test_frames_length_and_sound_are_those_of_the_source(lengths, ending, tmp_path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / f"b{ending}"
    write_video(source, 30, lengths=lengths, sound=True)
    copy(source, target)
    before, after = content(source), content(target)
    shift = after["frames"][0]  # in .mkv the sound cannot begin before 0, so that all is later
    assert shift <= (0.024 if ending == ".mkv" else 0)
    for what in ("frames", "times"):
        moved = [time + shift for time in before[what]]
        assert after[what] == pytest.approx(moved, abs=2e-3)  # .mkv has milliseconds
    assert after["sound"] == before["sound"]
    assert after["length"] == pytest.approx(before["length"], abs=0.03)


def test_the_sound_of_a_transport_stream(tmp_path: Path) -> None:
    """Its packets have headers that an .mp4 file has not; what is heard is the same."""
    source, target = tmp_path / "a.ts", tmp_path / "b.mp4"
    write_video(source, 30, sound=True)
    copy(source, target)
    before, after = heard(source), heard(target)
    assert len(after) > 40_000
    lags = (0, 1024, 2048)  # samples with which the encoder begins, and which .mp4 leaves out
    parts = [before[lag + 2048 : lag + 40_000] for lag in lags]
    assert min(np.abs(part - after[2048:40_000]).max() for part in parts) < 1e-3
    assert content(target)["length"] == pytest.approx([30 / 25], abs=0.1)


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_damaged_sound(tmp_path: Path) -> None:
    """The frames are all there, and a warning says what is not."""
    source, target = tmp_path / "a.ts", tmp_path / "b.mp4"
    write_video(source, 30, sound=True)
    content_ = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [p.pos for p in container.demux(audio=0) if p.pos][2:]
    for place in places:
        content_[place + 30 : place + 188] = bytes(158)
    source.write_bytes(content_)
    with pytest.warns(DarknetWarning, match=r"b\.mp4: .* sound"):
        copy(source, target)
    assert len(content(target)["frames"]) == 30


def test_pictures_are_those_that_were_written(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with VideoWriter(target) as writer:
        for number in range(5):
            writer.write(draw_frame(number), number / 25)
    for number, frame in enumerate(Reader(place_of(target), Span()).frames()):
        assert np.abs(frame.image.astype(int) - draw_frame(number)).mean() < 3


def test_a_part_with_its_sound(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_video(source, 50, sound=True)
    copy(source, target, Span(1, 0.8, 1.6))
    before, after = content(source), content(target)
    assert after["frames"] == pytest.approx([n / 25 for n in range(20)], abs=1e-4)
    wanted = [p for p, t in zip(before["sound"], before["times"], strict=True) if 0.8 <= t < 1.6]
    assert after["sound"] == wanted
    assert after["times"][0] == pytest.approx(0.0, abs=1024 / 44100)


def test_odd_sizes_and_frames_of_another_size(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with VideoWriter(target) as writer:
        writer.write(np.zeros((61, 33, 3), np.uint8), 0.0)
        writer.write(np.zeros((120, 160, 3), np.uint8), 0.04)
        writer.write(np.zeros((61, 33, 3), np.uint8), 0.04)  # a time that was there
    assert writer.frames == 3
    frames = list(Reader(place_of(target), Span()).frames())
    assert [frame.image.shape for frame in frames] == [(62, 34, 3)] * 3


def test_webm_has_another_kind_of_sound(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.webm"
    write_video(source, 5, sound=True)
    with pytest.warns(DarknetWarning, match=r"b\.webm: has no sound of the kind aac"):
        copy(source, target)
    assert len(content(target)["frames"]) == 5
    assert "sound" not in content(target)


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_text("old")

    def interrupted() -> None:
        with VideoWriter(target) as writer:
            writer.write(draw_frame(0), 0.0)
            raise UsageError("broken")

    with pytest.raises(UsageError, match="broken"):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert target.read_text() == "old"


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_written(tmp_path: Path) -> None:
    for name in ("a.gif", "a"):
        with pytest.raises(UsageError, match=r"must end with \.mp4"):
            VideoWriter(tmp_path / name)
    write_video(tmp_path / "a.mp4", 2)
    with pytest.raises(UsageError, match="would overwrite"):
        VideoWriter(tmp_path / "a.mp4", sound=place_of(tmp_path / "a.mp4"))
    with (
        pytest.raises(UsageError, match="cannot be written"),
        VideoWriter(tmp_path / "no" / "a.mp4") as writer,
    ):
        writer.write(draw_frame(0), 0.0)
    assert ".webm" in VIDEO_ENDINGS
