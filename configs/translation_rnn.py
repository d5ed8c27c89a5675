"""Translation, by a recurrent encoder and decoder, with attention or without.

    python -m jaxnets.train --config=translation_rnn --config.data.path=pairs.tsv
    python -m jaxnets.train --config=translation_rnn --workdir=runs/plain --config.data.path=pairs.tsv \\
        --config.model.attention=none

Expected of 26,000 verses from English to Spanish: BLEU 26 after --config.train.steps=3340, in ten minutes on two CPU
cores; 3 without attention. The data is that of the config ``translation``. --config.task.sampling=0.2 lets the decoder
read its own words in a fifth of the steps (scheduled sampling).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "tasks.translation", "sampling": 0.0, "smoothing": 0.1, "beams": 4},
            "data": {
                "name": "data.pairs",
                "path": "pairs.tsv",
                "columns": (0, 1),
                "pieces": 4000,
                "length": 64,
                "batch": 32,
                "validation": 0.02,
                "test": 0.1,
            },
            "model": {
                "name": "recurrent.EncoderDecoder",
                "cell": "recurrent.gru",
                "hidden": 192,
                "layers": 1,
                "embedding": 128,
                "attention": "multiplicative",
                "dropout": 0.1,
                "dtype": "float32",
            },
            "optimizer": {
                "learning_rate": 3e-3,
                "warmup": 200,
                "final": 0.02,
                "b1": 0.9,
                "b2": 0.98,
                "weight_decay": 0.01,
                "clip": 1.0,
            },
            "train": {"steps": 3000, "minutes": 0.0, "accumulate": 1, "evaluate_every": 500, "log_every": 25},
        }
    )
