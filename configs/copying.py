"""The copy problem: ten symbols, to be repeated after 20 steps.

    python -m jaxnets.train --config=copying

Expected: about 99 % of the symbols of the test part right (guessing: an eighth), in four to eight minutes
of processor time.

    python -m jaxnets.evaluate --workdir=runs/copying --split=test

A delay of 100 is far harder: 3000 updates of an LSTM of 128 units, at a learning rate of 0.002, get 33 % right.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.copying", "delay": 20, "symbols": 10, "batch": 64},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": {"name": "recurrent.gru", "memory": 40},
                "hidden": 128,
                "layers": 1,
                "bidirectional": False,
                "pooling": "none",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 1e-2,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.0,
                "clip": 1.0,
            },
            "train": {"steps": 6000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 250, "log_every": 25},
        }
    )
