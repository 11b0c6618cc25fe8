"""The images of detect and classify: lists, standard input, addresses; JSON, skipping, quiet."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from webserver import Server, serve

from darknet_torch.cli import images, main
from darknet_torch.cli.images import batches
from darknet_torch.cli.result_folder import ResultFolder
from darknet_torch.inference import sources

__all__ = ["serve"]  # the fixture `server`

DETECT = ["detect", "net.cfg", "net.weights"]


@pytest.fixture(autouse=True)
def photos(small_network, tmp_path: Path) -> Path:
    """The small network's folder, with two images in a folder of it."""
    (tmp_path / "photos").mkdir()
    for name, size in (("a.png", (50, 40)), ("b.jpg", (40, 60))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def pipe(monkeypatch) -> Iterator[int]:
    """The end for writing of what is standard input."""
    read, write = os.pipe()
    with open(read, encoding="utf-8") as file:  # noqa: PTH123 (a descriptor)
        monkeypatch.setattr(sys, "stdin", file)
        yield write


def shown(capsys) -> list[str]:
    """Names of the images that were detected on, in order."""
    lines = capsys.readouterr().out.splitlines()
    return [Path(json.loads(line)["path"]).name for line in lines]


@pytest.mark.parametrize(
    "content",
    [
        "photos/a.png\nphotos/b.jpg\n",
        "photos/a.png\r\n\r\n  photos/b.jpg",
        "\ufeffphotos/a.png\nphotos/b.jpg",
    ],
)
@pytest.mark.parametrize("name", ["list.txt", "valid", "list.jpg.lst"])
def test_a_list_file(content: str, name: str, capsys) -> None:
    """Of any ending, as a text is no image; each line is an image."""
    Path(name).write_bytes(content.encode())
    assert main([*DETECT, name, "--save", "none", "--json"]) == 0
    assert shown(capsys) == ["a.png", "b.jpg"]


def test_what_a_list_names_lies_beside_it(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "photos" / "list.txt").write_text("a.png\nmissing.png\nb.jpg\n")
    assert main([*DETECT, "photos/list.txt", "--save", "none", "--json"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert ["error" in line for line in lines] == [False, True, False]
    assert lines[1] == {"path": "missing.png", "error": "missing.png: No such file or directory"}
    assert "missing.png" in captured.err


def test_the_images_of_a_data_set(capsys) -> None:
    Path("valid.txt").write_text("photos/b.jpg\n")
    Path("my.data").write_text("classes=2\nvalid=valid.txt\nnames=net.names\n")
    Path("my.yaml").write_text("val: photos\nnames: [ant, bee]\n")
    for name, expected in (("my.data", ["b.jpg"]), ("my.yaml", ["a.png", "b.jpg"])):
        assert main([*DETECT, name, "--save", "none", "--json"]) == 0
        assert shown(capsys) == expected


@pytest.mark.parametrize("between", [b"\n", b"\0", b"\r\n"])
def test_paths_on_standard_input(between: bytes, pipe: int, capsys) -> None:
    os.write(pipe, between.join([b"photos/b.jpg", b"nowhere.jpg", b"photos/a.png", b""]))
    os.close(pipe)
    assert main([*DETECT, "photos/a.png", "-", "--save", "none", "--json"]) == 1
    assert shown(capsys) == ["a.png", "b.jpg", "nowhere.jpg", "a.png"]


def test_results_come_as_paths_arrive(pipe: int) -> None:
    arriving = batches(["-"])
    os.write(pipe, b"one.jpg\ntwo.jpg\nthr")
    assert next(arriving) == ["one.jpg", "two.jpg"]
    os.write(pipe, b"ee.jpg\n\xff.jpg\n")
    assert next(arriving) == ["three.jpg", "\udcff.jpg"]
    os.write(pipe, b"four.jpg")
    os.close(pipe)
    assert list(arriving) == [["four.jpg"]]


# ---- addresses


def test_an_address(server: Server, photos: Path, capsys) -> None:
    server.pages = {f"/x/{path.name}": path.read_bytes() for path in photos.iterdir()}
    address = f"{server.url}/x/a.png"
    Path("list.txt").write_text(f"{address}?size=9\n{server.url}/none.png\nphotos/b.jpg\n")
    server.pages["/x/a.png?size=9"] = server.pages["/x/a.png"]
    assert main([*DETECT, "list.txt", "--save", "picture,txt"]) == 1
    assert f"{server.url}/none.png: 404 Not Found" in capsys.readouterr().err
    written = sorted(path.name for path in Path("detections").iterdir())
    assert written == ["a.jpg", "a.txt", "b.jpg", "b.txt"]
    with Image.open("detections/a.jpg") as image:
        assert image.size == (50, 40)
    assert len(server.requests) == 2, "the image is fetched once, though it is drawn, too"


def test_offline(server: Server, photos: Path, monkeypatch, capsys) -> None:
    server.pages = {"/off.png": (photos / "a.png").read_bytes()}
    address = f"{server.url}/off.png"
    assert main([*DETECT, address, "--offline"]) == 1
    message = "not fetched, because of --offline or the variable DARKNET_TORCH_OFFLINE"
    assert message in capsys.readouterr().err
    assert main(["detect", "yolov3-tiny", "--offline"]) == 2
    assert message in capsys.readouterr().err
    assert not server.requests
    assert not os.environ.get("DARKNET_TORCH_OFFLINE")
    monkeypatch.setenv("DARKNET_TORCH_OFFLINE", "1")
    assert main([*DETECT, address]) == 1
    monkeypatch.delenv("DARKNET_TORCH_OFFLINE")
    assert main([*DETECT, address]) == 0


def test_a_large_image_of_the_web(server: Server, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sources, "LARGEST", 1 << 20)
    server.pages = {"/large.png": bytes((1 << 20) + 1)}
    for server.lengths in (True, False):
        assert main([*DETECT, f"{server.url}/large.png"]) == 1
        assert "large.png: larger than 1 MB, too large" in capsys.readouterr().err


def test_fetched_images_do_not_fill_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(sources, "KEPT", 100)
    recent = sources._Recent()
    for number in range(5):
        recent.put(str(number), bytes(40))
    assert [recent.get(str(number)) is not None for number in range(5)] == [0, 0, 0, 1, 1]


# ---- what is printed and written


def test_json_comes_line_by_line(pipe: int, monkeypatch) -> None:
    """The first line is printed before the second image has a name."""
    paths = []

    def print_json(value: dict[str, object]) -> None:
        paths.append(value["path"])
        if len(paths) == 1:
            os.write(pipe, b"photos/b.jpg\n")
            os.close(pipe)

    monkeypatch.setattr(images, "print_json", print_json)
    os.write(pipe, b"photos/a.png\n")
    assert main([*DETECT, "-", "--json", "--save", "none"]) == 0
    assert paths == ["photos/a.png", "photos/b.jpg"]


def test_skip_existing(capsys) -> None:
    """What is there is left out, also under the numbers of equal names; the rest is done."""
    (Path("more")).mkdir()
    Image.new("RGB", (30, 30)).save("more/a.png")
    words = [*DETECT, "photos", "more", "--save", "txt,picture", "--skip-existing"]
    assert main(words) == 0
    names = {path.name for path in Path("detections").iterdir()}
    assert names == {f"{stem}.{end}" for stem in ("a", "b", "a-2") for end in ("txt", "jpg")}
    Path("detections/b.jpg").unlink()
    Path("detections/a.txt").write_text("kept")
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["path"] for line in captured.out.splitlines()] == ["photos/b.jpg"]
    assert captured.err.endswith("2 images skipped, whose files are in detections\n")
    assert Path("detections/a.txt").read_text() == "kept"
    assert {path.name for path in Path("detections").iterdir()} == names
    assert main([*DETECT, "photos", "--save", "none", "--skip-existing"]) == 2


def test_after_ctrl_c_the_rest_is_done(capsys, monkeypatch) -> None:
    write = ResultFolder.write

    def interrupted(self, stem, source, detections):
        if stem == "b":
            raise KeyboardInterrupt
        return write(self, stem, source, detections)

    monkeypatch.setattr(ResultFolder, "write", interrupted)
    words = [*DETECT, "photos", "--save", "crops", "--threshold", "0.2", "--skip-existing"]
    assert main(words) == 130
    monkeypatch.setattr(ResultFolder, "write", write)
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    assert [Path(name).name for name in shown(capsys)] == ["b.jpg"]


def test_scores_in_txt(small_network) -> None:
    assert main([*DETECT, "photos/a.png", "--save", "txt", "--scores", "--threshold", "0.2"]) == 0
    rows = [line.split() for line in Path("detections/a.txt").read_text().splitlines()]
    assert len(rows) > 1
    assert all(len(row) == 6 and 0.2 < float(row[5]) <= 1 for row in rows)


def test_quiet_and_verbose(capsys, photos) -> None:
    (photos / "c.png").write_bytes(b"nothing")
    assert main([*DETECT, "photos", "-q"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "c.png" in captured.err
    assert main([*DETECT, "photos", "--quiet", "--json", "--save", "none"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_many_images_are_as_quiet(capsys, photos) -> None:
    """Threads compute them, and one of them says where."""
    for number in range(40):
        (photos / f"{number}.png").write_bytes((photos / "a.png").read_bytes())
    assert main([*DETECT, "photos", "-q", "--save", "none"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_two_types_at_once(capsys) -> None:
    assert main([*DETECT, "photos", "--half", "--dtype", "bfloat16"]) == 2
    assert "--half: it is --dtype float16, not bfloat16" in capsys.readouterr().err


def test_classify_takes_the_same(pipe: int, capsys) -> None:
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[softmax]\n"
    Path("c.cfg").write_text(cfg)
    Path("c.weights").write_bytes(bytes(16))
    Path("list.txt").write_text("photos/a.png\nnone.png\n")
    os.write(pipe, b"photos/b.jpg\n")
    os.close(pipe)
    assert main("classify c.cfg c.weights list.txt - --json".split()) == 1
    assert shown(capsys) == ["a.png", "none.png", "b.jpg"]


@pytest.mark.parametrize("between", [b"\n", b"\0"])
def test_data_takes_standard_input(between: bytes, pipe: int, photos: Path, capsys) -> None:
    for name in ("a", "b"):
        (photos / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    os.write(pipe, between.join([b"photos/a.png", b"photos/b.jpg", b"none.jpg", b""]))
    os.close(pipe)
    assert main("data check - --names net.names --json".split()) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["pictures"], printed["boxes"]) == (2, 2)
    assert printed["counts"] == {"missing picture": 1}
    (problem,) = printed["problems"]
    assert problem["where"].endswith("standard-input.txt:3")


def test_data_of_the_web(server: Server, photos: Path, pipe: int, capsys, monkeypatch) -> None:
    """An address as the source, and addresses on standard input; none of them off line."""
    server.pages = {"/x/a.png": (photos / "a.png").read_bytes()}
    address = f"{server.url}/x/a.png"
    assert main(["data", "stats", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 1
    os.write(pipe, f"{address}\nphotos/a.png\n {address}\n".encode())
    os.close(pipe)
    assert main(["data", "stats", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture_sizes"] == [[50, 40, 3]]
    assert main(["data", "stats", f"{server.url}/none.png"]) == 2
    assert f"{server.url}/none.png: 404 Not Found" in capsys.readouterr().err
    monkeypatch.setattr(sources, "_recent", sources._Recent())
    assert main(["data", "stats", address, "--offline"]) == 2
    assert "offline" in capsys.readouterr().err.replace("-", "")
