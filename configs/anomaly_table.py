"""Detection of anomalous rows of a table, by models of its normal rows.

    python -m jaxnets.train --config=anomaly_table
    python -m jaxnets.evaluate --workdir=runs/anomaly_table --split=test

The default is an ensemble of eight denoising autoencoders, trained on half of the benign tumors in scikit-learn. The
score is the error of the reconstruction, plus the distance of the code from those of normal rows; in the variant
``one_class``, the distance alone. The variants ``likelihood``, a neural spline flow, and ``maf``, a masked
autoregressive flow, score by the negative log-likelihood; ``typicality`` scores by its distance from the mean in
training. For a table of your own:

    python -m jaxnets.train --config=anomaly_table --config.data.path=payments.csv --config.data.target=kind
        --config.data.normal=legitimate --config.model.features=12

``jaxnets.evaluate`` also fits an isolation forest, principal components and nearest neighbors to the training rows.
"""

AUTOENCODER = {"name": "generative.Autoencoder", "features": 30, "latent": 8, "hidden_sizes": (64, 32)}
SPLINES = {"name": "generative.SplineFlow", "features": 30, "num_layers": 4, "hidden_sizes": (64,)}
RECONSTRUCTION = {"name": "tasks.anomaly_detection", "noise": 0.3, "ensemble_size": 8}
LIKELIHOOD = {"name": "tasks.likelihood_detection", "density": {"factory": "tasks.flow", "noise": 0.3}}

VARIANTS: dict[str, dict] = {
    "one_class": {"task": {**RECONSTRUCTION, "error_weight": 0.0}},
    "likelihood": {"task": LIKELIHOOD, "model": SPLINES},
    "maf": {"task": LIKELIHOOD, "model": {"name": "generative.MaskedAutoregressiveFlow", "features": 30}},
    "typicality": {"task": {**LIKELIHOOD, "score": "typicality"}, "model": SPLINES},
}


def get_config(variant: str = "") -> dict:
    return {
        "task": RECONSTRUCTION,
        "data": {"name": "data.table_anomalies"},
        "model": AUTOENCODER,
        "optimizer": {"learning_rate": 2e-3, "end_lr_factor": 0.05, "weight_decay": 0.01},
        "train": {"steps": 300, "evaluate_every": 50},
        **VARIANTS.get(variant, {}),
    }
