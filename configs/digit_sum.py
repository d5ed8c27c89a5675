"""Regression of the sum of 1 to 9 digits, which are given as symbols (Zaheer et al. 2017, section 4.1.2).

    python -m jaxnets.train --config=digit_sum
    python -m jaxnets.train --config=digit_sum:rnn
    python -m jaxnets.train --config=digit_sum:rnn --workdir=runs/digit_sum_gru --config.model.cell=recurrent.gru

Expected: a mean absolute error of 0.001 in 15 seconds (published: 0.018); rounded sums of 95 digits are all correct.
The variant ``rnn`` processes the digits in sequence: 0.07 in half a minute; hardly any sum of 20 or more digits is
correct.
"""

VARIANTS: dict[str, dict] = {
    "rnn": {
        "data": {"name": "data.digit_sum", "read_as": "sequence"},
        "model": {"name": "recurrent.SequenceModel", "cell": "recurrent.lstm", "hidden_size": 50},
    }
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.regression", "error": "absolute"},
        "data": {"name": "data.digit_sum"},
        "model": {"name": "sets.DeepSets", "phi": (100, 30), "rho": (), "activation": "tanh", "vocab_size": 10},
        "train": {"steps": 7800, "evaluate_every": 780, "log_every": 100},
        **VARIANTS.get(variant, {}),
    }
