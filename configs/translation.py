"""Translation, by a small Transformer, or by a recurrent encoder and decoder, with attention or without.

    python -m jaxnets.train --config=translation --config.data.path=pairs.tsv
    python -m jaxnets.evaluate --workdir=runs/translation --split=test
    python -m jaxnets.generate --workdir=runs/translation --prompt="In the beginning"
    python -m jaxnets.train --config=translation:rnn --config.data.path=pairs.tsv
    python -m jaxnets.train --config=translation:rnn --workdir=runs/plain --config.data.path=pairs.tsv \\
        --config.model.attention=none

The file has a pair a line, source and target with a tab between (other columns: --config.data.columns="(1, 2)"), plain
or gzipped. Expected of 26,000 verses from English to Spanish: BLEU 15 after --config.train.steps=2010, in ten minutes
on two CPU cores; ``rnn``: 26 after --config.train.steps=3340, in ten minutes, and 3 without attention.
--config.task.sampling=0.2 lets the decoder read its own words in a fifth of the steps (scheduled sampling).
"""

VARIANTS: dict[str, dict] = {
    "rnn": {
        "model": {"name": "recurrent.EncoderDecoder", "hidden": 192, "embedding": 128},
        "optimizer": {"learning_rate": 0.003, "warmup": 200, "b2": 0.98, "weight_decay": 0.01},
    }
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.translation", "smoothing": 0.1},
        "data": {"name": "data.pairs", "path": "pairs.tsv", "pieces": 4000, "batch": 32},
        "model": {
            "name": "attention.Transformer",
            "width": 128,
            "layers": 2,
            "heads": 4,
            "hidden": 512,
            "context": 64,
            "norm_first": True,
        },
        "optimizer": {"learning_rate": 0.002, "warmup": 200, "b2": 0.98, "weight_decay": 0.01},
        "train": {"steps": 3000, "evaluate_every": 500},
        **VARIANTS.get(variant, {}),
    }
