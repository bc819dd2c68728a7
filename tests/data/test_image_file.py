"""Decoding of all supported kinds of image files, written by Pillow."""

import io
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mixlab.data import image_file
from mixlab.data.image_file import UnreadableImage, image_sides, read_image, read_reduced_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """16 columns, 8 rows: red at the top left, green at the top right, blue at the bottom left, white otherwise."""
    pil_image = Image.new("RGB", (16, 8), "white")
    pil_image.paste(RED, (0, 0, 8, 4))
    pil_image.paste(GREEN, (8, 0, 16, 4))
    pil_image.paste(BLUE, (0, 4, 8, 8))
    return pil_image


def assert_corners(image: np.ndarray, tolerance: int = 0) -> None:
    assert image.shape == (8, 16, 3)
    assert image.dtype == np.uint8
    colours = image[[1, 1, 6, 6], [2, 13, 2, 13]].astype(int)
    assert abs(colours - [RED, GREEN, BLUE, WHITE]).max() <= tolerance


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
def test_common_formats_are_read(tmp_path, name, options, tolerance):
    corners().save(tmp_path / name, **options)
    assert_corners(read_image(tmp_path / name), tolerance)


def test_the_format_is_detected_by_content(tmp_path):
    corners().save(tmp_path / "a.jpg", format="png")
    assert_corners(read_image(tmp_path / "a.jpg"))


def test_bytes_are_read_like_a_file(tmp_path):
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


def test_cmyk_colours_are_converted():
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


def test_big_endian_16_bit_grey_is_read():
    content = b"P5 2 1 65535\n" + struct.pack(">2H", 257 * 10, 257 * 20)
    assert read_image(content)[0, :, 0].tolist() == [10, 20]


def test_nan_and_infinity_are_read_without_a_warning():
    depth = np.array([[np.nan, np.inf, 0.0]], dtype=np.float32)
    assert (read_image(encoded(Image.fromarray(depth), "tiff")) == 0).all()


def test_transparent_pixels_become_white():
    pil_image = corners().convert("RGBA")
    pil_image.paste((0, 0, 0, 0), (0, 0, 8, 4))
    assert read_image(encoded(pil_image, "png"))[1, 2].tolist() == [255, 255, 255]


def test_half_transparent_pixels_are_blended_with_white():
    assert read_image(encoded(Image.new("LA", (1, 1), (0, 128)), "png"))[0, 0].tolist() == [127, 127, 127]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_becomes_white(transparency):
    pil_image = Image.new("P", (2, 1))
    pil_image.putpalette([*RED, *GREEN])
    pil_image.putpixel((1, 0), 1)
    image = read_image(encoded(pil_image, "png", transparency=transparency))
    assert image[0].tolist() == [list(RED), list(WHITE)]


def test_a_transparent_colour_without_alpha_channel_becomes_white():
    assert (read_image(encoded(Image.new("RGB", (1, 1), RED), "png", transparency=RED)) == 255).all()


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_of_an_animation_is_read(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    options = {"lossless": True} if kind == "webp" else {}
    image = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (image == RED).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_as_in_pillow(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(corners(), "png", exif=exif)
    with Image.open(io.BytesIO(content)) as stored:
        upright = np.array(ImageOps.exif_transpose(stored))
    assert (read_image(content) == upright).all()


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sides_are_those_of_the_upright_image(orientation, kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"turned.{kind}"
    Image.new("RGB", (5, 3)).save(file, exif=exif)
    assert image_sides(file) == read_image(file.read_bytes()).shape[:2]


def test_a_rotated_camera_image_becomes_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored first row is the right side of the scene
    image = read_image(encoded(corners().transpose(Image.Transpose.ROTATE_90), "jpeg", exif=exif, quality=95))
    assert_corners(image, tolerance=40)


def test_formats_other_than_jpeg_are_not_reduced():
    image = read_reduced_image(encoded(corners(), "png"), lambda *_: 4)
    assert (image.rows, image.columns, image.factor) == (8, 16, 1)
    assert_corners(image.pixels)


def test_a_broken_exif_block_is_ignored():
    assert_corners(read_image(encoded(corners(), "png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")))


def test_a_heic_image_is_read_if_the_extra_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif", reason='needs pip install "mixlab[data]"')
    content = io.BytesIO()
    pillow_heif.from_pillow(corners().resize((64, 64), Image.Resampling.NEAREST)).save(content, quality=95)
    image = read_image(content.getvalue())
    assert image.shape == (64, 64, 3)
    assert abs(image[8, 8].astype(int) - RED).max() < 30


def test_a_heic_image_without_the_extra_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(UnreadableImage, match=r'a.heic can\'t be read: .* pip install "mixlab\[data\]"'):
        read_image(tmp_path / "a.heic")


def bomb(width: int, height: int) -> bytes:
    """A PNG with a header of that size and little data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_by_its_header():
    with pytest.raises(UnreadableImage, match="it has more than 268,435,456 pixels, the maximum that mixlab decodes"):
        read_image(bomb(60_000, 60_000))


def test_an_image_just_within_the_limit_is_read_without_a_warning(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 8 * 16)
    assert_corners(read_image(encoded(corners(), "png")))
    monkeypatch.setattr(image_file, "MAX_PIXELS", 8 * 16 - 2)
    with pytest.raises(UnreadableImage):
        read_image(encoded(corners(), "png"))


def test_the_pixel_limit_of_pillow_is_restored():
    before = Image.MAX_IMAGE_PIXELS
    read_image(encoded(corners(), "png"))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff", "webp"])
def test_truncated_files_are_unreadable(tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / f"holiday.{kind}"
    content = encoded(noise, kind)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=f"holiday.{kind} can't be read: .*(truncated|not an image)"):
        read_image(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Pillow's libtiff exports no functions on Windows")
def test_libtiff_prints_nothing_about_a_damaged_file(capfd):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = bytearray(encoded(noise, "tiff", compression="tiff_adobe_deflate"))
    content[100:110] = bytes(10)
    with pytest.raises(UnreadableImage):
        read_image(bytes(content))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"Dear diary", "it is not an image in a supported format"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "it is a pointer of Git LFS, whose content was not fetched",
        ),
        (b"/annex/objects/SHA256E-s12345--4d7a.png\n", "it is a pointer of git-annex, whose content was not fetched"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not an image in a supported format"),
    ],
)
def test_other_files_are_unreadable(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        read_image(tmp_path / "a.png")
    assert str(caught.value) == f"{tmp_path / 'a.png'} can't be read: {reason}."


def test_a_missing_file_is_unreadable():
    with pytest.raises(UnreadableImage, match=r"^missing.png can't be read: no such file or directory.$"):
        read_image(Path("missing.png"))


def test_damaged_files_raise_only_unreadable_image(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 2**16)  # a broken header may have a size that is slow to decode
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


def test_the_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "it is empty")))
    assert (error.image, error.reason, str(error)) == ("a.png", "it is empty", "a.png can't be read: it is empty.")


def test_a_common_format_is_decoded_without_the_decoders_of_all_formats():
    code = (
        "import io, sys\n"
        "from PIL import Image\n"
        "from mixlab.data.image_file import image_kinds\n"
        "file = io.BytesIO()\n"
        "Image.new('L', (4, 4)).save(file, 'JPEG')\n"
        "assert image_kinds(file.getvalue()) == ('grey',)\n"
        "assert 'PIL.GribStubImagePlugin' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
