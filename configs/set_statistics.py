"""The mean of 100 numbers, by a histogram of 64 bins; or their median, maximum or variance.

python -m jaxnets.train --config=set_statistics
python -m jaxnets.train --config=set_statistics --workdir=runs/median --config.data.statistic=median

Expected: a mean absolute error of 0.001 (mean, variance), 0.008 (median) or 0.018 (maximum) in ten seconds.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "tasks.regression",
                "error": "absolute",
            },
            "data": {
                "name": "data.set_statistics",
                "statistic": "mean",
                "size": 100,
                "batch": 20,
            },
            "model": {
                "name": "sets.HistNetQ",
                "features": (),
                "head": (32, 16),
                "bins": 64,
                "kind": "linear",
                "learned": True,
                "cumulative": False,
                "prevalences": False,
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 0.002,
                "warmup": 0,
                "final": 0.02,
                "b1": 0.9,
                "b2": 0.999,
                "weight_decay": 0.0,
                "clip": 1.0,
            },
            "train": {
                "steps": 1000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 250,
                "log_every": 25,
            },
        }
    )
