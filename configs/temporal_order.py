"""The temporal order problem: the order of two symbols X or Y among 100 steps of distractors.

    python -m jaxnets.train --config=temporal_order

Expected: an accuracy of 100 % (chance: 25 %), within a minute on two CPU cores.
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
