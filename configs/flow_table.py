"""A neural spline flow of the 30 features of tumors in scikit-learn's breast cancer table.

    python -m jaxnets.train --config=flow_table
    python -m jaxnets.train --config=flow_table:maf            # a masked autoregressive flow
    python -m jaxnets.evaluate --workdir=runs/flow_table --split=test

For a table of your own, with numeric features:

    python -m jaxnets.train --config=flow_table --config.data.name=data.table --config.data.path=rows.csv
        --config.data.target_type=none --config.model.features=8
"""

SPLINES = {"name": "generative.SplineFlow", "features": 30, "num_layers": 4, "hidden_sizes": (64,)}
AUTOREGRESSIVE = {"name": "generative.MaskedAutoregressiveFlow", "features": 30}

VARIANTS: dict[str, dict] = {"maf": {"model": AUTOREGRESSIVE}}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.flow",
        "data": {"name": "data.breast_cancer"},
        "model": SPLINES,
        "optimizer": {"end_lr_factor": 0.05, "weight_decay": 0.01, "ema_decay": 0.99},
        "train": {"steps": 600, "evaluate_every": 50},
        **VARIANTS.get(variant, {}),
    }
