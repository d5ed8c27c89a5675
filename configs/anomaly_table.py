"""Detection of anomalous rows of a table, by models of its normal rows.

    python -m jaxnets.train --config=anomaly_table
    python -m jaxnets.evaluate --workdir=runs/anomaly_table --split=test

The default is the likelihood of a neural spline flow, on the tumors in scikit-learn, of which half of the benign ones
are for training. The variants are ``maf``, a masked autoregressive flow; ``typicality``, the distance of the likelihood
from the usual one; ``autoencoder``, the error of a denoising autoencoder with the distance of its code; and
``one_class``, the distance of the code alone. For a table of your own:

    python -m jaxnets.train --config=anomaly_table --config.data.path=payments.csv --config.data.target=kind
        --config.data.normal=legitimate --config.model.features=12

``jaxnets.evaluate`` also fits an isolation forest, principal components and nearest neighbors to the training rows.
"""

FLOW = {"name": "generative.SplineFlow", "features": 30, "num_layers": 4, "hidden_sizes": (64,)}
DENSITY = {"factory": "tasks.flow", "noise": 0.3}
RECONSTRUCTION = {"name": "generative.Autoencoder", "features": 30, "latent": 8, "hidden_sizes": (64, 32)}

VARIANTS: dict[str, dict] = {
    "maf": {"model": {"name": "generative.MaskedAutoregressiveFlow", "features": 30}},
    "typicality": {"task": {"name": "tasks.likelihood_detection", "density": DENSITY, "score": "typicality"}},
    "autoencoder": {"task": {"name": "tasks.anomaly_detection", "noise": 0.3}, "model": RECONSTRUCTION},
    "one_class": {
        "task": {"name": "tasks.anomaly_detection", "noise": 0.3, "error_weight": 0.0},
        "model": RECONSTRUCTION,
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.likelihood_detection", "density": DENSITY},
        "data": {"name": "data.table_anomalies"},
        "model": FLOW,
        "optimizer": {"learning_rate": 2e-3, "end_lr_factor": 0.05, "weight_decay": 0.01, "ema_decay": 0.99},
        "train": {"steps": 300, "evaluate_every": 25},
        **VARIANTS.get(variant, {}),
    }
