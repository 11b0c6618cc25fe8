"""Large images, tile by tile: nothing is lost, nothing is there twice, cut objects are whole."""

import numpy as np
import pytest
import torch
from coloured_objects import ColouredObjects, picture
from PIL import Image

import darknet_torch as dt
from darknet_torch.errors import ImageError, UsageError
from darknet_torch.images import strips
from darknet_torch.images.strips import bands, open_strips
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.heat_maps import HeatMapDetector
from darknet_torch.inference.tile_grid import TileGrid, check_tiles, tile_grid
from darknet_torch.inference.tile_joining import TileObjects, join_cut_objects


@pytest.mark.parametrize("image", [(100, 80), (127, 300), (640, 480), (1000, 97)])
@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.9])
def test_tiles_cover_the_image_and_overlap(image, overlap) -> None:
    grid = tile_grid(image, (128, 96), overlap)
    for starts, size, whole in zip(
        (grid.lefts, grid.tops), (grid.width, grid.height), image, strict=True
    ):
        assert starts[0] == 0
        assert starts[-1] + size == whole
        steps = np.diff(starts)
        assert (steps <= np.ceil(size * (1 - overlap))).all()
        assert (steps > 0).all()
    assert len(grid.windows()) == len(grid.lefts) * len(grid.tops)


def test_neighbours_touch() -> None:
    grid = TileGrid((0, 10, 20, 30), (0, 10), 10, 10)
    assert grid.neighbours(0) == [0, 1, 4, 5]
    assert TileGrid((0, 5, 10, 16), (0,), 10, 10).neighbours(0) == [0, 1, 2]


@pytest.mark.parametrize(
    ("tiles", "size"),
    [(None, None), ("auto", (128, 96)), ("800x600", (800, 600)), ((20, 30), (20, 30))],
)
def test_sizes_of_tiles(tiles, size) -> None:
    assert check_tiles(tiles, 0.2, (128, 96)) == size


@pytest.mark.parametrize("tiles", ["large", "800", "0x600", "8x600", "800x", (800,), (3.5, 4), ""])
def test_no_sizes_of_tiles(tiles) -> None:
    with pytest.raises(UsageError, match=r"tiles=.*: must be auto, or width x height"):
        Detector(ColouredObjects(), tiles=tiles)


def test_no_overlap() -> None:
    with pytest.raises(UsageError, match=r"overlap=1: must be from 0 to 0\.9"):
        Detector(ColouredObjects(), overlap=1)


def one_class(*rows: tuple[int, tuple[float, float, float, float]]) -> TileObjects:
    """Objects of class 0 in tiles."""
    boxes = torch.tensor([box for _, box in rows]).float()
    score = torch.linspace(0.5, 0.9, len(rows))
    tile = torch.tensor([tile for tile, _ in rows])
    return TileObjects(boxes, score, torch.zeros(len(rows), dtype=torch.int64), tile)


TOUCHING = TileGrid((0, 100), (0, 100), 100, 100)
OVERLAPPING = TileGrid((0, 80), (0, 80), 100, 100)


@pytest.mark.parametrize(
    ("grid", "rows", "joined"),
    [
        # parts that touch at the edge; and do not quite
        (TOUCHING, [(0, (80, 20, 100, 40)), (1, (100, 21, 130, 40))], [(80, 20, 130, 40)]),
        (TOUCHING, [(0, (80, 20, 98, 40)), (1, (103, 21, 130, 40))], [(80, 20, 130, 40)]),
        # of other heights, or far from the edge
        (TOUCHING, [(0, (80, 20, 100, 40)), (1, (100, 21, 130, 90))], None),
        (TOUCHING, [(0, (60, 20, 80, 40)), (1, (112, 20, 130, 40))], None),
        # side by side in one tile
        (TOUCHING, [(0, (60, 20, 80, 40)), (0, (80, 20, 100, 40))], None),
        # four parts around a corner
        (
            TOUCHING,
            [
                *[(0, (80, 80, 100, 100)), (1, (100, 80, 130, 100))],
                *[(2, (80, 100, 100, 140)), (3, (100, 100, 130, 140))],
            ],
            [(80, 80, 130, 140)],
        ),
        # near the edges of both tiles; then whole in the second, whose box is better
        (OVERLAPPING, [(0, (82, 20, 100, 40)), (1, (90, 20, 150, 42))], [(82, 20, 150, 42)]),
        (OVERLAPPING, [(0, (93, 20, 100, 40)), (1, (94, 20, 118, 40))], [(94, 20, 118, 40)]),
        # a scrap of what the other tile sees whole
        (OVERLAPPING, [(1, (80, 30, 85, 36)), (0, (50, 20, 84, 40))], [(50, 20, 84, 40)]),
        # wider than the overlap
        (OVERLAPPING, [(0, (50, 20, 100, 40)), (1, (80, 20, 140, 40))], [(50, 20, 140, 40)]),
        # two neighbours, one of which both tiles see whole
        (
            OVERLAPPING,
            [(0, (86, 20, 98, 40)), (1, (86, 20, 98, 40)), (1, (98, 20, 120, 40))],
            [(86, 20, 98, 40), (98, 20, 120, 40)],
        ),
    ],
)
def test_what_is_one_object(grid, rows, joined) -> None:
    objects = one_class(*rows)
    found = join_cut_objects(objects, grid, (200, 200))
    expected = [box for _, box in rows] if joined is None else joined
    assert found.xyxy.tolist() == [list(map(float, box)) for box in expected]
    assert found.score.max() == objects.score.max()
    other = objects._replace(class_id=torch.arange(len(rows)))
    assert len(join_cut_objects(other, grid, (200, 200)).score) == len(rows)


def test_an_edge_of_the_image_cuts_nothing() -> None:
    grid = TileGrid((0,), (0, 100), 100, 100)
    rows = [(0, (80, 20, 100, 40)), (1, (80, 140, 100, 160))]
    assert len(join_cut_objects(one_class(*rows), grid, (100, 200)).score) == 2


@pytest.mark.parametrize("overlap", [0, 0.2, 0.5])
def test_every_object_once_and_whole(overlap: float) -> None:
    """3000 x 3000 pixels, 40 objects of up to a tile's size."""
    image, boxes = picture(3000, 3000, 40, (10, 96))
    found = dt.detect(ColouredObjects(), image, tiles="auto", overlap=overlap, batch_size=8)
    assert found.width == found.height == 3000
    assert len(found) == 40
    order = np.lexsort((found.xyxy[:, 1], found.xyxy[:, 0]))
    expected = boxes[np.lexsort((boxes[:, 1], boxes[:, 0]))]
    np.testing.assert_allclose(found.xyxy.numpy()[order], expected, atol=0.01)


def test_larger_objects_than_tiles() -> None:
    """Their parts are joined, as far as all of them were seen."""
    image, boxes = picture(900, 700, 3, (180, 260), seed=1)
    found = dt.detect(ColouredObjects(), image, tiles="auto", overlap=0)
    np.testing.assert_allclose(sorted(found.xyxy.tolist()), sorted(boxes.tolist()), atol=0.01)


def test_settings_hold_for_the_whole_image() -> None:
    image, _ = picture(600, 500, 12, (10, 40))
    network = ColouredObjects()
    found = dt.detect(network, image, tiles="128x96", max_det=5, classes=["odd"], batch_size=4)
    assert [each.name for each in found] == ["odd"] * 5
    assert max(network.batches) == 4
    assert len(dt.detect(network, image, tiles=(300, 300), threshold={"odd": 0.95})) == 6
    texts = {
        Detector(network, tiles=t, overlap=o).settings for t in (None, "auto") for o in (0, 0.1)
    }
    assert len(texts) == 3


def test_a_small_image_is_one_tile(tmp_path) -> None:
    image, _ = picture(100, 80, 4, (10, 20))
    network = ColouredObjects()
    whole, tiled = (dt.detect(network, image, tiles=tiles) for tiles in (None, "400x400"))
    assert torch.equal(whole.xyxy, tiled.xyxy)
    assert len(tiled) == 4


def test_a_broken_image_does_not_stop_the_rest(tmp_path) -> None:
    image, _ = picture(300, 200, 6, (10, 40))
    Image.fromarray(image).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    detector = Detector(ColouredObjects(), tiles="auto")
    outcomes = list(detector.stream(str(tmp_path)))
    assert [outcome.error is None for outcome in outcomes] == [True, False]
    assert outcomes[0].result.path == str(tmp_path / "a.png")
    assert isinstance(outcomes[1].error, ImageError)


def test_heat_maps_have_no_tiles() -> None:
    with pytest.raises(UsageError, match="not of tiles"):
        HeatMapDetector(Detector(dt.build("yolov4-tiny"), tiles="auto"))


@pytest.mark.parametrize("overlap", [0, 0.3, 0.8])
def test_bands_of_an_image(overlap: float) -> None:
    image = torch.arange(100, dtype=torch.uint8)[None, :, None].expand(3, 100, 7)
    grid = tile_grid((7, 100), (7, 30), overlap)
    for top, band in zip(grid.tops, bands(open_strips(image, 3), grid.tops, 30), strict=True):
        assert torch.equal(band, image[:, top : top + 30])


FORMS = [("RGB", "a.png"), ("L", "a.png"), ("RGBA", "a.png"), ("P", "a.png"), ("RGB", "a.jpg")]
FORMS += [("RGB", "a.tif"), ("I;16", "a.png")]


@pytest.mark.parametrize(("mode", "name"), FORMS)
def test_a_large_file_is_read_in_strips(mode, name, tmp_path, monkeypatch) -> None:
    pytest.importorskip("pyvips")
    monkeypatch.setattr(strips, "LARGE", 1)
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (300, 200), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)).convert(mode)
    image.save(tmp_path / name)
    opened = open_strips(tmp_path / name, 3)
    assert type(opened).__name__ == "_VipsStrips"
    whole = strips.read(tmp_path / name)
    grid = tile_grid((200, 300), (64, 64), 0.25)
    for top, band in zip(grid.tops, bands(opened, grid.tops, 64), strict=True):
        difference = band.int() - whole[:, top : top + 64].int()
        assert difference.abs().max() <= (2 if name == "a.jpg" else 0)


@pytest.mark.parametrize("why", ["turned", "no pyvips", "small", "other format"])
def test_what_is_read_as_a_whole(why, tmp_path, monkeypatch) -> None:
    path = tmp_path / ("a.bmp" if why == "other format" else "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6 if why == "turned" else 1
    Image.effect_noise((60, 40), 90).convert("RGB").save(path, exif=exif)
    monkeypatch.setattr(strips, "LARGE", 1 << 30 if why == "small" else 1)
    if why == "no pyvips":
        monkeypatch.setattr(strips, "installed", lambda name: False)
    opened = open_strips(path, 3)
    assert type(opened).__name__ == "_WholeImage"
    assert opened.width == (40 if why == "turned" else 60)


def test_a_damaged_file_in_strips(tmp_path, monkeypatch) -> None:
    pytest.importorskip("pyvips")
    monkeypatch.setattr(strips, "LARGE", 1)
    path = tmp_path / "a.png"
    Image.effect_noise((400, 600), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-50_000])
    (outcome,) = Detector(ColouredObjects(), tiles="auto").stream([path])
    assert isinstance(outcome.error, ImageError)
    assert str(path) in str(outcome.error)
    with pytest.raises(ImageError, match="more than 100;"):
        open_strips(path, 3, 100)
    with pytest.raises(ImageError, match=r"none\.png: "):
        open_strips(tmp_path / "none.png", 3)


def test_frames_of_a_video(tmp_path) -> None:
    image, _ = picture(600, 500, 12, (10, 40))
    for number in range(3):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    with dt.video(ColouredObjects(), tmp_path, tiles="auto") as frames:
        assert [len(frame.detections) for frame in frames] == [12] * 3


def test_measured_on_a_data_set(tmp_path) -> None:
    image, boxes = picture(600, 500, 12, (10, 40))
    Image.fromarray(image).save(tmp_path / "a.png")
    ids, names = torch.arange(12) % 2, ("even", "odd")
    truth = dt.Detections(torch.tensor(boxes), torch.ones(12), ids, names, 600, 500)
    (tmp_path / "a.txt").write_text(truth.to_yolo())
    (tmp_path / "data.yaml").write_text("val: a.png\nnames: [even, odd]\n")
    result = dt.evaluate(ColouredObjects(), tmp_path / "data.yaml", tiles="auto")
    assert result.mean_average_precision == pytest.approx(1)
