"""The copy problem: ten symbols to be repeated after 20 steps.

    python -m jaxnets.train --config=copying

Expected: a test accuracy of about 99 % (chance: 12.5 %) in four to eight minutes of CPU time.

    python -m jaxnets.evaluate --workdir=runs/copying --split=test

A delay of 100 is far harder: 3000 updates of an LSTM with 128 units, at a learning rate of 0.002, reach 33 %.
"""


def get_config() -> dict:
    return {
        "task": "tasks.classification",
        "data": {"name": "data.copying", "delay": 20},
        "model": {
            "name": "recurrent.SequenceModel",
            "cell": {"factory": "recurrent.gru", "chrono_init": 40},
            "pooling": "none",
        },
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 100, "end_lr_factor": 0.01, "b2": 0.99},
        "train": {"steps": 6000, "evaluate_every": 250},
    }
