"""Artifacts of reports: files of a run and TensorBoard summaries."""

import csv
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from tensorboardX import summary

from jaxnets.data.formats.npz import npz_of
from jaxnets.ops.host.files import read_regular, write_atomically
from jaxnets.reports import Arrays, Audio, ImageGrid, ImageStrip, Table, Text

TILE = 48  # approximate minimum size of an image of a grid, in pixels
MAX_STRIP_BYTES = 2**26
GAP = 2  # gray pixels between images
STEPS = "steps"  # of the rows of a strip, a text in its file


def write(workdir: Path, name: str, artifact: Any, step: int = 0) -> Any:
    """Writes an artifact to ``figures/NAME.png`` or ``samples/NAME.*``. Returns its TensorBoard summary or None.

    Args:
        workdir: The folder.
        name: NAME.
        artifact: A matplotlib figure, or an artifact of ``jaxnets.reports``.
        step: The step of the report, for strips.

    Raises:
        OSError: The file cannot be written.
        ValueError: The object is not an artifact, or an array has a wrong shape.
    """
    if isinstance(artifact, Text):
        encoded = artifact.text.encode("utf-8", "backslashreplace")
        _save(workdir / "samples" / f"{name}.txt", encoded)
        return summary.text(name, encoded.decode())
    if isinstance(artifact, Table):
        _save(workdir / "samples" / f"{name}.csv", to_csv(artifact))
        return None
    if isinstance(artifact, ImageGrid):
        pixels = grid(artifact)
        _save(workdir / "samples" / f"{name}.png", png(pixels))
        return summary.image(name, np.atleast_3d(pixels), dataformats="HWC")
    if isinstance(artifact, ImageStrip):
        path = workdir / "samples" / f"{name}.png"
        pixels, steps = _with_row(path, grid(ImageGrid(artifact.images, len(artifact.images))), step)
        _save(path, png(pixels, {STEPS: " ".join(map(str, steps))}))
        return summary.image(name, np.atleast_3d(pixels), dataformats="HWC")
    if isinstance(artifact, Audio):
        _save(workdir / "samples" / f"{name}.wav", _wav(artifact))
        return None
    if isinstance(artifact, Arrays):
        _save(workdir / "samples" / f"{name}.npz", npz_of(artifact.arrays))
        return None
    if not hasattr(artifact, "savefig"):
        raise ValueError(f"the report {name} must be a figure or an artifact of jaxnets.reports, got {artifact!r:.60}")
    content = io.BytesIO()
    artifact.savefig(content, format="png", dpi=110)
    _save(workdir / "figures" / f"{name}.png", content.getvalue())
    return summary.image(name, np.asarray(Image.open(content, formats=["PNG"]).convert("RGB")), dataformats="HWC")


def grid(artifact: ImageGrid) -> np.ndarray:
    """Arranges images in a grid and enlarges small ones. Returns uint8 ``[H, W]`` or ``[H, W, 3]``."""
    images = np.asarray(artifact.images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"images must be [N, H, W, 1 or 3] with N above 0, got {images.shape}")
    if images.dtype != np.uint8:
        images = np.round(np.clip(np.nan_to_num(images), 0, 1) * 255).astype(np.uint8)
    for axis in (1, 2):  # enlarge small images by an integer factor
        images = np.repeat(images, max(1, TILE // artifact.images.shape[1]), axis)
    images = np.pad(images, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=96)
    columns = artifact.columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    empty = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    tiles = np.concatenate([images, empty]).reshape(rows, columns, *images.shape[1:])
    pixels = tiles.swapaxes(1, 2).reshape(rows * images.shape[1], columns * images.shape[2], images.shape[3])
    return pixels[..., 0] if images.shape[3] == 1 else pixels


def to_csv(table: Table) -> bytes:
    """Formats a table as CSV with a header row.

    Raises:
        ValueError: The length of a row differs from the number of columns.
    """
    if any(len(row) != len(table.columns) for row in table.rows):
        raise ValueError(f"rows of a table must have {len(table.columns)} values each, one per column")
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode("utf-8", "backslashreplace")


def png(pixels: np.ndarray, texts: dict[str, str] | None = None) -> bytes:
    """Encodes uint8 pixels ``[H, W]`` or ``[H, W, 3]``, with texts by name, as PNG."""
    content, info = io.BytesIO(), PngImagePlugin.PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    Image.fromarray(pixels).save(content, format="PNG", pnginfo=info)
    return content.getvalue()


def _with_row(path: Path, row: np.ndarray, step: int) -> tuple[np.ndarray, list[int]]:
    """Appends a row to the rows of earlier steps in a file, if it has rows of this size. Returns pixels and steps.

    Rows of later steps, which a killed run has written, are removed.
    """
    try:
        with Image.open(io.BytesIO(read_regular(path, MAX_STRIP_BYTES)), formats=["PNG"]) as file:
            found = np.asarray(file)
            steps = [int(text) for text in str(file.info[STEPS]).split()]
    except Exception:  # a missing file, or another image
        return row, [step]
    if found.shape != (len(row) * len(steps), *row.shape[1:]):
        return row, [step]
    rows = [*zip(np.split(found, len(steps)), steps, strict=True), (row, step)]
    kept = [(earlier, at) for earlier, at in rows[:-1] if at < step] + rows[-1:]
    return np.concatenate([pixels for pixels, _ in kept]), [at for _, at in kept]


def _wav(artifact: Audio) -> bytes:
    samples = np.asarray(artifact.samples)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"samples must be floating point [T], got {samples.dtype} {samples.shape}")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(artifact.sample_rate)
        file.writeframes(np.round(np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype("<i2").tobytes())
    return content.getvalue()


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, content)
