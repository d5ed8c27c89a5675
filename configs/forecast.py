"""Forecasting of a chaotic series: Mackey-Glass with 5 % noise, 24 steps ahead, with quantiles.

    python -m jaxnets.train --config=forecast
    python -m jaxnets.train --config=forecast:ridge
    python -m jaxnets.train --config=forecast --config.data.name=data.forecasting --config.data.path=my_series.csv

The default is a GRU. The variant ``ridge`` is a point forecast in closed form, and ``deepar`` samples paths from an
autoregressive network; the others are named after the model.
"""

LINEAR = {"name": "series.NLinear"}

VARIANTS: dict[str, dict] = {
    "ridge": {
        "task": {"name": "tasks.ridge_forecasting", "strength": 1e-3},
        "data": {"name": "data.mackey_glass", "batch_size": 0},
        "model": LINEAR,
        "train": {"steps": 1},
    },
    "lstm": {"model": {"name": "series.RecurrentForecaster", "cell": "recurrent.lstm", "hidden_size": 64}},
    "linear": {"model": LINEAR},
    "dlinear": {"model": {"name": "series.DLinear"}},
    "segrnn": {"model": {"name": "series.SegRNN", "segment": 8, "hidden_size": 64, "dropout": 0.1}},
    "patchtst": {"model": {"name": "series.PatchTST", "dropout": 0.1}},
    "nbeats": {"model": {"name": "series.NBEATS", "stacks": ("generic", "generic"), "hidden_size": 128}},
    "deepar": {
        "task": {"name": "tasks.autoregressive_forecasting", "likelihood": {"name": "series.student_t"}},
        "model": {"name": "series.DeepAR"},
    },
    "mlp": {"model": {"name": "series.WindowMLP"}},
    "memoryless": {"model": {"name": "series.Memoryless"}},
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.forecasting", "likelihood": {"name": "series.quantiles"}},
        "data": {"name": "data.mackey_glass"},
        "model": {"name": "series.RecurrentForecaster", "hidden_size": 64},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 50},
        "train": {"evaluate_every": 200},
        **VARIANTS.get(variant, {}),
    }
