"""Small datasets for the shipped configs that need files of the user or an optional package."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image


def small_data(folder: Path, text: Path, batch_size: int) -> dict[str, dict]:
    """Writes small files to a folder and returns the ``data`` settings of each config that needs them."""
    random = np.random.default_rng(0)
    labels = np.arange(80) % 4

    def arrays(name: str, *shape: int, pixels: bool = False, padded: bool = False) -> str:
        x = random.integers(0, 256, (80, *shape), np.uint8) if pixels else 1e5 + random.normal(size=(80, *shape))
        for row in range(0, 80 if padded else 0, 3):
            x[row, 1 + row % shape[0] :] = np.nan
        np.savez(folder / f"{name}.npz", x_train=x, y_train=labels, x_test=x[:20], y_test=labels[:20])
        return str(folder / f"{name}.npz")

    (folder / "pairs.tsv").write_text("".join(f"the number {n}\tel número {n}\n" for n in range(400)))
    for i in range(80):
        path = folder / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    for split, count in (("train", 80), ("t10k", 20)):
        images = random.integers(0, 256, (count, 4, 3), np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels[:count].astype(np.uint8))):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{split}-{name}-ubyte").write_bytes(header + array.tobytes())
    series = {"name": "data.series", "path": arrays("series", 12, 1), "batch_size": batch_size}
    digits = {"name": "data.image_arrays", "path": arrays("digits", 28, 28, 1, pixels=True), "batch_size": batch_size}
    texts = {"path": str(text), "seq_len": 8, "batch_size": batch_size}
    pairs = {
        "name": "data.pairs",
        "path": str(folder / "pairs.tsv"),
        "vocab_size": 300,
        "max_seq_len": 12,
        "batch_size": batch_size,
    }
    (folder / "tags.conll").write_text("".join(f"w{i % 9} O\nv{i} {'BI'[i % 2]}-X\n\n" for i in range(120)))
    tagged = {"path": str(folder / "tags.conll"), "batch_size": batch_size}
    splits = ["test" if i % 5 == 4 else "train" for i in range(200)]
    rows = "".join(f"{i * i % 37},{'ab'[i % 2]},{'xyz'[i % 3]},{split}\n" for i, split in enumerate(splits))
    (folder / "table.csv").write_text("size,color,kind,split\n" + rows)
    hours = "".join(f"2016-07-{1 + i // 24:02} {i % 24:02}:00:00,{i * i % 37},{i % 24}\n" for i in range(260))
    (folder / "hours.csv").write_text("date,a,b\n" + hours)
    temperatures = {"horizon": 24, "context": 48, "splits": (160, 50, 50), "batch_size": batch_size}
    temperatures["path"] = str(folder / "hours.csv")
    for i in range(80):
        file = folder / "texts" / "ab"[i % 2] / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text number {i} of class {'ab'[i % 2]} " * (1 + i % 9))
    texts_by_class = {"path": str(folder / "texts"), "batch_size": batch_size}
    (folder / "words.txt").write_text(
        "".join(f"the cat {'sat on' if n % 2 else 'is at'} the mat\n" for n in range(200))
    )
    words = {"name": "data.word_corpus", "path": str(folder / "words.txt"), "window": 2}
    words |= {"batch_words": 8 * batch_size, "chunk_words": 8}
    pairs_of_words = {"name": "data.cooccurrences", "path": str(folder / "words.txt"), "batch_size": batch_size}
    return {
        **{f"word_vectors{variant}": words for variant in ("", ":cbow", ":hierarchical", ":subwords")},
        "word_vectors:glove": pairs_of_words,
        **{
            f"etth1{variant}": temperatures
            for variant in ("", ":ridge", ":quantiles", ":dlinear", ":segrnn", ":patchtst", ":deepar")
        },
        "table": {"path": str(folder / "table.csv"), "target": "kind", "split": "split", "batch_size": batch_size},
        **dict.fromkeys(("series", "ucr", "ucr:rocket", "ucr:gru", "mnist1d", "mnist1d:cnn", "mnist1d:tcn"), series),
        **{name: {"path": str(folder), "batch_size": batch_size} for name in ("pixel_mnist", "pixel_mnist:tcn")},
        **dict.fromkeys(("translation", "translation:rnn"), pairs),
        **dict.fromkeys(("char_lm", "shakespeare", "decoder_lm"), texts),
        **{
            f"series_anomaly{variant}": {**series, "name": "data.series_anomalies", "normal": "1"}
            for variant in ("", ":pca", ":neighbor")
        },
        **{f"text_classification:{variant}": texts_by_class for variant in ("sentiment", "language", "bytes")},
        "text_classification:author": {**texts_by_class, "words": 5},
        "tagging:ner": tagged,
        "tagging:pos": tagged,
        **{f"tagging{variant}": {"modules": 10, "batch_size": batch_size} for variant in ("", ":softmax", ":words")},
        **dict.fromkeys(
            ("mnist", "vae:mnist", "autoencoder:hinton", "pixelcnn:mnist", "glow:mnist", "ddpm:mnist"), digits
        ),
        "anomaly_image:mnist": {"name": "data.image_anomalies", "images": digits, "count": 8},
        "cifar10": {**digits, "path": arrays("cifar", 32, 32, 3, pixels=True)},
        "images": {"path": str(folder / "images"), "size": 32, "batch_size": batch_size},
        "labeled_sets": {"path": arrays("sets", 9, 3, padded=True), "batch_size": batch_size},
    }
