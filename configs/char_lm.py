"""A character (byte) model of Python source code: the default.

    python -m jaxnets.train

learns from the sources of Python's own standard library, found on the machine. Expected: at most 1.5 nats per byte on
the held-out tenth, within 4 minutes on two CPU cores. Your own text:

    python -m jaxnets.train --workdir=runs/mine --config.data.path=my/text/or/folder
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.language_model",
            "data": {
                "name": "data.text",
                "path": "",
                "unit": "byte",
                "read_as": "streams",
                "batch": 64,
                "length": 64,
                "validation": 0.1,
                "pieces": 4096,
            },
            "model": {
                "name": "recurrent.CharRNN",
                "cell": "recurrent.lstm",
                "hidden": 256,
                "layers": 1,
                "embedding": 64,
                "dropout": 0.0,
                "tie": False,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 4e-3,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 1200, "minutes": 0.0, "accumulate": 1, "evaluate_every": 300, "log_every": 25},
        }
    )
