"""Classification of texts, and of other sequences of symbols: bytes of files, DNA.

    python -m jaxnets.train --config=text_classification
    python -m jaxnets.train --config=text_classification:sentiment --config.data.path=reviews.csv
    python -m jaxnets.train --config=text_classification:language --config.data.path=sentences.csv
    python -m jaxnets.train --config=text_classification:author --config.data.path=authors/
    python -m jaxnets.train --config=text_classification:bytes --config.data.path=files/
    python -m jaxnets.train --config=text_classification:dna

The default distinguishes two lines of Python code from two lines of documentation, both from the standard library.
``sentiment`` and ``language`` read a file with the columns text and label, or a folder of texts per class. ``language``
reads characters. ``author`` reads books, ``authors/AUTHOR/BOOK.txt``, and holds out whole chapters. ``bytes`` reads the
first 2,048 bytes of binary files, ``files/CLASS/*``; the recurrent network takes the maximum of its states, or with
--config.model.pooling=last the last state. ``dna`` finds the borders of introns in generated DNA.
"""

DEFAULT = {
    "data": {"name": "data.code_or_prose", "batch_size": 64},
    "model": {"name": "text.TextCNN", "embed_dim": 64, "features": 64},
    "train": {"steps": 200, "evaluate_every": 50},
}
VARIANTS: dict[str, dict] = {
    "sentiment": {
        "data": {"name": "data.labeled_texts", "path": "reviews.csv", "lowercase": True, "batch_size": 64},
        "model": {"name": "text.TextCNN", "embed_dim": 128},
        "train": {"steps": 1500, "evaluate_every": 250},
    },
    "language": {
        "data": {
            "name": "data.labeled_texts",
            "path": "sentences.csv",
            "unit": "character",
            "max_tokens": 2000,
            "max_length": 100,
            "batch_size": 64,
        },
        "model": {"name": "text.TextCNN", "embed_dim": 32, "features": 128, "dropout": 0.2},
        "train": {"steps": 1500, "evaluate_every": 250},
    },
    "author": {
        "data": {"name": "data.passages", "path": "authors", "batch_size": 32},
        "model": {"name": "text.NgramClassifier", "embed_dim": 32},
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 50},
        "train": {"steps": 800, "evaluate_every": 200},
    },
    "bytes": {
        "data": {"name": "data.byte_files", "path": "files", "batch_size": 32},
        "model": {
            "name": "text.RecurrentTextClassifier",
            "cell": "recurrent.gru",
            "embed_dim": 16,
            "hidden_size": 64,
            "bidirectional": False,
            "pooling": "max",
        },
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 50},
        "train": {"steps": 500},
    },
    "dna": {
        "data": {"name": "data.splice_sites", "batch_size": 64},
        "model": {"name": "text.TextCNN", "embed_dim": 8, "widths": (9, 17), "features": 64, "dropout": 0.1},
        "train": {"steps": 1500, "evaluate_every": 250},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.text_classification",
        "optimizer": {"learning_rate": 2e-3, "warmup_steps": 50},
        **VARIANTS.get(variant, DEFAULT),
    }
