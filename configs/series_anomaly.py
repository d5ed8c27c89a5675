"""Detection of anomalies: whole series by an LSTM autoencoder, or steps of long series by an LSTM predictor.

    python -m jaxnets.train --config=series_anomaly --config.data.path=ECG5000_TRAIN.tsv --config.data.normal=1
    python -m jaxnets.train --config=series_anomaly:pca --config.data.path=ECG5000_TRAIN.tsv --config.data.normal=1
    python -m jaxnets.evaluate --workdir=runs/series_anomaly --split=test

The default is trained on the normal class of a UCR data set. The variants ``pca``, the projection onto principal
components, and ``neighbor``, the nearest training series, are baselines in closed form. The threshold of ``f1`` and
``accuracy`` comes from the validation split, which has no anomalies.

    python -m jaxnets.train --config=series_anomaly:predictor
    python -m jaxnets.train --config=series_anomaly:predictor --config.data.name=data.labeled_steps
        --config.data.path=my_series.csv --config.data.time=date --config.data.labels=anomaly

The variant ``predictor`` predicts the next three steps at every step. The score of a step is the Mahalanobis distance
of the errors of its predictions. The default series is generated, with 20 nearly invisible anomalies in the test part.
"""

# Normal series are few: nearly all are used for training, and a few determine the threshold.
SERIES = {"name": "data.series_anomalies", "path": "series.npz", "normal": "1", "validation_fraction": 0.05}
CLOSED_FORM = {"data": {**SERIES, "batch_size": 0}, "train": {"steps": 1}}

VARIANTS: dict[str, dict] = {
    "pca": {**CLOSED_FORM, "model": {"name": "series.PrincipalComponents", "num_components": 2}},
    "neighbor": {**CLOSED_FORM, "model": {"name": "series.NearestSeries"}},
    "predictor": {
        "task": "tasks.step_anomaly_detection",
        "data": {"name": "data.spliced_mackey_glass"},
        "model": {"name": "series.StepPredictor"},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.anomaly_detection", "noise": 0.2},
        "data": SERIES,
        "model": {"name": "series.RecurrentAutoencoder"},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 50},
        "train": {"steps": 1500},
        **VARIANTS.get(variant, {}),
    }
