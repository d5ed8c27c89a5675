"""TIFF and PNG files written byte by byte, independent of the library under test."""

import struct
import zlib

import numpy as np


def packed(samples, bits, order=">"):
    """Packs samples ``[H, W * S]`` of 1 to 32 bits; rows are padded to whole bytes."""
    if bits in (8, 16, 32):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    shifts = np.arange(bits)[::-1]
    rows = (samples[:, :, None] >> shifts & 1).astype(np.uint8).reshape(len(samples), -1)
    return np.packbits(rows, axis=1).tobytes()


def tiff(samples, bits, photometric=1, order="<", sample_format=1, extra=(), palette=None, fill=1, more=(), data=None):
    """A TIFF of one uncompressed strip; ``samples`` are ``[H, W]`` or ``[H, W, S]``.

    Args:
        more: Additional tags ``(tag, value)`` of type SHORT.
        data: The bytes of the strip; None for the packed samples.
    """
    height, width, count = (*samples.shape, 1)[:3]
    strip = packed(samples.reshape(height, -1), bits, order) if data is None else data
    if fill == 2:
        strip = bytes(int(f"{b:08b}"[::-1], 2) for b in strip)
    short = lambda tag, *values: (tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values))
    long = lambda tag, value: (tag, 4, 1, struct.pack(order + "I", value))
    tags = [
        *(long(256, width), long(257, height), short(258, *[bits] * count), short(259, 1), short(262, photometric)),
        *(short(266, fill), long(273, 8), short(277, count), long(278, height), long(279, len(strip))),
        *([] if sample_format == 1 else [short(339, *[sample_format] * count)]),
        *([short(338, *extra)] if extra else []),
        *([] if palette is None else [short(320, *(palette.T.reshape(-1).astype(int) * 257))]),
        *(short(tag, value) for tag, value in more),
    ]
    strip += b"\0" * (len(strip) % 2)
    at = 8 + len(strip)
    beyond, entries = at + 2 + 12 * len(tags) + 4, b""
    values = b""
    for tag, kind, length, value in sorted(tags):
        field = value.ljust(4, b"\0")
        if len(value) > 4:
            field = struct.pack(order + "I", beyond + len(values))
            values += value + b"\0" * (len(value) % 2)
        entries += struct.pack(order + "HHI", tag, kind, length) + field
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, at)
    return head + strip + struct.pack(order + "H", len(tags)) + entries + b"\0" * 4 + values


def png(samples, bits, color, *chunks):
    """A PNG of color type 0, 2, 3, 4 or 6; ``samples`` are ``[H, W]`` or ``[H, W, S]``, chunks ``(name, content)``."""
    height, width = samples.shape[:2]
    rows = packed(samples.reshape(height, -1), bits)
    length = len(rows) // height
    body = b"".join(b"\0" + rows[i * length : (i + 1) * length] for i in range(height))
    chunk = lambda name, content: (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    )
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    parts = [chunk(*each) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def exif(orientation, order="<"):
    """An EXIF block with three entries: maker, orientation and resolution."""
    entries = [(0x010F, 2, 6, None), (0x0112, 3, 1, orientation), (0x011A, 5, 1, None)]
    begin = 8 + 2 + 12 * len(entries) + 4
    data = b"Maker\0" + struct.pack(order + "II", 72, 1)
    fields = b""
    for tag, kind, count, value in entries:
        fields += struct.pack(order + "HHI", tag, kind, count)
        place = begin if tag == 0x010F else begin + 6
        fields += struct.pack(order + "I", place) if value is None else struct.pack(order + "HH", value, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return b"Exif\0\0" + head + struct.pack(order + "H", len(entries)) + fields + b"\0" * 4 + data
