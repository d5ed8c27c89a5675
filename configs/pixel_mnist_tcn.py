"""MNIST read pixel by pixel by a temporal convolutional network, as published (Bai et al. 2018, arXiv:1803.01271).

python -m jaxnets.train --config=pixel_mnist_tcn --config.data.path=folder/of/mnist

The folder holds the four IDX files, plain or gzipped. Published: 99.0 % of the test part right; with
``--config.train.steps=1500``, a quarter of an hour on two CPU cores, 98.1 %. A recurrent network's config for the same
data is pixel_mnist.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.classification",
            "data": {"name": "data.idx", "path": "mnist", "read_as": "pixels", "batch": 100, "validation": 0.1},
            "model": {
                "name": "convolution.TCN",
                "hidden": 25,
                "levels": 8,
                "kernel": 7,
                "pooling": "last",
                "dropout": 0.05,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 2e-3,
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
