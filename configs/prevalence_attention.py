"""Which part of a bag of digits is of each class? By set attention; by histograms: the config ``prevalence``.

python -m jaxnets.train --config=prevalence_attention

Expected: a mean absolute error of 0.011 on digits never seen, in two minutes on a CPU core.
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
                "name": "sets.SetTransformer",
                "seeds": 1,
                "width": 128,
                "heads": 4,
                "points": 16,
                "encoder": 2,
                "decoder": 1,
                "norm": "none",
                "clean": False,
                "prevalences": True,
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
                "steps": 2000,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 250,
                "log_every": 100,
            },
        }
    )
