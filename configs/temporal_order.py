"""The temporal order problem: in which order did an X or a Y appear, twice, in 100 steps of other symbols?

python -m jaxnets.train --config=temporal_order

Expected: all right (guessing: a quarter), within a minute on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.temporal_order", "length": 100, "batch": 64},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": {"name": "recurrent.gru", "memory": 100},
                "hidden": 64,
                "layers": 1,
                "bidirectional": False,
                "pooling": "last",
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
            "train": {"steps": 2000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 200, "log_every": 25},
        }
    )
