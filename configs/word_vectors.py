"""Word vectors of the documentation of Python's standard library: skip-gram with negative sampling.

    python -m jaxnets.train --config=word_vectors --workdir=runs/word_vectors
    python -m jaxnets.train --config=word_vectors:cbow          # also: hierarchical, subwords, glove

For your own text, a file with one sentence per line or a folder of files:

    python -m jaxnets.train --config=word_vectors --workdir=runs/mine --config.data.path=my/text.txt

The settings are those of word2vec: vectors of 100 numbers, 5 negatives, windows of up to 5 words, and a learning rate
that decreases from 0.025 to 0.0001. A step has 16,384 words.
"""

VARIANTS: dict[str, dict] = {
    "cbow": {"model": {"name": "text.WordVectorModel", "objective": "cbow"}, "learning_rate": 0.05},
    "hierarchical": {"model": {"name": "text.WordVectorModel", "hierarchical": True}, "steps": 120},
    "subwords": {"model": {"name": "text.WordVectorModel", "num_buckets": 20_000}, "steps": 120},
    "glove": {
        "model": {"name": "text.WordVectorModel", "objective": "glove"},
        "data": "data.cooccurrences",
        "learning_rate": 0.05,
        "end_lr_factor": 1.0,
        "steps": 200,
    },
}


def get_config(variant: str = "") -> dict:
    settings = VARIANTS.get(variant, {})
    steps = settings.get("steps", 400)
    return {
        "task": "tasks.word_vectors",
        "data": {"name": settings.get("data", "data.word_corpus"), "path": ""},
        "model": settings.get("model", {"name": "text.WordVectorModel"}),
        "optimizer": {
            "name": "optimizers.linear_sgd",
            "learning_rate": settings.get("learning_rate", 0.025),
            "end_lr_factor": settings.get("end_lr_factor", 0.004),
        },
        "train": {"steps": steps, "evaluate_every": steps // 5},
    }
