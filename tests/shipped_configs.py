"""Small data for the shipped configs whose data are a user's files, or of a package that may not be there."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image


def small_data(folder: Path, text: Path, batch: int) -> dict[str, dict]:
    """By name of a config, what to set in its data: files in this folder, or the text; a few rows a batch."""
    random = np.random.default_rng(0)
    labels = np.arange(80) % 4

    def arrays(name: str, *shape: int, pixels: bool = False, ends: bool = False) -> str:
        x = random.integers(0, 256, (80, *shape), np.uint8) if pixels else 1e5 + random.normal(size=(80, *shape))
        for row in range(0, 80 if ends else 0, 3):
            x[row, 1 + row % shape[0] :] = np.nan
        np.savez(folder / f"{name}.npz", x_train=x, y_train=labels, x_test=x[:20], y_test=labels[:20])
        return str(folder / f"{name}.npz")

    (folder / "pairs.tsv").write_text("".join(f"the number {n}\tel número {n}\n" for n in range(400)))
    for i in range(80):
        path = folder / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    for part, count in (("train", 80), ("t10k", 20)):
        images = random.integers(0, 256, (count, 4, 3), np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels[:count].astype(np.uint8))):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(header + array.tobytes())
    series = {"name": "data.series", "path": arrays("series", 12, 1), "batch_size": batch}
    digits = {"name": "data.image_arrays", "path": arrays("digits", 28, 28, 1, pixels=True), "batch_size": batch}
    pairs = {
        "name": "data.pairs",
        "path": str(folder / "pairs.tsv"),
        "vocab_size": 300,
        "max_seq_len": 12,
        "batch_size": batch,
    }
    parts = ["test" if i % 5 == 4 else "train" for i in range(200)]
    rows = "".join(f"{i * i % 37},{'ab'[i % 2]},{'xyz'[i % 3]},{part}\n" for i, part in enumerate(parts))
    (folder / "table.csv").write_text("size,color,kind,part\n" + rows)
    return {
        "table": {"path": str(folder / "table.csv"), "target": "kind", "split": "part", "batch": batch},
        **dict.fromkeys(("series", "mnist1d", "mnist1d:cnn", "mnist1d:tcn"), series),
        **{name: {"path": str(folder), "batch": batch} for name in ("pixel_mnist", "pixel_mnist:tcn")},
        **dict.fromkeys(("translation", "translation:rnn"), pairs),
        **{name: {"path": str(text), "length": 8, "batch": batch} for name in ("char_lm", "shakespeare", "decoder_lm")},
        "mnist": digits,
        "cifar10": {**digits, "path": arrays("cifar", 32, 32, 3, pixels=True)},
        "images": {"path": str(folder / "images"), "size": 32, "batch": batch},
        "labeled_sets": {"path": arrays("sets", 9, 3, ends=True), "batch": batch},
    }
