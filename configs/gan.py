"""Adversarial networks on a ring of eight Gaussians; five steps of the discriminator for one of the generator.

python -m jaxnets.train --config=gan
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "tasks.adversarial",
                "discriminator_steps": 5,
                "modes": 8,
                "radius": 1.0,
                "std": 0.01,
            },
            "data": {"name": "data.ring", "modes": 8, "radius": 1.0, "std": 0.01, "batch": 640},
            "model": {"name": "generative.GAN", "latent": 2, "hidden": (128, 128)},
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup": 0,
                "final": 0.1,
                "b1": 0.5,
                "b2": 0.999,
                "weight_decay": 0.0,
                "clip": 0.0,
            },
            "train": {
                "steps": 8000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 1000,
                "log_every": 50,
                "report_every": 2000,
            },
        }
    )
