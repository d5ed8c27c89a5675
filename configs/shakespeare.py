"""A character-level language model of Shakespeare.

    python -m jaxnets.train --config=shakespeare --workdir=runs/shakespeare --config.data.path=tinyshakespeare.txt

The file is ``tinyshakespeare`` (Karpathy) with 1,115,394 characters, of which the last tenth is held out. Expected: at
most 1.47 nats per character, the published result of the transformer in nanoGPT, within 10 minutes on two CPU cores.
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
