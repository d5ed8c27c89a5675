"""A byte-level language model of Python source code; this is the default config.

    python -m jaxnets.train

trains on the sources of the Python standard library on this machine. Expected: at most 1.5 nats per byte on the
held-out tenth, within 4 minutes on two CPU cores. For your own text:

    python -m jaxnets.train --workdir=runs/mine --config.data.path=my/text/or/folder
"""


def get_config() -> dict:
    return {
        "task": "tasks.language_model",
        "data": {"name": "data.text"},
        "model": {"name": "recurrent.CharRNN"},
        "optimizer": {
            "learning_rate": 0.004,
            "warmup_steps": 100,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
        "train": {"steps": 1200, "evaluate_every": 300},
    }
