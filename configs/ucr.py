"""Classification of the series of a data set of the UCR archive.

    python -m jaxnets.train --config=ucr --config.data.path=ECG5000_TRAIN.tsv
    python -m jaxnets.train --config=ucr:rocket --config.data.path=ECG5000_TRAIN.tsv
    python -m jaxnets.train --config=ucr:gru --config.data.path=ECG5000_TRAIN.tsv

The default is InceptionTime (Ismail Fawaz et al. 2020). The published protocol trains it for 1500 epochs, and averages
the probabilities of five networks. ROCKET (Dempster et al. 2020) is fitted in closed form to all training series.
"""

VARIANTS: dict[str, dict] = {
    "rocket": {
        "data": {"name": "data.series", "path": "", "batch_size": 0},
        "model": {"name": "series.Rocket"},
        "train": {"steps": 1},
    },
    "gru": {
        "model": {"name": "recurrent.SequenceModel", "bidirectional": True, "pooling": "mean", "hidden_size": 64},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 100},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.series", "path": "", "batch_size": 64},
        "model": {"name": "series.InceptionTime"},
        "optimizer": {"end_lr_factor": 0.05},
        "train": {"steps": 1600},
        **VARIANTS.get(variant, {}),
    }
