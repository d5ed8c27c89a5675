"""The adding problem: which two of 400 numbers were marked, and what is their sum?

python -m jaxnets.train --config=adding
python -m jaxnets.train --config=adding --workdir=runs/adding_elman --config.model.cell=recurrent.elman

Expected: a mean squared error below 0.001 (guessing: 0.167), in five minutes on two CPU cores; the second stays at
0.17.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.regression",
            "data": {"name": "data.adding", "length": 400, "batch": 64},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": {"name": "recurrent.gru", "memory": 400},
                "hidden": 64,
                "layers": 1,
                "bidirectional": False,
                "pooling": "last",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 5e-3,
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
