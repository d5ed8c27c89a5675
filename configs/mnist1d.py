"""MNIST-1D: generated series of 40 steps in ten classes (requires ``pip install '.[mnist1d]'``).

    python -m jaxnets.train --config=mnist1d
    python -m jaxnets.train --config=mnist1d:cnn
    python -m jaxnets.train --config=mnist1d:tcn

Expected test accuracy: about 97 % with a GRU (published: 91 %) in 40 seconds on two CPU cores; 98 % with a
convolutional network (published: 94 %) in half a minute; 96 % with a temporal convolutional network in a minute.
"""

VARIANTS: dict[str, dict] = {
    "cnn": {"model": {"name": "convolution.SeriesCNN", "dropout": 0.2}},
    "tcn": {"model": {"name": "convolution.TCN", "channels": 32, "kernel_size": 5}},
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.mnist1d"},
        "model": {"name": "recurrent.SequenceModel", "hidden_size": 64},
        "optimizer": {
            "learning_rate": 0.003,
            "warmup_steps": 100,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
        "train": {"steps": 6000, "evaluate_every": 200},
        **VARIANTS.get(variant, {}),
    }
