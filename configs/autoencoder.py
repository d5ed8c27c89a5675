"""An autoencoder of handwritten digits of 8 x 8 pixels, with codes of 8 numbers.

    python -m jaxnets.train --config=autoencoder
    python -m jaxnets.train --config=autoencoder:denoising --workdir=runs/denoising

Reconstructions and a map of the codes are in the run folder. Evaluation adds the accuracies of logistic regressions on
the codes, on the pixels, and on as many principal components:

    python -m jaxnets.evaluate --workdir=runs/autoencoder --split=test

The variant ``hinton`` is the network 784-1000-500-250-30 of Hinton and Salakhutdinov 2006 for MNIST, or other images in
the same four IDX files:

    python -m jaxnets.train --config=autoencoder:hinton --config.data.path=folder/of/mnist
"""

DIGITS = {"name": "data.digits", "batch_size": 100}
SMALL = {"name": "generative.Autoencoder", "features": 64, "latent": 8, "hidden_sizes": (200, 100)}
MNIST = {
    "name": "data.idx",
    "path": "mnist",
    "read_as": "images",
    "batch_size": 100,
    "validation_fraction": 0.05,
}

VARIANTS: dict[str, dict] = {
    "denoising": {"task": {"name": "tasks.autoencoding", "masking": 0.3, "noise": 0.1}},
    "hinton": {
        "task": {"name": "tasks.autoencoding", "loss": "cross_entropy"},
        "data": MNIST,
        "model": {"name": "generative.Autoencoder"},
        "train": {"steps": 17_100, "evaluate_every": 1710, "log_every": 171, "report_every": 8550},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.autoencoding",
        "data": DIGITS,
        "model": SMALL,
        "optimizer": {"end_lr_factor": 0.05},
        "train": {"steps": 3000, "evaluate_every": 500, "log_every": 50, "report_every": 1000},
        **VARIANTS.get(variant, {}),
    }
