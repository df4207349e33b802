"""Pictures: values worked out by hand, files written by Pillow."""

import io as stdio
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.images import PictureError, decode_image, opened_picture, read_header, turn, turn_back


def encoded(image, form="PNG", **options):
    payload = stdio.BytesIO()
    image.save(payload, form, **options)
    return payload.getvalue()


def load(data, name="x.png"):
    return io.load_image(io.Blob(name, data))


def picture(mode, color, size=(3, 2)):
    return Image.new(mode, size, color)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (picture("RGB", (255, 0, 51)), [1, 0, 0.2]),
        (picture("RGBA", (255, 0, 51, 102)), [1, 0, 0.2, 0.4]),
        (picture("L", 51), [0.2, 0.2, 0.2]),
        (picture("LA", (51, 102)), [0.2, 0.2, 0.2, 0.4]),
        (picture("1", 1), [1, 1, 1]),
        (picture("I;16", 13107), [0.2, 0.2, 0.2]),
        (picture("RGB", (255, 0, 51)).convert("P", palette=Image.Palette.ADAPTIVE), [1, 0, 0.2]),
    ],
    ids=["RGB", "RGBA", "grey", "grey with alpha", "bits", "16-bit grey", "palette"],
)
def test_every_kind_of_png_is_read(image, pixel):
    loaded = load(encoded(image))
    assert loaded.dtype == np.float32
    assert loaded.shape == (2, 3, len(pixel))
    np.testing.assert_allclose(loaded, np.broadcast_to(pixel, loaded.shape), atol=1e-6)


def test_a_transparent_colour_is_alpha():
    assert load(encoded(picture("L", 7), transparency=7))[0, 0, 3] == 0
    assert load(encoded(picture("P", 0), transparency=0))[0, 0, 3] == 0


@pytest.mark.parametrize(
    ("form", "mode", "color"), [("JPEG", "RGB", (255, 0, 51)), ("WEBP", "RGBA", (255, 0, 51, 102))]
)
def test_jpeg_and_webp_are_read(form, mode, color):
    options = {"lossless": True} if form == "WEBP" else {"quality": 100}
    np.testing.assert_allclose(
        load(encoded(picture(mode, color), form, **options))[0, 0], np.array(color) / 255, atol=0.02
    )


def test_a_cmyk_jpeg_is_read():
    np.testing.assert_allclose(load(encoded(picture("CMYK", (0, 255, 255, 0)), "JPEG"))[0, 0], [1, 0, 0], atol=0.02)


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter to show it
    assert load(encoded(picture("RGB", (1, 2, 3), (3, 2)), "JPEG", exif=exif)).shape == (3, 2, 3)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_picture_is_rounded_not_cut(tmp_path, depth, dtype):
    values = np.array([-0.5, 0, 0.5, 127.4 / 255, 127.6 / 255, 0.999, 1, 7], dtype=dtype)
    io.save_image(tmp_path / "x.png", np.repeat(values[None, :, None], depth, axis=2))
    pixels = np.asarray(Image.open(tmp_path / "x.png"))
    assert pixels.shape == (1, 8, depth)
    assert pixels[0, :, -1].tolist() == [0, 0, 128, 127, 128, 255, 255, 255]


def test_eight_bit_values_are_read_back(tmp_path):
    pixels = np.arange(256, dtype=np.float32).reshape(16, 16, 1).repeat(3, axis=2) / 255
    io.save_image(tmp_path / "x.png", pixels)
    np.testing.assert_array_equal(io.load_image(tmp_path / "x.png"), pixels)


def test_nan_is_not_written(tmp_path):
    with pytest.raises(GatlasError, match="not written: the picture has 3 values that are NaN"):
        io.save_image(tmp_path / "x.png", np.full((1, 1, 3), np.nan))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "image", [np.zeros((2, 2)), np.zeros((2, 2, 1)), np.zeros((0, 2, 3)), np.zeros((2, 2, 3), "u1")]
)
def test_other_arrays_are_a_mistake(tmp_path, image):
    with pytest.raises(ValueError, match="a picture must"):
        io.save_image(tmp_path / "x.png", image)


def test_only_png_is_written(tmp_path):
    with pytest.raises(GatlasError, match=r"x\.jpg: a picture cannot be written as \.jpg: name the output x\.png"):
        io.save_image(tmp_path / "x.jpg", np.zeros((2, 2, 3)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.9])
def test_a_truncated_picture_is_refused(form, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    with pytest.raises(GatlasError, match=r"^x\.png: the picture cannot be read: "):
        load(data[: int(len(data) * kept)])


def promising(width, height, mode="L"):
    """A PNG whose header promises a size that its data do not have."""
    data = encoded(picture(mode, 0, (1, 1)))
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize("size", [(8, 14_745_608), (20_000, 5000), (1 << 31 - 1, 1), (0, 7)])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "RGB"])
def test_a_size_that_the_file_cannot_hold_is_refused_before_memory_is_taken(size, mode, monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory was taken"))
    with pytest.raises(GatlasError, match=r"^x\.png: the picture cannot be read: ") as error:
        load(promising(*size, mode))
    assert "\n" not in str(error.value)


def test_a_large_plain_picture_is_read():
    data = encoded(picture("L", 9, (5000, 4000)))
    assert len(data) < 30_000
    with opened_picture(data) as image:
        assert image.size == (5000, 4000)


def test_no_other_program_is_started_for_a_picture():
    with pytest.raises(PictureError, match="of no known format"), opened_picture(encoded(picture("L", 9), "EPS")):
        pass


def test_other_files_are_no_picture():
    with pytest.raises(GatlasError, match=r"^x\.png: not a picture: gatlas reads PNG, JPEG and WebP$"):
        load(b"hello")


@pytest.mark.shared
def test_a_photo_is_read(shared_data):
    photo = io.load_image(shared_data / "photos" / "dinoSparseRing" / "dinoSR0001.png")
    assert photo.shape == (480, 640, 3)
    assert 0 <= photo.min() < photo.max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_is_that_of_pillow_and_can_be_undone(orientation):
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels), exif=exif)
    header = read_header(io.Blob("x.png", data))
    turned = load(data)
    assert header == (3, 2, orientation)
    assert header.turned_size == (turned.shape[1], turned.shape[0])
    stored = decode_image(io.Blob("x.png", data), upright=False)
    np.testing.assert_array_equal(stored, pixels.astype(np.float32) / 255)
    np.testing.assert_array_equal(turn(stored, orientation), turned)
    np.testing.assert_array_equal(turn_back(turned, orientation), stored)
