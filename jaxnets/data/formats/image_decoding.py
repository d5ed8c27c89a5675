"""Decodes images: the formats that are read, the bytes of every kind of pixel, the orientation, the limits."""

import contextlib
import functools
import io
import os
import struct
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxnets.ops.files import open_regular
from jaxnets.ops.printable import printable

# Decoded by Pillow within this process. Not here: EPS, which runs Ghostscript; IPTC, which opens what is embedded in
# it as any format; WMF, BUFR, GRIB, HDF5 and MPEG, which Pillow leaves to other programs; FITS, whose scaling Pillow
# ignores. Formats without a signature of their own come last.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI", "PSD", "DDS", "ICO", "CUR"),
    *("ICNS", "SGI", "SUN", "PCX", "DCX", "DIB", "BLP", "FTEX", "FLI", "GBR", "MCIDAS", "MSP", "PIXAR", "XBM", "XPM"),
    *("XVTHUMB", "PCD", "IM", "IMT", "SPIDER", "TGA"),
)
POSTSCRIPT = (b"%!", b"\xc5\xd0\xd3\xc6")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MODES = {1: "L", 3: "RGB"}
# What Pillow cannot convert at once, or, from palettes with transparent colors, not without a warning.
BETWEEN = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "LAB": "RGB"}

MAX_BYTES = 2**30  # of a file
MAX_SCANNED = 2**32  # pixels in all scans of a JPEG, where a few bytes can cost the time of a whole image
LARGE = 2**26  # pixels; larger images are decoded one at a time, for memory's sake
_LARGE = threading.Lock()

BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF and EXIF
INTEGERS = {1: "B", 3: "H", 4: "I"}  # kinds of values
WHITE_IS_ZERO, SIGNED = 0, 2
SIGNED_PIXELS = "signed pixels; must be unsigned integers of 8 or 16 bits"
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that are read, of those that the installed Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of these formats, in lower case."""
    Image.init()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in (*formats(), "MPO"))


def decode(content: bytes, size: int, channels: int) -> np.ndarray:
    """An encoded image as uint8 ``[size, size, channels]``, turned upright by its EXIF orientation.

    The middle square is resized, antialiased. Of 16 bits the upper 8 are kept, and 12 bits of a TIFF are scaled alike.
    Palettes become their colors; CMYK, YCbCr, LAB and HSV become RGB. Alpha is dropped: the colors are those below it,
    not blended with a background. Of an animation the first frame is taken, of a TIFF the first page.

    Args:
        content: The bytes of a file, in one of ``FORMATS``.
        size: H and W; 0: those of the image.
        channels: 1 or 3.

    Raises:
        ValueError: It cannot be decoded; its pixels are floats, signed or of more than 16 bits, for which no black
            and white are known; or it exceeds a limit (pixels: twice ``PIL.Image.MAX_IMAGE_PIXELS``).
    """
    try:
        with _open(io.BytesIO(content)) as file, _turn(file.size):
            _check_scans(file, content)
            if size:
                file.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a half, quarter or eighth
            file.load()
            image = _converted(file, MODES[channels])
            if (method := UPRIGHT.get(_orientation(file))) is not None:
                image = image.transpose(method)
            if size:
                side = min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                if side == size:  # nothing to resize: pixels stay as they are
                    left, top = left // 1, top // 1
                box = (left, top, left + side, top + side)
                image = image.resize((size, size), Image.Resampling.BILINEAR, box)
            return np.asarray(image).reshape(image.height, image.width, channels)
    except Exception as error:  # Pillow's decoders let errors of many kinds through
        raise ValueError(reason(error, content[:4])) from error


def check_header(file: IO[bytes]) -> None:
    """Raises a ``ValueError`` where a file does not begin as an image does, or exceeds the limit of pixels."""
    begin = file.read(4)
    try:
        _open(file).close()
    except Exception as error:  # as above
        raise ValueError(reason(error, begin)) from error


def open_file(path: Path) -> IO[bytes]:
    """A regular file for reading; returns at once where the path is a named pipe or a device.

    Raises:
        ValueError: It is not regular, or larger than ``MAX_BYTES``.
        OSError: It cannot be opened.
    """
    try:
        file = open_regular(path)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path} ")) from error  # callers name it, escaped
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        file.close()
        raise ValueError(f"file of {size:,} bytes; must be at most {MAX_BYTES:,}")
    return file


def reason(error: Exception, begin: bytes = b"") -> str:
    """Why an image that begins with these bytes cannot be decoded, in one short line."""
    if isinstance(error, UnidentifiedImageError):
        if begin.startswith(POSTSCRIPT):
            return "PostScript is not read: a program would have to run"
        if begin.startswith(TIFF):
            return "a TIFF of a kind that Pillow does not know, or damaged"
        return "not in a format that Pillow knows"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text or type(error).__name__)


def _open(file: IO[bytes]) -> Any:
    return Image.open(file, formats=formats())


def _turn(size: tuple[int, int]) -> contextlib.AbstractContextManager:
    return _LARGE if size[0] * size[1] > LARGE else contextlib.nullcontext()


def _check_scans(file: Image.Image, content: bytes) -> None:
    if file.format in ("JPEG", "MPO"):
        scans, pixels = content.count(b"\xff\xda"), file.width * file.height
        if scans * max(pixels, 2**16) > MAX_SCANNED:
            raise ValueError(f"JPEG of {scans:,} scans of {pixels:,} pixels; must be at most {MAX_SCANNED:,} in all")


def _converted(file: Image.Image, mode: str) -> Image.Image:
    if file.mode == "F":
        raise ValueError("pixels in floating point; must be integers of 8 or 16 bits")
    if file.mode.startswith("I"):  # Pillow clips 16 bits instead of scaling them
        return _upper_bits(file).convert(mode)
    if SIGNED in _tag(file, SAMPLE_FORMAT):  # Pillow takes them for unsigned
        raise ValueError(SIGNED_PIXELS)
    between = BETWEEN.get(file.mode)
    return (file.convert(between) if between else file).convert(mode)


def _upper_bits(file: Image.Image) -> Image.Image:
    """The upper 8 bits of integers of up to 16 bits.

    Pillow holds in mode I;16 what has 16 bits (12 in some TIFFs), in mode I these too where a PNM or, in older
    versions, a PNG has them, and all that has no agreed white: 32 bits and signed integers.
    """
    bits = max(_tag(file, BITS), default=16)
    pixels = np.asarray(file)
    if file.mode == "I" and file.format not in ("PPM", "PNG"):
        if bits <= 16 and SIGNED in _tag(file, SAMPLE_FORMAT):
            raise ValueError(SIGNED_PIXELS)
        if SIGNED not in _tag(file, SAMPLE_FORMAT):
            pixels = pixels.view(np.uint32)
        values = f"from {pixels.min()} to {pixels.max()}"
        raise ValueError(f"pixels of more than 16 bits, {values}: their white is unknown; must be of 8 or 16 bits")
    pixels = (pixels >> (bits - 8)).astype(np.uint8)
    if WHITE_IS_ZERO in _tag(file, PHOTOMETRIC):  # Pillow inverts 8 bits alone
        pixels = ~pixels
    return Image.fromarray(pixels)


def _tag(file: Image.Image, tag: int) -> tuple:
    """The values of a tag of a TIFF; () for other formats."""
    value = getattr(file, "tag_v2", {}).get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _orientation(file: Image.Image) -> int:
    """1 to 8, of the EXIF data, else of the XMP data; 1, upright, or another number where neither has one."""
    block = file.info.get("exif")
    if isinstance(block, bytes) and (found := exif_orientation(block)) is not None:
        return found
    try:
        found = file.getexif().get(ORIENTATION)
        return found if isinstance(found, int) else 1
    except Exception:  # of many kinds, from damaged data
        return 1


def exif_orientation(block: bytes) -> int | None:
    """The orientation of an EXIF block whose other entries may be damaged; None where it has none.

    Pillow passes over all entries that follow one whose value lies beyond the end.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    (begin,) = struct.unpack_from(order + "I", block, 4)
    if begin + 2 > len(block):
        return None
    (count,) = struct.unpack_from(order + "H", block, begin)
    for at in range(begin + 2, min(begin + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, length = struct.unpack_from(order + "HHI", block, at)
        if tag == ORIENTATION and length == 1 and kind in INTEGERS:
            return struct.unpack_from(order + INTEGERS[kind], block, at + 8)[0]
    return None
