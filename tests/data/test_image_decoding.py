"""Decoding of images: pixel types of files written byte by byte, formats, orientation, and malicious files."""

import io
import os
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, features
from raster_files import exif, png, tiff

from jaxnets.data.formats import image_decoding
from jaxnets.data.formats.image_decoding import decode

RANDOM = np.random.default_rng(0)


def random_samples(bits, *shape):
    return RANDOM.integers(0, 2**bits, shape)


def as_bytes(samples, bits):
    """Returns the upper 8 bits, or fewer bits scaled to 0 to 255."""
    return samples >> (bits - 8) if bits >= 8 else samples * 255 // (2**bits - 1)


def saved(pixels, kind, mode=None, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8), mode)
    image.save(file, kind, **options)
    return file.getvalue()


UNSUPPORTED = {(12, False, ">"), (12, True, "<"), (12, True, ">"), (16, True, ">")}  # by Pillow 13


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True], ids=["black is 0", "white is 0"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_gray_tiffs_are_decoded(bits, white_is_zero, order):
    samples = random_samples(bits, 4, 9)
    content = tiff(samples, bits, photometric=0 if white_is_zero else 1, order=order)
    if (bits, white_is_zero, order) in UNSUPPORTED:
        with pytest.raises(ValueError, match="an unsupported or damaged TIFF"):
            decode(content, 0, 1)
        return
    expected = as_bytes(2**bits - 1 - samples if white_is_zero else samples, bits)
    np.testing.assert_array_equal(decode(content, 0, 1)[..., 0], expected)
    np.testing.assert_array_equal(decode(content, 0, 3), np.stack([expected] * 3, -1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [(), (0,), (2,)], ids=["plain", "padding", "alpha"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_color_tiffs_are_decoded(bits, extra, order):
    samples = random_samples(bits, 3, 5, 3 + len(extra))
    found = decode(tiff(samples, bits, 2, order, extra=extra), 0, 3)
    np.testing.assert_array_equal(found, as_bytes(samples[..., :3], bits))
    if bits == 8 and extra:
        gray = decode(tiff(samples[..., 2:], bits, 1, order, extra=extra), 0, 1)
        np.testing.assert_array_equal(gray, samples[..., 2:3])


@pytest.mark.parametrize("premultiplied", [255, 51])
def test_premultiplied_tiffs_are_divided_by_their_alpha(premultiplied):
    colors = RANDOM.integers(0, 256, (3, 4, 3)) // 5 * 5  # an alpha of 1/5 preserves multiples of 5
    samples = np.concatenate([colors * premultiplied // 255, np.full((3, 4, 1), premultiplied)], -1)
    np.testing.assert_array_equal(decode(tiff(samples, 8, 2, extra=(1,)), 0, 3), colors)
    gray = decode(tiff(samples[..., 2:], 8, 1, extra=(1,)), 0, 1)
    np.testing.assert_array_equal(gray, colors[..., 2:])


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_is_converted_to_rgb(bits):
    samples = random_samples(bits, 4, 4, 4)
    ink = 255.0 - as_bytes(samples, bits)
    expected = np.round(ink[..., :3] * ink[..., 3:] / 255)
    np.testing.assert_allclose(decode(tiff(samples, bits, 5), 0, 3), expected, atol=1)


def test_inverted_cmyk_of_adobe_is_converted_to_rgb():
    content = saved(np.full((8, 8, 4), (200, 30, 90, 40)), "JPEG", "CMYK", quality=100)
    assert b"Adobe" in content
    expected = (255 - np.array([200, 30, 90])) * (255 - 40) / 255
    np.testing.assert_allclose(decode(content, 0, 3)[0, 0], expected, atol=2)


def test_ycbcr_is_converted_to_rgb():
    y, blue, red = samples = np.moveaxis(RANDOM.integers(100, 156, (4, 4, 3)), -1, 0).astype(float)
    expected = [y + 1.402 * (red - 128), y - 0.344136 * (blue - 128) - 0.714136 * (red - 128), y + 1.772 * (blue - 128)]
    found = decode(tiff(np.moveaxis(samples, 0, -1), 8, 6), 0, 3)
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=1.5)


def test_lab_is_converted_to_rgb():
    light, a, b = RANDOM.integers(100, 160, (4, 4)), *RANDOM.integers(-10, 10, (2, 4, 4))
    y = (light * 100 / 255 + 16) / 116
    white = np.array([0.9642, 1, 0.8249])  # D50; all values are above the linear segment
    xyz = white * np.stack([y + a / 500, y, y - b / 200], -1) ** 3
    to_rgb = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    expected = 255 * (1.055 * (xyz @ np.transpose(to_rgb)) ** (1 / 2.4) - 0.055)
    content = tiff(np.stack([light, a % 256, b % 256], -1), 8, 8)
    np.testing.assert_allclose(decode(content, 0, 3), expected, atol=3)
    np.testing.assert_allclose(decode(content, 0, 1)[..., 0], expected @ [0.299, 0.587, 0.114], atol=3)


UNKNOWN_WHITE = {
    "32 bits, 0 to 255": (
        tiff(np.arange(256).reshape(16, 16), 32),
        "must have 8 or 16 bits, got more, with values from 0 to 255",
    ),
    "32 bits": (
        tiff(np.full((2, 2), 2**32 - 1), 32),
        "8 or 16 bits, got more, with values from 4294967295 to 4294967295",
    ),
    "signed, 32 bits": (tiff(np.full((2, 2), 2**32 - 1), 32, sample_format=2), "from -1 to -1"),
    "signed, 16 bits": (tiff(random_samples(16, 2, 2), 16, sample_format=2), "got signed ones"),
    "signed, 8 bits": (tiff(random_samples(8, 2, 2), 8, sample_format=2), "got signed ones"),
    "floats": (tiff(np.zeros((2, 2)), 32, sample_format=3), "got floating-point numbers"),
    "floats, PFM": (b"Pf\n2 1\n-1.0\n" + np.zeros(2, "<f4").tobytes(), "got floating-point numbers"),
    "32 bits, color": (tiff(random_samples(16, 2, 2, 3), 32, 2), "an unsupported or damaged TIFF"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("content, message", UNKNOWN_WHITE.values(), ids=UNKNOWN_WHITE)
def test_pixels_with_unknown_white_are_rejected(content, message, channels):
    with pytest.raises(ValueError, match=message):
        decode(content, 0, channels)


@pytest.mark.parametrize(
    "bits, color", [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]
)
@pytest.mark.parametrize("key", [False, True], ids=["plain", "transparent color"])
def test_pngs_are_decoded(bits, color, key):
    count = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    samples = random_samples(bits, 4, 5, count)
    chunks = [(b"tRNS", struct.pack(f">{count}H", *samples[0, 0]))] if key and color in (0, 2) else []
    colors = as_bytes(samples[..., : 1 if color in (0, 4) else 3], bits)
    found = decode(png(samples, bits, color, *chunks), 0, 3)
    np.testing.assert_array_equal(found, np.broadcast_to(colors, (4, 5, 3)))


@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "transparent"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_are_converted_to_rgb(bits, alpha):
    samples, colors = random_samples(bits, 4, 5), random_samples(8, 2**bits, 3)
    chunks = [(b"PLTE", colors.astype(np.uint8).tobytes())]
    if alpha:
        chunks.append((b"tRNS", random_samples(8, 2**bits).astype(np.uint8).tobytes()))
    else:
        np.testing.assert_array_equal(decode(tiff(samples, bits, 3, palette=colors), 0, 3), colors[samples])
    content = png(samples, bits, 3, *chunks)
    np.testing.assert_array_equal(decode(content, 0, 3), colors[samples])
    luma = colors[samples] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(decode(content, 0, 1)[..., 0], luma, atol=1)


@pytest.mark.parametrize("plain", [False, True], ids=["binary", "plain"])
@pytest.mark.parametrize("max_value", [1, 100, 255, 1000, 4095, 65535])
def test_pnms_are_scaled_by_their_maximum(max_value, plain):
    def content(number, samples):
        values = " ".join(map(str, samples.flat)).encode() if plain else samples.astype(dtype).tobytes()
        return b"P%d 5 4 %d\n" % (number - 3 * plain, max_value) + values

    dtype = ">u2" if max_value > 255 else np.uint8
    gray, colors = RANDOM.integers(0, max_value + 1, (4, 5)), RANDOM.integers(0, max_value + 1, (4, 5, 3))
    np.testing.assert_allclose(decode(content(5, gray), 0, 1)[..., 0], gray * 255 / max_value, atol=1)
    np.testing.assert_allclose(decode(content(6, colors), 0, 3), colors * 255 / max_value, atol=1)


LOSSLESS = {
    **{kind: {} for kind in ("BMP", "DIB", "DDS", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF")},
    "ICO": {"sizes": [(16, 16)]},
    "WEBP": {"lossless": True},
}


@pytest.mark.parametrize("kind, options", LOSSLESS.items(), ids=LOSSLESS)
def test_lossless_formats_preserve_pixels(kind, options):
    pixels = random_samples(8, 16, 16, 3)
    np.testing.assert_array_equal(decode(saved(pixels, kind, **options), 0, 3), pixels)


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow does not support AVIF")
def test_avif_is_decoded():
    pixels = np.full((16, 16, 3), (200, 100, 50))
    np.testing.assert_allclose(decode(saved(pixels, "AVIF"), 0, 3), pixels, atol=6)
    assert ".avif" in image_decoding.suffixes()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_only_the_first_frame_is_decoded(kind):
    frames = [Image.new("RGB", (4, 3), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS.get(kind, {}))
    np.testing.assert_array_equal(decode(content, 0, 3), np.full((3, 4, 3), (250, 0, 0)))


def test_every_format_of_pillow_is_supported_or_excluded():
    Image.init()
    excluded = {"BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"}
    assert set(Image.OPEN) - set(image_decoding.FORMATS) <= excluded
    assert not excluded & set(image_decoding.FORMATS)
    assert {".jpg", ".png", ".webp", ".jp2", ".tga", ".mpo"} <= image_decoding.suffixes()
    assert not {".eps", ".ps", ".wmf", ".pdf", ".mpg"} & image_decoding.suffixes()


TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}
LENGTH = len(exif(1))
DAMAGES = {
    "intact": lambda block: block,
    "truncated after the entries": lambda block: block[: LENGTH - 18],
    "truncated values": lambda block: block[: LENGTH - 12],
    "value out of range": lambda block: block[:24] + b"\x7f" * 4 + block[28:],
    "huge value": lambda block: block[:20] + b"\x7f" * 4 + block[24:],
    "unknown type": lambda block: block[:18] + b"\x7f\x7f" + block[20:],
    "noise at the end": lambda block: block[:-14] + bytes(range(200, 214)),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.filterwarnings("ignore")
def test_orientation_is_read_from_damaged_metadata(damage, order):
    pixels = random_samples(8, 4, 6, 3)
    for orientation, turn in TURNS.items():
        for kind in ("PNG", "WEBP"):
            content = saved(pixels, kind, exif=damage(exif(orientation, order)), **LOSSLESS[kind])
            np.testing.assert_array_equal(decode(content, 0, 3), turn(pixels), err_msg=f"{kind} {orientation}")


@pytest.mark.parametrize("orientation, turn", TURNS.items())
def test_orientation_of_tiffs_is_applied(orientation, turn):
    pixels = random_samples(16, 4, 6)
    found = decode(tiff(pixels, 16, more=[(274, orientation)]), 0, 1)[..., 0]
    np.testing.assert_array_equal(found, turn(pixels >> 8))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0II", exif(0), exif(9), exif(6)[:30], b"Exif\0\0" + b"I" * 60]
)
def test_metadata_without_valid_orientation_is_ignored(block):
    pixels = random_samples(8, 4, 6, 3)
    np.testing.assert_array_equal(decode(png(pixels, 8, 2, (b"eXIf", block)), 0, 3), pixels)


def test_orientation_of_xmp_is_applied():
    pixels = random_samples(8, 4, 6, 3)
    text = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>'
    np.testing.assert_array_equal(decode(png(pixels, 8, 2, (b"iTXt", text)), 0, 3), TURNS[6](pixels))


ACTIVE = threading.local()


def _watch(event, arguments):
    if getattr(ACTIVE, "events", None) is not None and event.startswith(("subprocess", "socket", "os.")):
        ACTIVE.events.append(event)


sys.addaudithook(_watch)

SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
EXECUTABLE = {
    "PostScript": (SCRIPT, "PostScript is not supported"),
    "PostScript of DOS": (
        b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, 90, 0, 0, 0, 0) + b"\0\0" + SCRIPT,
        "PostScript",
    ),
    "WMF": (b"\xd7\xcd\xc6\x9a" + b"\0" * 80, "not in a format"),
    "GRIB": (b"GRIB\0\0\0\1" + b"\0" * 80, "not in a format"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 80, "not in a format"),
}


@pytest.mark.parametrize("content, message", EXECUTABLE.values(), ids=EXECUTABLE)
def test_formats_of_external_decoders_start_no_program(tmp_path, content, message):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    image_decoding.formats()
    ACTIVE.events = []
    try:
        with pytest.raises(ValueError, match=message):
            decode(content, 8, 3)
        with path.open("rb") as file, pytest.raises(ValueError, match=message):
            image_decoding.check_header(file)
        assert ACTIVE.events == []
    finally:
        ACTIVE.events = None


def test_images_beyond_the_pixel_limit_are_rejected():
    huge = png(np.zeros((1, 1), int), 8, 0).replace(struct.pack(">II", 1, 1), struct.pack(">II", 60000, 60000), 1)
    head = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(head)) + huge[33:]
    limit = 2 * Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=rf"3600000000 pixels\) exceeds limit of {limit} pixels"):
        decode(huge, 8, 1)


def test_jpegs_beyond_the_scan_limit_are_rejected(monkeypatch):
    monkeypatch.setattr(image_decoding, "MAX_SCAN_PIXELS", 20 * 2**16)
    content = saved(random_samples(8, 16, 16, 3), "JPEG", progressive=True)
    assert decode(content, 0, 3).shape == (16, 16, 3)
    last = content[content.rfind(b"\xff\xda") : -2]
    with pytest.raises(ValueError, match=r"at most 1,310,720 pixels in total, got \d+ scans of 256 pixels"):
        decode(content[:-2] + 20 * last + content[-2:], 0, 3)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(image_decoding, "LARGE", 10)
    content = saved(random_samples(8, 4, 4, 3), "PNG")
    with image_decoding._LARGE:
        waiting = threading.Thread(target=decode, args=(content, 0, 3))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_special_files_are_rejected_without_blocking(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="must be a regular file"):
            image_decoding.open_file(path)
    monkeypatch.setattr(image_decoding, "MAX_BYTES", 10)
    (tmp_path / "long.png").write_bytes(b"0" * 11)
    with pytest.raises(ValueError, match="the file must have at most 10 bytes, got 11"):
        image_decoding.open_file(tmp_path / "long.png")
