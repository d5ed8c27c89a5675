"""Regression of the mean, median, maximum or variance of 100 numbers, with a histogram of 64 bins.

    python -m jaxnets.train --config=set_statistics
    python -m jaxnets.train --config=set_statistics --workdir=runs/median --config.data.statistic=median

Expected: a mean absolute error of 0.001 (mean, variance), 0.008 (median) or 0.018 (maximum), in ten seconds.
"""


def get_config() -> dict:
    return {
        "task": {"name": "tasks.regression", "error": "absolute"},
        "data": {"name": "data.set_statistics"},
        "model": {"name": "sets.HistNetQ", "features": (), "head": (32, 16), "num_bins": 64, "softmax": False},
        "optimizer": {"learning_rate": 0.002},
        "reports": {"histograms": "reports.histograms"},
        "train": {"evaluate_every": 250},
    }
