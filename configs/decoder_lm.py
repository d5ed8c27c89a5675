"""A small decoder-only transformer in the style of GPT-2, on the same text as char_lm.

    python -m jaxnets.train --config=decoder_lm

trains on the bytes of the Python standard library. For the characters of your own text:

    python -m jaxnets.train --config=decoder_lm --workdir=runs/mine --config.data.path=my/text \\
        --config.data.unit=character

Expected on ``tinyshakespeare`` (Karpathy): 1.78 nats per character, in three minutes on two CPU cores.
"""


def get_config() -> dict:
    return {
        "task": "tasks.language_model",
        "data": {"name": "data.text", "read_as": "windows", "batch_size": 12},
        "model": {"name": "attention.DecoderLM", "embed_dim": 128, "max_seq_len": 64},
        "optimizer": {"warmup_steps": 100, "end_lr_factor": 0.1, "b2": 0.99, "weight_decay": 0.1},
        "train": {"steps": 2000, "evaluate_every": 500},
    }
