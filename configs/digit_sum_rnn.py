"""The sum of 1 to 9 digits, by a recurrent network that reads them one by one; as a set: the config ``digit_sum``.

python -m jaxnets.train --config=digit_sum_rnn
python -m jaxnets.train --config=digit_sum_rnn --workdir=runs/digit_sum_gru --config.model.cell=recurrent.gru

Expected: a mean absolute error of 0.07 in half a minute; of 20 digits or more no sum is right, or hardly one.
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
                "name": "data.digit_sum",
                "shortest": 1,
                "longest": 9,
                "read_as": "sequence",
                "batch": 128,
            },
            "model": {
                "name": "recurrent.SequenceModel",
                "cell": "recurrent.lstm",
                "hidden": 50,
                "layers": 1,
                "bidirectional": False,
                "pooling": "last",
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
                "steps": 7800,
                "minutes": 0.0,
                "accumulate": 1,
                "evaluate_every": 780,
                "log_every": 100,
            },
        }
    )
