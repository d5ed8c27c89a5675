"""A character model of Shakespeare, against the published figure of nanoGPT's transformer (1.47 nats per character).

    python -m jaxnets.train --config=shakespeare --workdir=runs/shakespeare --config.data.path=tinyshakespeare.txt

The file is Karpathy's ``tinyshakespeare`` of 1,115,394 characters; the first nine tenths are learned, the last is held
out. Expected: at most 1.47 nats per character within 10 minutes on two CPU cores.
"""


def get_config() -> dict:
    return {
        "task": "tasks.language_model",
        "data": {"name": "data.text", "path": "tinyshakespeare.txt", "unit": "character"},
        "model": {"name": "recurrent.CharRNN", "num_layers": 2, "dropout": 0.2, "dtype": "bfloat16"},
        "optimizer": {
            "learning_rate": 0.004,
            "warmup_steps": 100,
            "end_lr_factor": 0.01,
            "b2": 0.99,
            "weight_decay": 0.01,
        },
        "train": {"steps": 3000, "evaluate_every": 250},
    }
