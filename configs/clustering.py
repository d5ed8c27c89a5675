"""Amortized clustering of points from mixtures of four Gaussians (Lee et al. 2019, section 5.3).

    python -m jaxnets.train --config=clustering

``log_likelihood`` is the mean over points; ``oracle`` is the loss of the true mixtures. Expected: -1.48 where the true
mixtures have -1.47 (published: -1.50), in an hour on one CPU core.
"""


def get_config() -> dict:
    return {
        "task": "tasks.clustering",
        "data": {"name": "data.gaussian_mixtures"},
        "model": {"name": "sets.SetTransformer", "num_seeds": 4, "num_inducing_points": 16, "num_decoder_blocks": 1},
        "optimizer": {"end_lr_factor": 0.1},
        "reports": {"inducing_points": "reports.inducing_points"},
        "train": {"steps": 50000, "evaluate_every": 2500, "log_every": 100},
    }
