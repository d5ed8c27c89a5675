"""MNIST-1D by a temporal convolutional network (needs ``pip install '.[mnist1d]'``).

python -m jaxnets.train --config=mnist1d_tcn

Expected: about 96 % of the test part right, in a minute on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.mnist1d", "batch": 64, "validation": 0.1},
            "model": {
                "name": "convolution.TCN",
                "hidden": 32,
                "levels": 4,
                "kernel": 5,
                "pooling": "last",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 3e-3,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 6000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 200, "log_every": 25},
        }
    )
