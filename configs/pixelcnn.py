"""A gated PixelCNN of handwritten digits of 8 x 8 pixels, sampled as bits.

    python -m jaxnets.train --config=pixelcnn
    python -m jaxnets.train --config=pixelcnn:conditional      # by class; also: plain (PixelCNN), plus (PixelCNN++)
    python -m jaxnets.generate --workdir=runs/pixelcnn --count=64
    python -m jaxnets.evaluate --workdir=runs/pixelcnn --split=test

The variant ``plus`` has 17 gray levels instead of bits. The variant ``mnist`` is the PixelCNN of van den Oord et al.
2016 for MNIST with fixed bits, or other images in the same four IDX files:

    python -m jaxnets.train --config=pixelcnn:mnist --config.data.path=folder/of/mnist
"""

DIGITS = {"name": "data.digits", "read_as": "images", "batch_size": 64}
SHAPE = (8, 8, 1)
GATED = {"name": "generative.GatedPixelCNN", "image_shape": SHAPE, "num_layers": 5}
MNIST = {"name": "data.idx", "path": "mnist", "read_as": "images", "batch_size": 32, "validation_fraction": 0.05}

VARIANTS: dict[str, dict] = {
    "conditional": {"model": {**GATED, "num_classes": 10}},
    "plain": {"model": {"name": "generative.PixelCNN", "image_shape": SHAPE, "num_blocks": 4}},
    "plus": {
        "task": {"name": "tasks.autoregressive_images", "binarization": "none"},
        "model": {
            "name": "generative.PixelCNNPlusPlus",
            "image_shape": SHAPE,
            "num_levels": 17,
            "hidden": 24,
            "num_blocks": 1,
            "num_mixtures": 5,
            "dropout": 0.1,
        },
    },
    "mnist": {
        "data": MNIST,
        "model": {"name": "generative.PixelCNN"},
        "train": {"steps": 17_800, "evaluate_every": 1780, "log_every": 89, "report_every": 3560},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.autoregressive_images",
        "data": DIGITS,
        "model": GATED,
        "optimizer": {"learning_rate": 2e-3, "end_lr_factor": 0.05},
        "train": {"steps": 1500, "evaluate_every": 250, "report_every": 500},
        **VARIANTS.get(variant, {}),
    }
