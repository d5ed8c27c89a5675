"""Pixel-by-pixel MNIST: series of 784 steps with one feature (Le, Jaitly and Hinton 2015, arXiv:1504.00941).

    python -m jaxnets.train --config=pixel_mnist --config.data.path=folder/of/mnist
    python -m jaxnets.train --config=pixel_mnist:tcn --config.data.path=folder/of/mnist

The folder holds the four IDX files, plain or gzipped. Expected: a test accuracy of about 98 % after 20 epochs, in about
an hour on two CPU cores. The variant ``tcn`` is the published temporal convolutional network (Bai et al. 2018,
arXiv:1803.01271). Published: 99.0 %; with ``--config.train.steps=1500``, 98.1 % in a quarter of an hour.
"""

VARIANTS: dict[str, dict] = {
    "tcn": {
        "model": {"name": "convolution.TCN", "channels": 25, "num_levels": 8, "kernel_size": 7, "dropout": 0.05},
        "optimizer": {
            "learning_rate": 0.002,
            "warmup_steps": 500,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
    }
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.idx", "path": "mnist", "read_as": "pixels", "batch_size": 100},
        "model": {"name": "recurrent.SequenceModel", "cell": {"factory": "recurrent.gru", "chrono_init": 784}},
        "optimizer": {
            "learning_rate": 0.004,
            "warmup_steps": 500,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
        "train": {"steps": 10800, "evaluate_every": 540, "log_every": 20},
        **VARIANTS.get(variant, {}),
    }
