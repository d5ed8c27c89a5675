"""Sets of an npz file and their classes, by set attention.

    python -m jaxnets.train --config=labelled_sets --config.data.path=my_sets.npz

The file holds ``x_train [S, N, D]``, ``y_train [S]``, ``x_test``, ``y_test``; a set that ends in NaN is that much
smaller.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {
                "name": "data.labelled_sets",
                "path": "sets.npz",
                "batch": 32,
                "validation": 0.15,
                "standardise": True,
            },
            "model": {
                "name": "sets.SetTransformer",
                "seeds": 1,
                "width": 64,
                "heads": 4,
                "points": 16,
                "encoder": 2,
                "decoder": 0,
                "norm": "layer",
                "clean": True,
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
                "steps": 2500,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 500,
                "log_every": 100,
            },
        }
    )
