"""MNIST read pixel by pixel: 784 steps of one number each (Le, Jaitly and Hinton 2015, arXiv:1504.00941).

python -m jaxnets.train --config=pixel_mnist --config.data.path=folder/of/mnist

The folder holds the four IDX files, plain or gzipped. Expected: about 98 % of the test part right after 20 epochs, in
about an hour on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.idx", "path": "mnist", "read_as": "pixels", "batch": 100, "validation": 0.1},
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": {"name": "recurrent.gru", "memory": 784},
                "hidden": 128,
                "layers": 1,
                "bidirectional": False,
                "pooling": "last",
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 4e-3,
                "warmup": 500,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 10800, "minutes": 0.0, "accumulate": 1, "evaluate_every": 540, "log_every": 20},
        }
    )
