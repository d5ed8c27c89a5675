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
--config.task.scheduled_sampling=0.2 lets the decoder read its own words in a fifth of the steps (scheduled sampling).
"""

VARIANTS: dict[str, dict] = {
    "rnn": {
        "model": {"name": "recurrent.EncoderDecoder", "hidden_size": 192, "embed_dim": 128},
        "optimizer": {"learning_rate": 0.003, "warmup_steps": 200, "b2": 0.98, "weight_decay": 0.01},
    }
}


def get_config(variant: str = "") -> dict:
    return {
        "task": {"name": "tasks.translation", "label_smoothing": 0.1},
        "data": {"name": "data.pairs", "path": "pairs.tsv", "vocab_size": 4000, "batch_size": 32},
        "model": {
            "name": "attention.Transformer",
            "embed_dim": 128,
            "num_layers": 2,
            "num_heads": 4,
            "mlp_dim": 512,
            "max_seq_len": 64,
            "norm_first": True,
        },
        "optimizer": {"learning_rate": 0.002, "warmup_steps": 200, "b2": 0.98, "weight_decay": 0.01},
        "train": {"steps": 3000, "evaluate_every": 500},
        **VARIANTS.get(variant, {}),
    }
