"""The copy problem: ten symbols, to be repeated after 100 steps.

python -m jaxnets.train --config=copying
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.copying", "delay": 100, "symbols": 10, "batch": 64},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": {"name": "recurrent.lstm", "memory": 100},
                "hidden": 128,
                "layers": 1,
                "bidirectional": False,
                "pooling": "none",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 2e-3,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.0,
                "clip": 1.0,
            },
            "train": {"steps": 4000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 250, "log_every": 25},
        }
    )
