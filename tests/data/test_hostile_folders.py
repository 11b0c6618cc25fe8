"""Folders and lists that would be waited for, or take quadratic time."""

import os
from pathlib import Path

import pytest
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.cli.result_folder import ResultFolder
from darknet_torch.data import convert, read
from darknet_torch.errors import DataError, ImageError, WeightsError
from darknet_torch.images.reading import read as read_image


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_pipes(tmp_path: Path) -> None:
    """Nobody writes to them: whoever opened one would wait for ever."""
    for name in ("x.jpg", "x.txt", "y.txt", "z.yaml", "z.data", "z.json", "z.weights"):
        os.mkfifo(tmp_path / name)
    image(tmp_path / "y.png")
    dataset = read(tmp_path)
    assert [sample.path.name for sample in dataset.samples] == ["y.png"]
    assert "is no plain file" in " ".join(problem.what for problem in dataset.problems)
    for name in ("z.yaml", "z.data", "z.json"):
        with pytest.raises(dt.DarknetError, match="is no plain file"):
            read(tmp_path / name)
    with pytest.raises(ImageError, match=r"x\.jpg: is no plain file"):
        read_image(tmp_path / "x.jpg")
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n"
    with pytest.raises(WeightsError, match="is no plain file"):
        dt.load(cfg, tmp_path / "z.weights")


def test_a_folder_that_is_named_many_times(tmp_path: Path) -> None:
    image(tmp_path / "photos" / "a.png")
    (tmp_path / "x.yaml").write_text(f"val: [{'photos, ' * 500}photos]\nnames: [a]\n")
    dataset = read(tmp_path / "x.yaml")
    assert len(dataset) == 1
    assert [p.what for p in dataset.problems if p.kind == "duplicate picture"] == [
        "photos: named 501 times, read once"
    ]


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "a" / "b" / "x.png")
    assert len(read("**/**/**/**/**/*.png")) == 1
    with pytest.raises(DataError, match=r"\*\* at more than 2 places"):
        read("**/a/**/b/**/*.png")


def test_many_images_of_one_name(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, set())
    stems = [folder.stem(f"{number}/photo.jpg") for number in range(8000)]
    assert stems[:3] == ["photo", "photo-2", "photo-3"]
    assert stems[-1] == "photo-8000"
    assert folder.stem("photo-2.jpg") == "photo-2-2"
    for number in range(3):
        image(tmp_path / str(number) / "a.png")
    dataset = read(f"{tmp_path}/*/*.png", names=["a"])
    again = read(convert(dataset, tmp_path / "out", format="darknet"))
    assert sorted(each.path.name for each in again.samples) == ["a-2.png", "a-3.png", "a.png"]


def test_long_lists_of_one_kind_are_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image(Path("here.png"))
    Path("list.txt").write_text("here.png\n" + "".join(f"{n}.png\n" for n in range(500)))
    assert main(["data", "check", "list.txt"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 30
    assert "480 more of the kind: missing picture (--json has all)" in lines
    Path("net.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n")
    dt.save(dt.build("net.cfg"), "net.weights")
    assert main(["classify", "net.cfg", "net.weights", "list.txt"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) < 30
    assert errors[-1] == "darknet-torch: 480 more images cannot be read"
