"""Photos with an EXIF turn: cameras are of the stored pixels unless their width and height say otherwise."""

import json
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.io.photos.photo_loader import read_photos
from gatlas.io.photos.photo_set import read_photo_set
from gatlas.io.photos.pose_file import PoseRecord, write_poses
from gatlas.io.photos.scenes import PhotoFolder
from tests.helpers.colmap_files import rows_of, write_binary

IDENTITY = np.eye(4).tolist()
WIDE = (24, 16)


def corner(size=WIDE):
    """A picture whose top left quarter alone is white, so that each turn of it is another picture."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = 255
    return Image.fromarray(pixels)


def save_tagged(path, orientation, size=WIDE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[ExifTags.Base.Orientation] = orientation
    corner(size).save(path, exif=exif, **options)
    return path


def pixels_of(path, *, turned):
    image = Image.open(path)
    return np.asarray(ImageOps.exif_transpose(image) if turned else image).astype(np.float32) / 255


def indexed(folder, photos, **document):
    """A transforms.json of photos: name -> (orientation, width, height)."""
    frames = [{"file_path": name, "transform_matrix": IDENTITY} for name in photos]
    for name, photo in photos.items():
        save_tagged(folder / name, *photo, quality=100)
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 20, **document, "frames": frames}))
    return folder


def quietly(load, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(*args, **options)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("turned", [False, True])
def test_the_stated_size_says_which_pixels_a_camera_is_of(tmp_path, orientation, turned):
    width, height = WIDE[::-1] if turned else WIDE
    folder = indexed(tmp_path, {"a.jpg": (orientation, WIDE)}, w=width, h=height)
    views = quietly(io.load_views, folder)
    assert (views.cameras.width, views.cameras.height) == (width, height)
    np.testing.assert_array_equal(views.images[0], pixels_of(tmp_path / "a.jpg", turned=turned))
    np.testing.assert_array_equal(quietly(PhotoFolder(folder).pictures, [0])[0], views.images[0])


@pytest.mark.parametrize(("orientation", "size"), [(3, WIDE), (2, WIDE), (6, (16, 16)), (8, (16, 16))])
@pytest.mark.parametrize("stated", [True, False])
def test_where_both_readings_fit_the_stored_pixels_are_taken_and_a_line_says_so(tmp_path, orientation, size, stated):
    document = {"w": size[0], "h": size[1]} if stated else {}
    folder = indexed(tmp_path, {"a.jpg": (orientation, size), "b.jpg": (1, size)}, **document)
    words = r"transforms\.json: the EXIF turn of 1 of 2 photos \(the first is a\.jpg\) is not applied: .*exif_turned"
    with pytest.warns(UserWarning, match=words):
        views = io.load_views(folder)
    np.testing.assert_array_equal(views.images[0], pixels_of(tmp_path / "a.jpg", turned=False))
    with pytest.warns(UserWarning, match=words):
        picture = PhotoFolder(folder).pictures([0])[0]
    np.testing.assert_array_equal(picture, views.images[0])


def test_a_photo_without_a_stated_size_is_of_its_stored_pixels(tmp_path):
    with pytest.warns(UserWarning, match="not applied"):
        views = io.load_views(indexed(tmp_path, {"a.jpg": (6, WIDE)}))
    assert (views.cameras.width, views.cameras.height) == WIDE


def test_a_file_may_say_that_its_cameras_are_of_the_turned_photos(tmp_path):
    folder = indexed(tmp_path, {"a.jpg": (3, WIDE)}, exif_turned=True)
    views = quietly(io.load_views, folder)
    np.testing.assert_array_equal(views.images[0], pixels_of(tmp_path / "a.jpg", turned=True))
    views = quietly(io.load_views, indexed(tmp_path, {"a.jpg": (6, WIDE)}, exif_turned=True))
    assert (views.cameras.width, views.cameras.height) == WIDE[::-1]
    with pytest.raises(GatlasError, match="'exif_turned' must be true or false, got 1"):
        io.load_views(indexed(tmp_path, {"a.jpg": (3, WIDE)}, exif_turned=1))


def test_a_half_turn_is_read_as_the_photos_whose_size_decides(tmp_path):
    tall = WIDE[::-1]
    photos = {"a.jpg": (6, WIDE), "b.jpg": (3, tall), "c.jpg": (1, tall)}
    with pytest.warns(UserWarning, match=r"1 of 3 photos \(the first is b\.jpg\) is applied, as the sizes of others"):
        views = io.load_views(indexed(tmp_path, photos, w=tall[0], h=tall[1]))
    for image, name in zip(views.images, photos, strict=True):
        np.testing.assert_array_equal(image, pixels_of(tmp_path / name, turned=True))


def test_a_size_that_fits_neither_way_is_an_error_that_names_the_tag(tmp_path):
    with pytest.raises(GatlasError, match="it says 20 x 20 pixels, the pictures have 24 x 16 as stored, before the"):
        io.load_views(indexed(tmp_path, {"a.jpg": (6, WIDE)}, w=20, h=20))


@pytest.mark.parametrize(("orientation", "size", "line"), [(6, WIDE, False), (3, WIDE, True), (6, (16, 16), True)])
def test_cameras_of_a_colmap_model_are_of_the_stored_pixels(tmp_path, orientation, size, line):
    names = ["a.jpg", "b.jpg"]
    write_binary(tmp_path / "sparse/0", rows_of(orbit(2, *size), names))
    for name in names:
        save_tagged(tmp_path / "images" / name, orientation, size, quality=100)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        views = io.load_views(tmp_path)
    for image, name in zip(views.images, names, strict=True):
        np.testing.assert_array_equal(image, pixels_of(tmp_path / "images" / name, turned=False))
    assert ["2 of 2 photos" in str(each.message) for each in said] == [True] * line


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_without_cameras_are_turned_as_people_see_them(tmp_path, orientation):
    path = save_tagged(tmp_path / "a.jpg", orientation, quality=100)
    (photo,) = quietly(read_photos, [str(path)], fov=50)
    np.testing.assert_array_equal(photo.image, pixels_of(path, turned=True))
    assert photo.exif_turned == (orientation != 1)


@pytest.mark.parametrize(
    ("stated", "turned", "line"),
    [((24, 16), False, False), ((48, 32), False, False), ((16, 24), True, False), (None, False, True)],
)
def test_photos_with_intrinsics_are_of_the_pixels_that_their_size_fits(tmp_path, stated, turned, line):
    path = save_tagged(tmp_path / "a.jpg", 6, quality=100)
    size = {} if stated is None else {"w": stated[0], "h": stated[1]}
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": 20, **size}))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        (photo,) = read_photos([str(path)], source=str(tmp_path / "k.json"))
    np.testing.assert_array_equal(photo.image, pixels_of(path, turned=turned))
    assert ["not applied" in str(each.message) for each in said] == [True] * line


def test_photos_with_initial_cameras_are_of_the_pixels_that_these_are_of(tmp_path):
    folder = indexed(tmp_path, {"a.jpg": (6, WIDE), "b.jpg": (6, WIDE)}, w=WIDE[0], h=WIDE[1])
    photos = quietly(read_photo_set, [], init=str(folder), fov=50).photos
    np.testing.assert_array_equal(photos[0].image, pixels_of(tmp_path / "a.jpg", turned=False))


@pytest.mark.parametrize("orientation", [3, 6])
def test_poses_of_turned_photos_are_read_back_as_such(tmp_path, orientation):
    size = WIDE if orientation == 3 else (16, 16)
    path = save_tagged(tmp_path / "a.jpg", orientation, size, quality=100)
    (photo,) = read_photos([str(path)], fov=50)
    record = PoseRecord(photo.path, photo.size, photo.K, photo.lens, np.eye(4), {}, photo.exif_turned)
    write_poses(tmp_path / "p.json", [record], force=False, summary={})
    views = quietly(io.load_views, tmp_path / "p.json")
    np.testing.assert_array_equal(views.images[0], photo.image)


@pytest.mark.parametrize("orientation", [6, 7, 8])
@pytest.mark.parametrize("stated", [WIDE, WIDE[::-1]])
@pytest.mark.parametrize("mask_turned", [False, True])
def test_masks_are_turned_like_their_photos(tmp_path, orientation, stated, mask_turned):
    folder = indexed(tmp_path, {"a.jpg": (orientation, WIDE)}, w=stated[0], h=stated[1])
    mask = corner()
    if mask_turned:
        mask = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    mask.convert("L").save(tmp_path / "m.png")
    document = json.loads((folder / "transforms.json").read_text())
    document["frames"][0]["mask_path"] = "m.png"
    (folder / "transforms.json").write_text(json.dumps(document))
    image = quietly(io.load_views, folder).images[0]
    np.testing.assert_allclose(image[..., 3], image[..., 0], atol=0.02)
    (photo,) = read_photo_set([str(folder)]).photos
    np.testing.assert_allclose(photo.mask, photo.image[..., 0], atol=0.02)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ce_3", "ce_6"])
def test_real_photos_with_a_tag_are_those_without(shared_data, name):
    folder = shared_data / "cases/exif_rotated_photos"
    with pytest.warns(UserWarning, match="the EXIF turn of 48 of 48 photos .* is not applied"):
        views = io.load_views(folder / name)
    np.testing.assert_array_equal(views.images, io.load_views(folder / "ce_0").images)
    assert quietly(io.load_views, folder / "ce_6_land").images.shape == (48, 192, 256, 3)
    (photo,) = quietly(read_photos, [str(folder / "e6.jpg")], source=str(folder / "k.json"))
    assert photo.size == (256, 192)
