"""Detection of anomalous series: an LSTM autoencoder that is trained on the normal class of a UCR data set.

    python -m jaxnets.train --config=series_anomaly --config.data.path=ECG5000_TRAIN.tsv --config.data.normal=1
    python -m jaxnets.evaluate --workdir=runs/series_anomaly --split=validation,test

The anomaly score is the mean squared error of the reconstruction. The threshold of ``f1`` and ``accuracy`` comes from
the validation split, which has no anomalies.
"""


def get_config() -> dict:
    return {
        "task": "tasks.anomaly_detection",
        "data": {"name": "data.series_anomalies", "path": "series.npz", "normal": "1"},
        "model": {"name": "series.RecurrentAutoencoder"},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 50},
        "train": {"steps": 1500},
    }
