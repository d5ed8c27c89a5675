"""A variational autoencoder of handwritten digits of 8 x 8 pixels, sampled as bits.

    python -m jaxnets.train --config=vae
    python -m jaxnets.train --config=vae:iwae          # importance-weighted; also: dreg, conv, vq

Samples are in runs/vae/samples. Then

    python -m jaxnets.generate --workdir=runs/vae --count=100
    python -m jaxnets.evaluate --workdir=runs/vae --split=test      # with the likelihood by 5,000 samples

The variant ``mnist`` is the network of IWAE (Burda et al. 2016) for MNIST, or other images in the same four IDX files:

    python -m jaxnets.train --config=vae:mnist --config.data.path=folder/of/mnist
    python -m jaxnets.train --config=vae:mnist --config.data.path=folder/of/mnist --config.task.num_samples=5
"""

DIGITS = {"name": "data.digits", "batch_size": 100}
IMAGES = {**DIGITS, "read_as": "images"}
DENSE = {"name": "generative.VAE", "features": 64, "latent": 8, "hidden_sizes": (200,)}
CONVOLUTIONAL = {
    "name": "generative.ConvVAE",
    "image_shape": (8, 8, 1),
    "latent": 8,
    "channels": (32, 64),
    "hidden_sizes": (128,),
}
QUANTIZED = {"name": "generative.VQVAE", "num_codes": 64, "code_size": 16, "hidden": 64, "residual_hidden": 32}

IWAE = {"name": "generative.VAE", "features": 784, "latent": 50, "hidden_sizes": (200, 200)}
MNIST = {"name": "data.idx", "path": "mnist", "read_as": "images", "batch_size": 100, "validation_fraction": 0.05}

VARIANTS: dict[str, dict] = {
    "iwae": {"task": {"name": "tasks.variational", "num_samples": 10}},
    "dreg": {"task": {"name": "tasks.variational", "num_samples": 10, "doubly_reparameterized": True}},
    "conv": {"data": IMAGES, "model": CONVOLUTIONAL},
    "vq": {
        "task": "tasks.vector_quantized",
        "data": IMAGES,
        "model": QUANTIZED,
        "optimizer": {"learning_rate": 0.002, "end_lr_factor": 0.05, "clip_norm": 0.0},
    },
    "mnist": {
        "data": MNIST,
        "model": IWAE,
        "optimizer": {"learning_rate": 3e-3, "eps": 1e-4, "end_lr_factor": 0.05, "clip_norm": 0.0},
        "train": {"steps": 57_000, "evaluate_every": 2850, "log_every": 570, "report_every": 14_250},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.variational",
        "data": DIGITS,
        "model": DENSE,
        "optimizer": {"end_lr_factor": 0.05, "clip_norm": 0.0},
        "train": {"steps": 3000, "evaluate_every": 500, "log_every": 50, "report_every": 1000},
        **VARIANTS.get(variant, {}),
    }
