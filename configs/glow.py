"""Glow, a normalizing flow, of handwritten digits of 8 x 8 pixels.

    python -m jaxnets.train --config=glow
    python -m jaxnets.generate --workdir=runs/glow --count=64
    python -m jaxnets.generate --workdir=runs/glow --count=11 --interpolate --output=path.png
    python -m jaxnets.evaluate --workdir=runs/glow --split=test

The variant ``mnist`` is for MNIST, or other images in the same four IDX files:

    python -m jaxnets.train --config=glow:mnist --config.data.path=folder/of/mnist
"""

DIGITS = {"name": "data.digits", "read_as": "images", "batch_size": 64}
SMALL = {"name": "generative.Glow", "image_shape": (8, 8, 1), "levels": 2, "steps": 4, "width": 32, "scan_layers": True}
MNIST = {"name": "data.idx", "path": "mnist", "read_as": "images", "batch_size": 64, "validation_fraction": 0.05}

VARIANTS: dict[str, dict] = {
    "mnist": {
        "data": MNIST,
        "model": {"name": "generative.Glow", "image_shape": (28, 28, 1), "levels": 2, "steps": 8, "width": 64},
        "train": {"steps": 17_800, "evaluate_every": 1780, "log_every": 89, "report_every": 3560},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.flow",
        "data": DIGITS,
        "model": SMALL,
        "optimizer": {"end_lr_factor": 0.05, "ema_decay": 0.995},
        "train": {"steps": 2000, "evaluate_every": 250, "report_every": 500},
        **VARIANTS.get(variant, {}),
    }
