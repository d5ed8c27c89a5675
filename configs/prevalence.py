"""Which part of a bag of digits is of each class? By histograms of learned features (HistNetQ).

python -m jaxnets.train --config=prevalence

Expected: a mean absolute error of 0.010 on digits never seen, in two minutes on a CPU core.
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
                "name": "data.prevalence",
                "size": 100,
                "batch": 20,
            },
            "model": {
                "name": "sets.HistNetQ",
                "features": (128, 32),
                "head": (128,),
                "bins": 32,
                "kind": "linear",
                "learned": True,
                "cumulative": False,
                "prevalences": True,
                "dropout": 0.0,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 0.001,
                "warmup": 0,
                "final": 0.02,
                "b1": 0.9,
                "b2": 0.999,
                "weight_decay": 0.0,
                "clip": 1.0,
            },
            "train": {
                "steps": 4000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 500,
                "log_every": 100,
            },
        }
    )
