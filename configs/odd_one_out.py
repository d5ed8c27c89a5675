"""Detection of the one of eight digits that has another class, with attention or with mean pooling.

    python -m jaxnets.train --config=odd_one_out
    python -m jaxnets.train --config=odd_one_out:pooled

Expected: an accuracy of 99 % on held-out digits (chance: 12.5 %), in a minute on one CPU core; with pooling, in 15
seconds.
"""

VARIANTS: dict[str, dict] = {"pooled": {"model": {"name": "sets.EquivariantDeepSets", "widths": (128, 128, 128)}}}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.choice",
        "data": {"name": "data.odd_one_out"},
        "model": {
            "name": "sets.SetTransformer",
            "num_seeds": 0,
            "num_inducing_points": 0,
            "num_encoder_blocks": 3,
            "num_decoder_blocks": 0,
        },
        "train": {"steps": 2000, "evaluate_every": 250, "log_every": 100},
        **VARIANTS.get(variant, {}),
    }
