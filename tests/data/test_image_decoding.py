"""Pixels of every kind against files written byte by byte; formats, orientation, and files that mean harm."""

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


def drawn(bits, *shape):
    return RANDOM.integers(0, 2**bits, shape)


def as_bytes(samples, bits):
    """The upper 8 bits, or fewer bits scaled to 0 to 255."""
    return samples >> (bits - 8) if bits >= 8 else samples * 255 // (2**bits - 1)


def saved(pixels, kind, mode=None, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8), mode)
    image.save(file, kind, **options)
    return file.getvalue()


NOT_KNOWN = {(12, False, ">"), (12, True, "<"), (12, True, ">"), (16, True, ">")}  # to Pillow 13


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True], ids=["black is 0", "white is 0"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_gray_tiffs(bits, white_is_zero, order):
    samples = drawn(bits, 4, 9)
    content = tiff(samples, bits, photometric=0 if white_is_zero else 1, order=order)
    if (bits, white_is_zero, order) in NOT_KNOWN:
        with pytest.raises(ValueError, match="a TIFF of a kind that Pillow does not know"):
            decode(content, 0, 1)
        return
    wanted = as_bytes(2**bits - 1 - samples if white_is_zero else samples, bits)
    np.testing.assert_array_equal(decode(content, 0, 1)[..., 0], wanted)
    np.testing.assert_array_equal(decode(content, 0, 3), np.stack([wanted] * 3, -1))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [(), (0,), (2,)], ids=["plain", "padding", "alpha"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_color_tiffs(bits, extra, order):
    samples = drawn(bits, 3, 5, 3 + len(extra))
    found = decode(tiff(samples, bits, 2, order, extra=extra), 0, 3)
    np.testing.assert_array_equal(found, as_bytes(samples[..., :3], bits))
    if bits == 8 and extra:
        gray = decode(tiff(samples[..., 2:], bits, 1, order, extra=extra), 0, 1)
        np.testing.assert_array_equal(gray, samples[..., 2:3])


@pytest.mark.parametrize("premultiplied", [255, 51])
def test_premultiplied_tiffs_are_divided_by_their_alpha(premultiplied):
    colors = RANDOM.integers(0, 256, (3, 4, 3)) // 5 * 5  # multiples of 5 survive a fifth of themselves
    samples = np.concatenate([colors * premultiplied // 255, np.full((3, 4, 1), premultiplied)], -1)
    np.testing.assert_array_equal(decode(tiff(samples, 8, 2, extra=(1,)), 0, 3), colors)
    gray = decode(tiff(samples[..., 2:], 8, 1, extra=(1,)), 0, 1)
    np.testing.assert_array_equal(gray, colors[..., 2:])


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_becomes_rgb(bits):
    samples = drawn(bits, 4, 4, 4)
    ink = 255.0 - as_bytes(samples, bits)
    wanted = np.round(ink[..., :3] * ink[..., 3:] / 255)
    np.testing.assert_allclose(decode(tiff(samples, bits, 5), 0, 3), wanted, atol=1)


def test_inverted_cmyk_of_adobe_becomes_rgb():
    content = saved(np.full((8, 8, 4), (200, 30, 90, 40)), "JPEG", "CMYK", quality=100)
    assert b"Adobe" in content
    wanted = (255 - np.array([200, 30, 90])) * (255 - 40) / 255
    np.testing.assert_allclose(decode(content, 0, 3)[0, 0], wanted, atol=2)


def test_luma_and_chroma_become_rgb():
    y, blue, red = samples = np.moveaxis(RANDOM.integers(100, 156, (4, 4, 3)), -1, 0).astype(float)
    wanted = [y + 1.402 * (red - 128), y - 0.344136 * (blue - 128) - 0.714136 * (red - 128), y + 1.772 * (blue - 128)]
    found = decode(tiff(np.moveaxis(samples, 0, -1), 8, 6), 0, 3)
    np.testing.assert_allclose(found, np.stack(wanted, -1), atol=1.5)


def test_lab_becomes_rgb():
    light, a, b = RANDOM.integers(100, 160, (4, 4)), *RANDOM.integers(-10, 10, (2, 4, 4))
    y = (light * 100 / 255 + 16) / 116
    white = np.array([0.9642, 1, 0.8249])  # D50; all are far above the linear part
    xyz = white * np.stack([y + a / 500, y, y - b / 200], -1) ** 3
    to_rgb = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    wanted = 255 * (1.055 * (xyz @ np.transpose(to_rgb)) ** (1 / 2.4) - 0.055)
    content = tiff(np.stack([light, a % 256, b % 256], -1), 8, 8)
    np.testing.assert_allclose(decode(content, 0, 3), wanted, atol=3)
    np.testing.assert_allclose(decode(content, 0, 1)[..., 0], wanted @ [0.299, 0.587, 0.114], atol=3)


WITHOUT_WHITE = {
    "32 bits, 0 to 255": (tiff(np.arange(256).reshape(16, 16), 32), "more than 16 bits, from 0 to 255"),
    "32 bits": (tiff(np.full((2, 2), 2**32 - 1), 32), "more than 16 bits, from 4294967295 to 4294967295"),
    "signed, 32 bits": (tiff(np.full((2, 2), 2**32 - 1), 32, sample_format=2), "from -1 to -1"),
    "signed, 16 bits": (tiff(drawn(16, 2, 2), 16, sample_format=2), "signed pixels"),
    "signed, 8 bits": (tiff(drawn(8, 2, 2), 8, sample_format=2), "signed pixels"),
    "floats": (tiff(np.zeros((2, 2)), 32, sample_format=3), "pixels in floating point"),
    "floats, PFM": (b"Pf\n2 1\n-1.0\n" + np.zeros(2, "<f4").tobytes(), "pixels in floating point"),
    "32 bits, color": (tiff(drawn(16, 2, 2, 3), 32, 2), "a TIFF of a kind that Pillow does not know"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("content, message", WITHOUT_WHITE.values(), ids=WITHOUT_WHITE)
def test_pixels_of_unknown_white_are_refused(content, message, channels):
    with pytest.raises(ValueError, match=message):
        decode(content, 0, channels)


@pytest.mark.parametrize(
    "bits, color", [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]
)
@pytest.mark.parametrize("key", [False, True], ids=["plain", "a transparent color"])
def test_pngs(bits, color, key):
    count = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    samples = drawn(bits, 4, 5, count)
    chunks = [(b"tRNS", struct.pack(f">{count}H", *samples[0, 0]))] if key and color in (0, 2) else []
    colors = as_bytes(samples[..., : 1 if color in (0, 4) else 3], bits)
    found = decode(png(samples, bits, color, *chunks), 0, 3)
    np.testing.assert_array_equal(found, np.broadcast_to(colors, (4, 5, 3)))


@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "transparent"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits, alpha):
    samples, colors = drawn(bits, 4, 5), drawn(8, 2**bits, 3)
    chunks = [(b"PLTE", colors.astype(np.uint8).tobytes())]
    if alpha:
        chunks.append((b"tRNS", drawn(8, 2**bits).astype(np.uint8).tobytes()))
    else:
        np.testing.assert_array_equal(decode(tiff(samples, bits, 3, palette=colors), 0, 3), colors[samples])
    content = png(samples, bits, 3, *chunks)
    np.testing.assert_array_equal(decode(content, 0, 3), colors[samples])
    luma = colors[samples] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(decode(content, 0, 1)[..., 0], luma, atol=1)


@pytest.mark.parametrize("plain", [False, True], ids=["binary", "plain"])
@pytest.mark.parametrize("largest", [1, 100, 255, 1000, 4095, 65535])
def test_pnms_are_scaled_by_their_largest_value(largest, plain):
    def content(number, samples):
        values = " ".join(map(str, samples.flat)).encode() if plain else samples.astype(dtype).tobytes()
        return b"P%d 5 4 %d\n" % (number - 3 * plain, largest) + values

    dtype = ">u2" if largest > 255 else np.uint8
    gray, colors = RANDOM.integers(0, largest + 1, (4, 5)), RANDOM.integers(0, largest + 1, (4, 5, 3))
    np.testing.assert_allclose(decode(content(5, gray), 0, 1)[..., 0], gray * 255 / largest, atol=1)
    np.testing.assert_allclose(decode(content(6, colors), 0, 3), colors * 255 / largest, atol=1)


LOSSLESS = {
    **{kind: {} for kind in ("BMP", "DIB", "DDS", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF")},
    "ICO": {"sizes": [(16, 16)]},
    "WEBP": {"lossless": True},
}


@pytest.mark.parametrize("kind, options", LOSSLESS.items(), ids=LOSSLESS)
def test_formats_without_loss(kind, options):
    pixels = drawn(8, 16, 16, 3)
    np.testing.assert_array_equal(decode(saved(pixels, kind, **options), 0, 3), pixels)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif():
    pixels = np.full((16, 16, 3), (200, 100, 50))
    np.testing.assert_allclose(decode(saved(pixels, "AVIF"), 0, 3), pixels, atol=6)
    assert ".avif" in image_decoding.suffixes()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_taken(kind):
    frames = [Image.new("RGB", (4, 3), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **LOSSLESS.get(kind, {}))
    np.testing.assert_array_equal(decode(content, 0, 3), np.full((3, 4, 3), (250, 0, 0)))


def test_every_format_of_this_pillow_is_judged():
    Image.init()
    refused = {"BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "WMF"}
    assert set(Image.OPEN) - set(image_decoding.FORMATS) <= refused
    assert not refused & set(image_decoding.FORMATS)
    assert {".jpg", ".png", ".webp", ".jp2", ".tga", ".mpo"} <= image_decoding.suffixes()
    assert not {".eps", ".ps", ".wmf", ".pdf", ".mpg"} & image_decoding.suffixes()


TURNED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}
WHOLE = len(exif(1))
DAMAGES = {
    "whole": lambda block: block,
    "cut after the entries": lambda block: block[: WHOLE - 18],
    "cut within the values": lambda block: block[: WHOLE - 12],
    "a value far away": lambda block: block[:24] + b"\x7f" * 4 + block[28:],
    "a value of huge size": lambda block: block[:20] + b"\x7f" * 4 + block[24:],
    "an unknown type": lambda block: block[:18] + b"\x7f\x7f" + block[20:],
    "noise behind": lambda block: block[:-14] + bytes(range(200, 214)),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.filterwarnings("ignore")
def test_orientation_beside_damaged_metadata(damage, order):
    pixels = drawn(8, 4, 6, 3)
    for orientation, turn in TURNED.items():
        for kind in ("PNG", "WEBP"):
            content = saved(pixels, kind, exif=damage(exif(orientation, order)), **LOSSLESS[kind])
            np.testing.assert_array_equal(decode(content, 0, 3), turn(pixels), err_msg=f"{kind} {orientation}")


@pytest.mark.parametrize("orientation, turn", TURNED.items())
def test_orientation_of_tiffs(orientation, turn):
    pixels = drawn(16, 4, 6)
    found = decode(tiff(pixels, 16, more=[(274, orientation)]), 0, 1)[..., 0]
    np.testing.assert_array_equal(found, turn(pixels >> 8))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0II", exif(0), exif(9), exif(6)[:30], b"Exif\0\0" + b"I" * 60]
)
def test_metadata_without_a_readable_orientation_turns_nothing(block):
    pixels = drawn(8, 4, 6, 3)
    np.testing.assert_array_equal(decode(png(pixels, 8, 2, (b"eXIf", block)), 0, 3), pixels)


def test_orientation_of_xmp():
    pixels = drawn(8, 4, 6, 3)
    text = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>'
    np.testing.assert_array_equal(decode(png(pixels, 8, 2, (b"iTXt", text)), 0, 3), TURNED[6](pixels))


ACTIVE = threading.local()


def _watch(event, arguments):
    if getattr(ACTIVE, "events", None) is not None and event.startswith(("subprocess", "socket", "os.")):
        ACTIVE.events.append(event)


sys.addaudithook(_watch)

SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
HARMFUL = {
    "PostScript": (SCRIPT, "PostScript is not read"),
    "PostScript of DOS": (
        b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, 90, 0, 0, 0, 0) + b"\0\0" + SCRIPT,
        "PostScript",
    ),
    "WMF": (b"\xd7\xcd\xc6\x9a" + b"\0" * 80, "not in a format"),
    "GRIB": (b"GRIB\0\0\0\1" + b"\0" * 80, "not in a format"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 80, "not in a format"),
}


@pytest.mark.parametrize("content, message", HARMFUL.values(), ids=HARMFUL)
def test_what_another_program_would_decode_is_refused_and_starts_none(tmp_path, content, message):
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


def test_an_image_of_too_many_pixels_states_the_limit():
    huge = png(np.zeros((1, 1), int), 8, 0).replace(struct.pack(">II", 1, 1), struct.pack(">II", 60000, 60000), 1)
    head = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(head)) + huge[33:]
    limit = 2 * Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match=rf"3600000000 pixels\) exceeds limit of {limit} pixels"):
        decode(huge, 8, 1)


def test_a_jpeg_of_too_many_scans_states_the_limit(monkeypatch):
    monkeypatch.setattr(image_decoding, "MAX_SCANNED", 20 * 2**16)
    content = saved(drawn(8, 16, 16, 3), "JPEG", progressive=True)
    assert decode(content, 0, 3).shape == (16, 16, 3)
    last = content[content.rfind(b"\xff\xda") : -2]
    with pytest.raises(ValueError, match=r"JPEG of \d+ scans of 256 pixels; must be at most 1,310,720 in all"):
        decode(content[:-2] + 20 * last + content[-2:], 0, 3)


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(image_decoding, "LARGE", 10)
    content = saved(drawn(8, 4, 4, 3), "PNG")
    with image_decoding._LARGE:
        waiting = threading.Thread(target=decode, args=(content, 0, 3))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_files_that_are_not_regular_are_refused_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="must be a regular file"):
            image_decoding.open_file(path)
    monkeypatch.setattr(image_decoding, "MAX_BYTES", 10)
    (tmp_path / "long.png").write_bytes(b"0" * 11)
    with pytest.raises(ValueError, match="file of 11 bytes; must be at most 10"):
        image_decoding.open_file(tmp_path / "long.png")
