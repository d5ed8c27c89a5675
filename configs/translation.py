"""Translation with a small Transformer, or with a recurrent encoder-decoder.

    python -m jaxnets.train --config=translation --config.data.path=pairs.tsv
    python -m jaxnets.evaluate --workdir=runs/translation --split=test
    python -m jaxnets.generate --workdir=runs/translation --prompt="In the beginning"
    python -m jaxnets.train --config=translation:rnn --config.data.path=pairs.tsv
    python -m jaxnets.train --config=translation:rnn --workdir=runs/plain --config.data.path=pairs.tsv \\
        --config.model.attention=none

The file, plain or gzipped, has one pair per line, with a tab between source and target. Other columns are selected by
--config.data.columns="(1, 2)". Expected on 26,000 verses from English to Spanish: BLEU 15 after
--config.train.steps=2010, in ten minutes on two CPU cores. ``rnn``: BLEU 26 after --config.train.steps=3340, in ten
minutes, and 3 without attention. With --config.task.scheduled_sampling=0.2, a fifth of the inputs of the decoder are
its own predictions.
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
