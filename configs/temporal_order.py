"""The temporal order problem: in which order did an X or a Y appear, twice, in 100 steps of other symbols?

python -m jaxnets.train --config=temporal_order

Expected: all right (guessing: a quarter), within a minute on two CPU cores.
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.temporal_order"},
        "model": {
            "name": "recurrent.SequenceModel",
            "cell": {"factory": "recurrent.gru", "chrono_init": 100},
            "hidden_size": 64,
        },
        "optimizer": {"learning_rate": 0.002, "warmup_steps": 100, "end_lr_factor": 0.01, "b2": 0.99},
        "train": {"steps": 2000, "evaluate_every": 200},
    }
