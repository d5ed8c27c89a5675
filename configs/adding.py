"""The adding problem: regression of the sum of two marked numbers among 400.

    python -m jaxnets.train --config=adding
    python -m jaxnets.train --config=adding --workdir=runs/adding_elman --config.model.cell=recurrent.elman

Expected: a mean squared error below 0.001 (chance: 0.167) in five minutes on two CPU cores. The second command stays
at 0.17.
"""


def get_config() -> dict:
    return {
        "task": "tasks.regression",
        "data": {"name": "data.adding", "length": 400},
        "model": {
            "name": "recurrent.SequenceModel",
            "cell": {"factory": "recurrent.gru", "chrono_init": 400},
            "hidden_size": 64,
        },
        "optimizer": {"learning_rate": 0.005, "warmup_steps": 100, "end_lr_factor": 0.01, "b2": 0.99},
        "train": {"steps": 4000, "evaluate_every": 250},
    }
