"""A generative adversarial network on a ring of eight Gaussians, with five discriminator steps per generator step.

python -m jaxnets.train --config=gan
"""


def get_config() -> dict:
    return {
        "task": {"name": "tasks.adversarial", "discriminator_steps": 5},
        "data": {"name": "data.gaussian_ring", "batch_size": 640},
        "model": {"name": "generative.GAN"},
        "optimizer": {"end_lr_factor": 0.1, "b1": 0.5, "clip_norm": 0.0},
        "train": {"steps": 8000, "evaluate_every": 1000, "log_every": 50, "report_every": 2000},
    }
