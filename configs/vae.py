"""A variational autoencoder of handwritten digits of 8 x 8, whose pixels are drawn as bits.

    python -m jaxnets.train --config=vae

Samples are in runs/vae/samples. Then

    python -m jaxnets.generate --workdir=runs/vae --count=100
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.variational",
            "data": {"name": "data.digits", "read_as": "rows", "batch": 100, "validation": 0.15},
            "model": {"name": "generative.VAE", "features": 64, "latent": 8, "hidden": (200,)},
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup": 0,
                "final": 0.05,
                "b1": 0.9,
                "b2": 0.999,
                "weight_decay": 0.0,
                "clip": 0.0,
            },
            "train": {
                "steps": 3000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 500,
                "log_every": 50,
                "report_every": 1000,
            },
        }
    )
