"""Forecasting of transformer temperatures, hourly: the data set ETTh1 with the published splits.

    python -m jaxnets.train --config=etth1:ridge --config.data.path=ETTh1.csv
    python -m jaxnets.train --config=etth1 --config.data.path=ETTh1.csv --config.data.horizon=192
    python -m jaxnets.evaluate --workdir=runs/etth1 --split=test

12 months of 30 days are for training, 4 for validation and 4 for testing; the rest of the file is not used. The default
is NLinear with a look-back of 336 hours; the variants are ``ridge``, ``dlinear``, ``segrnn``, ``patchtst``, ``deepar``,
and ``quantiles``, NLinear with quantiles instead of points. All windows count: 2785, 2689, 2545 and 2161 of the test
split for horizons of 96, 192, 336 and 720. The strengths of ``ridge`` with the smallest error of the validation split
are 0.0174, 0.03, 0.2 and 0.2 for these horizons (``--config.task.strength``).
"""

VARIANTS: dict[str, dict] = {
    "ridge": {
        "task": {"name": "tasks.ridge_forecasting", "strength": 0.0174},
        "train": {"steps": 1},
    },
    "quantiles": {"task": {"name": "tasks.forecasting", "likelihood": {"name": "series.quantiles"}}},
    "dlinear": {"model": {"name": "series.DLinear"}},
    "segrnn": {"model": {"name": "series.SegRNN"}},
    "patchtst": {"model": {"name": "series.PatchTST"}, "optimizer": {"learning_rate": 1e-4}},
    "deepar": {
        "task": "tasks.autoregressive_forecasting",
        "model": {"name": "series.DeepAR"},
        "optimizer": {},  # the default learning rate
        "train": {"steps": 2570, "evaluate_every": 1285},  # 100 sample paths of each window take time
    },
}


def get_config(variant: str = "") -> dict:
    settings = {
        "task": "tasks.forecasting",
        "data": {
            "name": "data.forecasting",
            "path": "ETTh1.csv",
            "horizon": 96,
            "context": 336,
            "time": "date",
            "season": 24,
            "splits": (8640, 2880, 2880),
            "batch_size": 0 if variant == "ridge" else 32,
        },
        "model": {"name": "series.NLinear"},
        "optimizer": {"learning_rate": 0.005},
        "train": {"steps": 2570, "evaluate_every": 257},  # ten epochs at a horizon of 96
    }
    return {**settings, **VARIANTS.get(variant, {})}
