"""A character model of Shakespeare, against the published figure of nanoGPT's transformer (1.47 nats per character).

    python -m jaxnets.train --config=shakespeare --workdir=runs/shakespeare --config.data.path=tinyshakespeare.txt

The file is Karpathy's ``tinyshakespeare`` of 1,115,394 characters; the first nine tenths are learned, the last is held
out. Expected: at most 1.47 nats per character within 10 minutes on two CPU cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": "tasks.language_model",
            "data": {
                "name": "data.text",
                "path": "tinyshakespeare.txt",
                "unit": "character",
                "read_as": "streams",
                "batch": 64,
                "length": 64,
                "validation": 0.1,
                "pieces": 4096,
            },
            "model": {
                "name": "recurrent.CharRNN",
                "cell": "recurrent.lstm",
                "hidden": 256,
                "layers": 2,
                "embedding": 64,
                "dropout": 0.2,
                "tie": False,
                "dtype": "bfloat16",
            },
            "optimizer": {
                "learning_rate": 4e-3,
                "warmup": 100,
                "final": 0.01,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 3000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 250, "log_every": 25},
        }
    )
