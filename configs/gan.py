"""Adversarial networks of points and of images.

    python -m jaxnets.train --config=gan                  # 8 Gaussians on a ring
    python -m jaxnets.train --config=gan:grid             # 25 Gaussians on a grid
    python -m jaxnets.train --config=gan:dcgan            # digits of 8 x 8 pixels; also wgan_gp, conditional

For MNIST, or other images in the same four IDX files:

    python -m jaxnets.train --config=gan:dcgan --workdir=runs/dcgan --config.data.name=data.idx
        --config.data.path=folder/of/mnist --config.data.read_as=images --config.model.image_size=28

In one run, the default covered 8 of 8 modes, see the guide. Without the penalty (--config.task.gradient_penalty=0),
modes may be lost. Then

    python -m jaxnets.generate --workdir=runs/dcgan --count=64
"""

from typing import Any

GRID = {"layout": "grid", "modes": 25, "radius": 4.0, "std": 0.05}
WGAN_GP = {"loss": "wasserstein", "gradient_penalty": 10.0, "discriminator_steps": 5}

# Differences of the variants: of points from ``ring``, of images from ``dcgan``.
VARIANTS: dict[str, dict[str, Any]] = {
    "ring": {},
    "grid": {"task": GRID, "data": {"name": "data.gaussian_grid"}, "optimizer": {"learning_rate": 2e-3}},
    "dcgan": {},
    "wgan_gp": {"task": WGAN_GP, "data": {"batch_size": 320}, "model": {"discriminator_norm": "none"}},
    "conditional": {"model": {"num_classes": 10}},
}


def get_config(variant: str = "ring") -> dict:
    settings = VARIANTS[variant]
    config = _points() if variant in ("ring", "grid") else _images()
    return {name: {**values, **settings.get(name, {})} for name, values in config.items()}


def _points() -> dict:
    return {
        "task": {"name": "tasks.adversarial", "gradient_penalty": 0.03},
        "data": {"name": "data.gaussian_ring"},
        "model": {"name": "generative.GAN", "hidden_sizes": (128, 128, 128)},
        "optimizer": {"end_lr_factor": 0.01, "b1": 0.5, "clip_norm": 0.0, "ema_decay": 0.999},
        "train": {"steps": 20_000, "evaluate_every": 2000, "log_every": 50, "report_every": 4000},
    }


def _images() -> dict:
    return {
        "task": {"name": "tasks.adversarial"},
        "data": {"name": "data.digits", "read_as": "images"},
        "model": {"name": "generative.DCGAN", "image_size": 8, "channels": 1, "width": 32, "latent": 32},
        "optimizer": {
            "learning_rate": 2e-4,
            "end_lr_factor": 0.1,
            "b1": 0.5,
            "clip_norm": 0.0,
            "ema_decay": 0.999,
        },
        "train": {"steps": 4000, "evaluate_every": 1000, "log_every": 50, "report_every": 500},
    }
