"""Every kind of image that people have, written by Pillow on the spot."""

import io
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mixlab.data import image_file
from mixlab.data.image_file import UnreadableImage, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """16 columns, 8 rows: red above left, green above right, blue below left, white below right."""
    pil_image = Image.new("RGB", (16, 8), "white")
    pil_image.paste(RED, (0, 0, 8, 4))
    pil_image.paste(GREEN, (8, 0, 16, 4))
    pil_image.paste(BLUE, (0, 4, 8, 8))
    return pil_image


def assert_corners(image: np.ndarray, tolerance: int = 0) -> None:
    assert image.shape == (8, 16, 3)
    assert image.dtype == np.uint8
    found = image[[1, 1, 6, 6], [2, 13, 2, 13]].astype(int)
    assert abs(found - [RED, GREEN, BLUE, WHITE]).max() <= tolerance


def encoded(pil_image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    pil_image.save(content, format=kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.bmp", {}, 0),
        ("a.gif", {}, 0),
        ("a.tiff", {}, 0),
        ("a.TIF", {"compression": "tiff_lzw"}, 0),
        ("a.ppm", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.JPG", {"quality": 95, "subsampling": 0}, 5),
        ("a.jpeg", {"progressive": True, "quality": 95, "subsampling": 0}, 5),
    ],
)
def test_the_default_formats_are_read(tmp_path, name, options, tolerance):
    corners().save(tmp_path / name, **options)
    assert_corners(read_image(tmp_path / name), tolerance)


def test_the_content_decides_and_not_the_name(tmp_path):
    corners().save(tmp_path / "a.jpg", format="png")
    assert_corners(read_image(tmp_path / "a.jpg"))


def test_bytes_are_read_as_a_file_is(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(corners(), "png"))
    assert (read_image(encoded(corners(), "png")) == read_image(tmp_path / "a.png")).all()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGBA", "png"), ("I;16", "png")),
        *(
            ("CMYK", "jpeg"),
            ("CMYK", "tiff"),
            ("YCbCr", "tiff"),
            ("LAB", "tiff"),
            ("PA", "tiff"),
            ("I", "tiff"),
            ("F", "tiff"),
        ),
    ],
)
def test_every_mode_becomes_rgb(mode, kind):
    image = read_image(encoded(Image.new(mode, (3, 2)), kind))
    assert image.shape == (2, 3, 3)
    assert image.dtype == np.uint8


def test_printing_colours_keep_their_look():
    assert_corners(read_image(encoded(corners().convert("CMYK"), "jpeg", quality=95)), tolerance=40)


def test_grey_is_repeated_in_each_channel():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = read_image(encoded(Image.fromarray(ramp), "png"))
    assert (image == ramp[..., None]).all()


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind):
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = read_image(encoded(Image.fromarray(deep), kind))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]


def test_big_endian_16_bit_grey_is_read_in_its_order():
    content = b"P5 2 1 65535\n" + struct.pack(">2H", 257 * 10, 257 * 20)
    assert read_image(content)[0, :, 0].tolist() == [10, 20]


def test_fractional_grey_spans_the_darkest_to_the_brightest():
    depth = np.array([[-1.0, 0.0, 3.0]], dtype=np.float32)
    assert read_image(encoded(Image.fromarray(depth), "tiff"))[0, :, 0].tolist() == [0, 64, 255]


def test_grey_without_numbers_is_read_without_a_warning():
    depth = np.array([[np.nan, np.inf, 0.0]], dtype=np.float32)
    assert (read_image(encoded(Image.fromarray(depth), "tiff")) == 0).all()


def test_what_is_transparent_is_white():
    pil_image = corners().convert("RGBA")
    pil_image.paste((0, 0, 0, 0), (0, 0, 8, 4))
    assert read_image(encoded(pil_image, "png"))[1, 2].tolist() == [255, 255, 255]


def test_what_is_half_transparent_is_half_white():
    assert read_image(encoded(Image.new("LA", (1, 1), (0, 128)), "png"))[0, 0].tolist() == [127, 127, 127]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_is_white(transparency):
    pil_image = Image.new("P", (2, 1))
    pil_image.putpalette([*RED, *GREEN])
    pil_image.putpixel((1, 0), 1)
    image = read_image(encoded(pil_image, "png", transparency=transparency))
    assert image[0].tolist() == [list(RED), list(WHITE)]


def test_a_transparent_colour_without_an_alpha_channel_is_white():
    assert (read_image(encoded(Image.new("RGB", (1, 1), RED), "png", transparency=RED)) == 255).all()


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if kind == "webp" else {}
    image = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (image == RED).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_image_is_turned_as_its_camera_was(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(corners(), "png", exif=exif)
    with Image.open(io.BytesIO(content)) as stored:
        upright = np.array(ImageOps.exif_transpose(stored))
    assert (read_image(content) == upright).all()


def test_a_image_taken_with_the_camera_on_its_side_stands_up():
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored first row is the right side of the scene
    image = read_image(encoded(corners().transpose(Image.Transpose.ROTATE_90), "jpeg", exif=exif, quality=95))
    assert_corners(image, tolerance=40)


def test_a_broken_exif_block_does_not_hide_the_pixels():
    assert_corners(read_image(encoded(corners(), "png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")))


def test_a_heic_image_is_read_where_the_extra_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif", reason='needs pip install "mixlab[data]"')
    content = io.BytesIO()
    pillow_heif.from_pillow(corners().resize((64, 64), Image.Resampling.NEAREST)).save(content, quality=95)
    image = read_image(content.getvalue())
    assert image.shape == (64, 64, 3)
    assert abs(image[8, 8].astype(int) - RED).max() < 30


def test_a_heic_image_names_the_extra_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(UnreadableImage, match=r'a.heic can\'t be read: .* pip install "mixlab\[data\]"'):
        read_image(tmp_path / "a.heic")


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises that many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_by_its_header():
    with pytest.raises(UnreadableImage, match="more than 268,435,456 pixels, the most that mixlab decodes"):
        read_image(bomb(60_000, 60_000))


def test_a_image_just_within_the_limit_is_read_without_a_warning(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 8 * 16)
    assert_corners(read_image(encoded(corners(), "png")))
    monkeypatch.setattr(image_file, "MAX_PIXELS", 8 * 16 - 2)
    with pytest.raises(UnreadableImage):
        read_image(encoded(corners(), "png"))


def test_pillows_own_limit_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    read_image(encoded(corners(), "png"))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff", "webp"])
def test_a_file_that_was_cut_short_says_so(tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / f"holiday.{kind}"
    content = encoded(noise, kind)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=f"holiday.{kind} can't be read: .*(cut short|no image)"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"Dear diary", "its content is no image of a kind that is known"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "its content is no image of a kind that is known"),
    ],
)
def test_what_is_no_image_says_so(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        read_image(tmp_path / "a.png")
    assert str(caught.value) == f"{tmp_path / 'a.png'} can't be read: {reason}."


def test_a_missing_file_says_so():
    with pytest.raises(UnreadableImage, match=r"^gone.png can't be read: no such file or directory.$"):
        read_image(Path("gone.png"))


def test_whatever_is_broken_in_a_file_nothing_but_unreadable_is_raised(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 2**16)  # a broken header may promise many, which takes long to unpack
    generator = np.random.default_rng(0)
    for kind in ("jpeg", "png", "gif", "bmp", "tiff", "webp"):
        whole = np.frombuffer(encoded(corners(), kind), dtype=np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[generator.integers(0, len(whole), 5)] = generator.integers(0, 256, 5)
            try:
                read_image(broken.tobytes())
            except UnreadableImage:
                continue


def test_the_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "it is empty")))
    assert (error.image, error.reason, str(error)) == ("a.png", "it is empty", "a.png can't be read: it is empty.")
