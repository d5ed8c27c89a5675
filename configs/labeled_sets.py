"""Classification of sets from an npz file, with set attention.

    python -m jaxnets.train --config=labeled_sets --config.data.path=my_sets.npz

The file holds ``x_train [S, N, D]``, ``y_train [S]``, ``x_test`` and ``y_test``; NaN at the end of a set is padding.
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.labeled_sets", "path": "sets.npz", "batch_size": 32},
        "model": {
            "name": "sets.SetTransformer",
            "embed_dim": 64,
            "num_inducing_points": 16,
            "num_decoder_blocks": 0,
            "norm": "layer",
            "clean_residual": True,
        },
        "reports": {"inducing_points": "reports.inducing_points"},
        "train": {"steps": 2500, "evaluate_every": 500, "log_every": 100},
    }
