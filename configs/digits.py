"""Handwritten digits of 8 x 8, read row by row.

    python -m jaxnets.train --config=digits

Expected: about 97 % of the test part right, in half a minute on two CPU cores. Then

    python -m jaxnets.evaluate --workdir=runs/digits --split=test
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.digits", "read_as": "rows", "batch": 64, "validation": 0.15},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": "recurrent.gru",
                "hidden": 64,
                "layers": 1,
                "bidirectional": False,
                "pooling": "last",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 5e-3,
                "warmup": 50,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 1000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 100, "log_every": 25},
        }
    )
