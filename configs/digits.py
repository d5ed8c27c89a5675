"""Handwritten digits of 8 x 8 pixels, as series of rows.

    python -m jaxnets.train --config=digits

Expected: a test accuracy of about 97 %, in half a minute on two CPU cores. Then

    python -m jaxnets.evaluate --workdir=runs/digits --split=test
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.digits"},
        "model": {"name": "recurrent.SequenceModel", "hidden_size": 64},
        "optimizer": {
            "learning_rate": 0.005,
            "warmup_steps": 50,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
    }
