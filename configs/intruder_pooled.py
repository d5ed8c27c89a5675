"""Which of eight digits is of another class than the others? By their mean; by attention: the config ``intruder``.

python -m jaxnets.train --config=intruder_pooled

Expected: 99 % right on digits never seen, in 15 seconds.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.choice",
            "data": {
                "name": "data.intruder",
                "size": 8,
                "batch": 64,
            },
            "model": {
                "name": "sets.EquivariantDeepSets",
                "widths": (128, 128, 128),
                "pooling": "mean",
                "activation": "relu",
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 0.001,
                "warmup": 0,
                "final": 0.02,
                "b1": 0.9,
                "b2": 0.999,
                "weight_decay": 0.0,
                "clip": 1.0,
            },
            "train": {
                "steps": 2000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 250,
                "log_every": 100,
            },
        }
    )
