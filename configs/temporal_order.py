"""The temporal order problem: in which order did an X or a Y appear, twice, in 100 steps of other symbols?

python -m jaxnets.train --config=temporal_order

Expected: all right (guessing: a quarter), within a minute on two CPU cores.
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.temporal_order"},
        "model": {"name": "recurrent.SequenceModel", "cell": {"factory": "recurrent.gru", "memory": 100}, "hidden": 64},
        "optimizer": {"learning_rate": 0.002, "warmup": 100, "final": 0.01, "b2": 0.99},
        "train": {"steps": 2000, "evaluate_every": 200},
    }
