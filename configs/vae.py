"""A variational autoencoder of handwritten digits of 8 x 8 pixels, sampled as bits.

    python -m jaxnets.train --config=vae

Samples are in runs/vae/samples. Then

    python -m jaxnets.generate --workdir=runs/vae --count=100
"""


def get_config() -> dict:
    return {
        "task": "tasks.variational",
        "data": {"name": "data.digits", "batch_size": 100},
        "model": {"name": "generative.VAE", "features": 64, "latent": 8, "hidden_sizes": (200,)},
        "optimizer": {"end_lr_factor": 0.05, "clip_norm": 0.0},
        "train": {"steps": 3000, "evaluate_every": 500, "log_every": 50, "report_every": 1000},
    }
