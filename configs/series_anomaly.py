"""Detection of anomalous series: an LSTM autoencoder that is trained on the normal class of a UCR data set.

    python -m jaxnets.train --config=series_anomaly --config.data.path=ECG5000_TRAIN.tsv --config.data.normal=1
    python -m jaxnets.train --config=series_anomaly:pca --config.data.path=ECG5000_TRAIN.tsv --config.data.normal=1
    python -m jaxnets.evaluate --workdir=runs/series_anomaly --split=validation,test

The anomaly score is the mean squared error of the reconstruction. The variants ``pca``, the projection onto principal
components, and ``neighbor``, the nearest training series, are baselines in closed form. The threshold of ``f1`` and
``accuracy`` comes from the validation split, which has no anomalies.
"""

VARIANTS: dict[str, dict] = {
    "pca": {"model": {"name": "series.PrincipalComponents", "num_components": 2}},
    "neighbor": {"model": {"name": "series.NearestSeries"}},
}


def get_config(variant: str = "") -> dict:
    closed_form = {"batch_size": 0} if variant else {}
    settings = {
        "task": "tasks.anomaly_detection",
        "data": {"name": "data.series_anomalies", "path": "series.npz", "normal": "1", **closed_form},
        "model": {"name": "series.RecurrentAutoencoder"},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 50},
        "train": {"steps": 1 if variant else 1500},
    }
    return {**settings, **VARIANTS.get(variant, {})}
