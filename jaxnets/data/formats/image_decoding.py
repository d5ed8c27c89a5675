"""Image decoding: supported formats, conversion of pixels, orientation, and limits."""

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

from jaxnets.ops.host.files import open_regular
from jaxnets.ops.host.printable import printable

# Formats that Pillow decodes within this process. Excluded are EPS, which runs Ghostscript; IPTC, which opens embedded
# data in any format; WMF, BUFR, GRIB, HDF5 and MPEG, which Pillow leaves to other programs; and FITS, whose scaling
# Pillow ignores. Formats without a signature come last.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI", "PSD", "DDS", "ICO", "CUR"),
    *("ICNS", "SGI", "SUN", "PCX", "DCX", "DIB", "BLP", "FTEX", "FLI", "GBR", "MCIDAS", "MSP", "PIXAR", "XBM", "XPM"),
    *("XVTHUMB", "PCD", "IM", "IMT", "SPIDER", "TGA"),
)
POSTSCRIPT = (b"%!", b"\xc5\xd0\xd3\xc6")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MODES = {1: "L", 3: "RGB"}
# Intermediate modes, for conversions that Pillow does not support or that emit warnings.
BETWEEN = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "LAB": "RGB"}

MAX_BYTES = 2**30  # of a file
MAX_SCAN_PIXELS = 2**32  # pixels in all scans of a JPEG; a scan of few bytes can take the time of a whole image
LARGE = 2**26  # pixels; larger images are decoded one at a time to limit memory
_LARGE = threading.Lock()

BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF and EXIF
INTEGERS = {1: "B", 3: "H", 4: "I"}  # struct formats of value types
WHITE_IS_ZERO, SIGNED = 0, 2
SIGNED_PIXELS = "pixels must be unsigned integers of 8 or 16 bits, got signed ones"
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
    """Returns the supported formats of the installed Pillow."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the lowercase suffixes of the supported formats."""
    Image.init()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in (*formats(), "MPO"))


def decode(content: bytes, size: int, channels: int) -> np.ndarray:
    """Decodes an image to uint8 ``[size, size, channels]``, with its EXIF orientation applied.

    The central square is resized with antialiasing. 16 bits are reduced to the upper 8, and 12 bits of a TIFF likewise.
    Palettes, CMYK, YCbCr, LAB and HSV become RGB. The alpha channel is dropped without blending. Only the first frame
    or page is decoded.

    Args:
        content: The bytes of a file in one of ``FORMATS``.
        size: H and W; 0 for the size of the image.
        channels: 1 or 3.

    Raises:
        ValueError: The image cannot be decoded; its pixels are floating-point, signed or of more than 16 bits, so that
            black and white are unknown; or it exceeds a limit, such as twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    """
    try:
        with _open(io.BytesIO(content)) as file, _turn(file.size):
            _check_scans(file, content)
            if size:
                file.draft(None, (2 * size, 2 * size))  # decodes a large JPEG at 1/2, 1/4 or 1/8 of its size
            file.load()
            image = _converted(file, MODES[channels])
            if (method := UPRIGHT.get(_orientation(file))) is not None:
                image = image.transpose(method)
            if size:
                side = min(image.size)
                left, top = (image.width - side) / 2, (image.height - side) / 2
                if side == size:  # no resizing: pixels are unchanged
                    left, top = left // 1, top // 1
                box = (left, top, left + side, top + side)
                image = image.resize((size, size), Image.Resampling.BILINEAR, box)
            return np.asarray(image).reshape(image.height, image.width, channels)
    except Exception as error:  # decoders of Pillow raise many kinds of errors
        raise ValueError(reason(error, content[:4])) from error


def check_header(file: IO[bytes]) -> None:
    """Raises a ``ValueError`` if a file has no valid image header, or too many pixels."""
    begin = file.read(4)
    try:
        _open(file).close()
    except Exception as error:  # as above
        raise ValueError(reason(error, begin)) from error


def open_file(path: Path) -> IO[bytes]:
    """Opens a regular file for reading. Named pipes and devices do not block.

    Raises:
        ValueError: The file is not regular, or larger than ``MAX_BYTES``.
        OSError: The file cannot be opened.
    """
    try:
        file = open_regular(path)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path} ")) from error  # callers add the escaped path
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        file.close()
        raise ValueError(f"the file must have at most {MAX_BYTES:,} bytes, got {size:,}")
    return file


def reason(error: Exception, begin: bytes = b"") -> str:
    """Returns the reason of a decoding error in one line; ``begin`` is the start of the file."""
    if isinstance(error, UnidentifiedImageError):
        if begin.startswith(POSTSCRIPT):
            return "PostScript is not supported because it runs another program"
        if begin.startswith(TIFF):
            return "an unsupported or damaged TIFF"
        return "not in a format that Pillow supports"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text or type(error).__name__)


def _open(file: IO[bytes]) -> Any:
    return Image.open(file, formats=formats())


def _turn(size: tuple[int, int]) -> contextlib.AbstractContextManager:
    return _LARGE if size[0] * size[1] > LARGE else contextlib.nullcontext()


def _check_scans(file: Image.Image, content: bytes) -> None:
    if file.format in ("JPEG", "MPO"):
        scans, pixels = content.count(b"\xff\xda"), file.width * file.height
        if scans * max(pixels, 2**16) > MAX_SCAN_PIXELS:
            raise ValueError(
                f"all scans of a JPEG must have at most {MAX_SCAN_PIXELS:,} pixels in total, got {scans:,} scans of "
                f"{pixels:,} pixels"
            )


def _converted(file: Image.Image, mode: str) -> Image.Image:
    if file.mode == "F":
        raise ValueError("pixels must be integers of 8 or 16 bits, got floating-point numbers")
    if file.mode.startswith("I"):  # Pillow clips 16 bits instead of scaling them
        return _upper_bits(file).convert(mode)
    if SIGNED in _tag(file, SAMPLE_FORMAT):  # Pillow treats them as unsigned
        raise ValueError(SIGNED_PIXELS)
    between = BETWEEN.get(file.mode)
    return (file.convert(between) if between else file).convert(mode)


def _upper_bits(file: Image.Image) -> Image.Image:
    """Returns the upper 8 bits of integers of up to 16 bits.

    Pillow uses mode I;16 for 16 bits (12 in some TIFFs), and mode I for 16 bits of a PNM or, in older versions, of a
    PNG. Mode I is also used for 32 bits and signed integers, whose white value is unknown.
    """
    bits = max(_tag(file, BITS), default=16)
    pixels = np.asarray(file)
    if file.mode == "I" and file.format not in ("PPM", "PNG"):
        if bits <= 16 and SIGNED in _tag(file, SAMPLE_FORMAT):
            raise ValueError(SIGNED_PIXELS)
        if SIGNED not in _tag(file, SAMPLE_FORMAT):
            pixels = pixels.view(np.uint32)
        values = f"from {pixels.min()} to {pixels.max()}"
        raise ValueError(f"pixels must have 8 or 16 bits, got more, with values {values} and unknown white value")
    pixels = (pixels >> (bits - 8)).astype(np.uint8)
    if WHITE_IS_ZERO in _tag(file, PHOTOMETRIC):  # Pillow inverts only 8 bits
        pixels = ~pixels
    return Image.fromarray(pixels)


def _tag(file: Image.Image, tag: int) -> tuple:
    """Returns the values of a TIFF tag; () for other formats."""
    value = getattr(file, "tag_v2", {}).get(tag, ())
    return value if isinstance(value, tuple) else (value,)


def _orientation(file: Image.Image) -> int:
    """Returns the orientation from EXIF, or else XMP data: 1 to 8, or 1 if absent."""
    block = file.info.get("exif")
    if isinstance(block, bytes) and (found := exif_orientation(block)) is not None:
        return found
    try:
        found = file.getexif().get(ORIENTATION)
        return found if isinstance(found, int) else 1
    except Exception:  # damaged data raise many kinds of errors
        return 1


def exif_orientation(block: bytes) -> int | None:
    """Returns the orientation of an EXIF block, or None. Other entries may be damaged.

    Pillow ignores all entries after one whose value lies beyond the end of the block.
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
