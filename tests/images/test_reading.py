"""Reading images: every kind of source, odd modes, and files that are no images."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_torch.errors import DarknetWarning, DataError, ImageError, UsageError
from darknet_torch.images.reading import read
from darknet_torch.images.size import image_size

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners():
    """Two by two: red green / blue white."""
    return np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)


def as_png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def pixel(image, x=0, y=0):
    return tuple(image[:, y, x].tolist())


def test_every_kind_of_source(tmp_path):
    picture = Image.fromarray(corners())
    path = tmp_path / "corners.png"
    path.write_bytes(as_png(picture))
    rgb = torch.from_numpy(corners()).permute(2, 0, 1)
    with path.open("rb") as file:
        sources = [path, str(path), file, path.read_bytes(), bytearray(path.read_bytes())]
        sources += [picture, corners(), corners()[::-1][::-1], rgb]
        for source in sources:
            loaded = read(source)
            assert loaded.dtype == torch.uint8
            assert torch.equal(loaded, rgb)
        assert not file.closed


def test_floats_pass():
    image = torch.rand(3, 4, 5)
    assert torch.equal(read(image), image)
    assert torch.equal(read(image.double()), image)
    assert torch.equal(read(image.permute(1, 2, 0).numpy()), image)


def test_a_numpy_image_is_copied():
    source = corners()
    loaded = read(source)
    source[:] = 0
    assert pixel(loaded) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation(orientation, kind):
    # Where the visual top row and left column are, in the file: as the EXIF standard numbers them.
    upright = np.kron(corners(), np.ones((16, 24, 1), np.uint8))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, kind, exif=exif)
    loaded = read(file.getvalue())
    assert loaded.shape == (3, 32, 48)
    expected = torch.from_numpy(upright).permute(2, 0, 1).int()
    assert (loaded.int() - expected)[:, 4:12, 4:12].abs().max() < 8
    assert (loaded.int() - expected).abs().float().mean() < 8


def test_grey_is_that_of_stb_image():
    image = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8)
    r, g, b = image.int()
    assert torch.equal(read(image, channels=1)[0].int(), (77 * r + 150 * g + 29 * b) // 256)
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(read(grey.expand(3, 16, 16), channels=1), grey)
    torch.testing.assert_close(
        read(image / 255, channels=1)[0], read(image, 1)[0] / 255, atol=4e-3, rtol=0
    )


def test_modes():
    palette = Image.fromarray(corners()).convert("P", palette=Image.Palette.ADAPTIVE)
    images = {
        "L": Image.new("L", (2, 2), 77),
        "1": Image.new("1", (2, 2), 1),
        "LA": Image.new("LA", (2, 2), (77, 0)),
        "RGBA": Image.new("RGBA", (2, 2), (9, 8, 7, 0)),
        "I;16": Image.fromarray(np.full((2, 2), 77 * 256 + 200, np.uint16)),
        "I": Image.fromarray(np.full((2, 2), 77 * 256, np.int32)),
        "I small": Image.fromarray(np.full((2, 2), 77, np.int32)),
        "F": Image.fromarray(np.full((2, 2), 77.9, np.float32)),
        "F small": Image.fromarray(np.full((2, 2), 0.304, np.float32)),
        "CMYK": Image.new("CMYK", (2, 2), (0, 255, 255, 0)),
        "P": palette,
    }
    pixels = {name: pixel(read(image)) for name, image in images.items()}
    grey = (77, 77, 77)
    assert pixels == {
        **dict.fromkeys(images, grey),
        "1": WHITE,
        "RGBA": (9, 8, 7),
        "CMYK": RED,
        "P": RED,
    }


@pytest.mark.filterwarnings("error")
def test_odd_files(tmp_path):
    sixteen = as_png(Image.fromarray(np.full((2, 2), 0x4DFF, np.uint16)))
    assert pixel(read(sixteen)) == (0x4D,) * 3
    palette = Image.fromarray(corners()).convert("P", palette=Image.Palette.ADAPTIVE)
    see_through = as_png(palette, transparency=bytes([0, 0, 128, 255]))
    assert pixel(read(see_through)) == RED
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red, green, blue = pixel(read(tmp_path / "cmyk.jpg"))
    assert red > 250 > 5 > max(green, blue)
    frames = [Image.new("RGB", (4, 4), c) for c in (RED, GREEN)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert pixel(read(tmp_path / "moving.gif")) == RED


@pytest.mark.parametrize("shape, channels", [((5, 4, 4), 3), ((4, 4), 3), ((2, 4, 4), 1)])
def test_channels_of_tensors(shape, channels):
    image = torch.ones(shape)
    if shape[0] == 5:
        with pytest.raises(ImageError, match="5 channels"):
            read(image, channels)
        assert read(image, 5).shape == shape
    else:
        assert read(image, channels).shape == (channels, 4, 4)


# ---- what cannot be read


def bomb(width, height):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def broken_files():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(noise).save(jpeg, "JPEG")
    png = as_png(Image.fromarray(noise))
    damaged = bytearray(png)
    damaged[200:400] = bytes(200)
    return {
        "empty.jpg": b"",
        "garbage.jpg": bytes(range(256)) * 4,
        "text.png": b"not a picture at all",
        "short.jpg": jpeg.getvalue()[:2000],
        "short.png": png[:2000],
        "damaged.png": bytes(damaged),
        "header.png": png[:33],
        "large.png": bomb(12000, 9000),
        "huge.png": bomb(60000, 60000),
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", list(broken_files()))
def test_broken_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(broken_files()[name])
    with pytest.raises(ImageError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    if path.name in ("large.png", "huge.png"):
        assert "pixels" in message
    with pytest.raises(ImageError, match=r"^<bytes>: "):
        read(path.read_bytes())


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"dog\.jpg: No such file or directory"):
        read(tmp_path / "dog.jpg")
    with pytest.raises(ImageError, match="directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        Image.new("RGB", (0, 4)),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(3, 4, 0),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((3, 40, 50), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        torch.zeros(1, 3, 4, 4),
        torch.zeros(3, 4, 4, dtype=torch.int32),
    ],
)
def test_odd_arrays(source):
    with pytest.raises(ImageError, match=r"^<\w+>: "):
        read(source)


def test_not_a_source():
    with pytest.raises(UsageError, match=r"not <NoneType> \(cv2.imread returns it for a file"):
        read(None)


def test_arrays_in_the_order_of_tensors():
    array = np.zeros((3, 8, 16), np.uint8)
    with pytest.raises(
        ImageError, match=r"\(3, 8, 16\), whose channels come first; \(H, W, C\) exp"
    ):
        read(array)
    assert read(array.transpose(1, 2, 0)).shape == (3, 8, 16)
    assert read(np.zeros((3, 8, 3), np.uint8)).shape == (3, 3, 8)
    with pytest.raises(ImageError, match="several images are a list of them"):
        read(array[None])


@pytest.mark.parametrize(
    ("largest", "what"),
    [(255, "as uint8, or divided by 255$"), (1 / 255, "not divided by 255 twice$")],
)
def test_floats_of_another_range(largest, what):
    image = np.linspace(0, largest, 48, dtype=np.float32).reshape(4, 4, 3)
    for each in (image, torch.from_numpy(image).permute(2, 0, 1)):
        with pytest.warns(DarknetWarning, match=f"floats are from 0 to 1: give the image {what}"):
            read(each)


@pytest.mark.parametrize("largest", [0, 0.1, 1, 1.2])
def test_floats_of_the_right_range(largest, recwarn):
    read(np.full((4, 4, 3), largest, np.float64))
    assert not recwarn


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
0 0 20 20 rectfill
"""


def test_no_file_starts_another_program(tmp_path, monkeypatch):
    """Pillow runs Ghostscript for PostScript, whatever the ending says."""
    started = []
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: started.append(a))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    path = tmp_path / "picture.jpg"
    path.write_bytes(EPS)
    with pytest.raises(ImageError, match=r"picture\.jpg: empty, or not an image"):
        read(path)
    with pytest.raises(ImageError, match="not an image"):
        read(EPS)
    with pytest.raises(DataError, match="not an image"):
        image_size(path)
    assert not started


@pytest.mark.parametrize("form", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "TGA", "PCX"])
def test_formats_of_pixels_are_read(form):
    file = io.BytesIO()
    Image.new("RGB", (5, 4), RED).save(file, form)
    assert read(file).shape == (3, 4, 5)


def heif(**options):
    """A HEIF image of 64 x 48 pixels, red above and blue below."""
    heif = pytest.importorskip("pillow_heif", reason='needs the extra "heif"')
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :, 0], pixels[24:, :, 2] = 255, 255
    content = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels)).save(content, quality=-1, **options)
    return content.getvalue()


def test_images_of_telephones(tmp_path):
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(heif())
    image = read(path)
    assert image.shape == (3, 48, 64)
    assert torch.equal(read(path.read_bytes()), image)
    assert image_size(path) == (64, 48)
    assert (image[:, 10, 10] - torch.tensor([255, 0, 0])).abs().max() < 6
    assert (image[:, 40, 10] - torch.tensor([0, 0, 255])).abs().max() < 6
    with pytest.raises(ImageError, match="64x48 pixels"):
        read(path, max_pixels=100)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"IMG_1.HEIC: "):
        read(path)


def test_images_of_telephones_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.heic"
    path.write_bytes(heif(exif=exif.tobytes()))
    image = read(path)
    assert (image_size(path), image.shape) == ((48, 64), (3, 64, 48))
    assert image[:, 10, 5].tolist() == pytest.approx([0, 0, 255], abs=5)
    assert image[:, 10, -5].tolist() == pytest.approx([255, 0, 0], abs=5)


def test_images_of_telephones_without_their_package(tmp_path, monkeypatch):
    path = tmp_path / "x.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    monkeypatch.setattr("darknet_torch.images.size.installed", lambda module: False)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match=r"x.heic: an image in HEIF, .*: pillow_heif is not inst"):
        read(path)
