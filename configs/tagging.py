"""Tagging of words by a BiLSTM-CRF with characters (Lample et al. 2016, arXiv:1603.01360).

    python -m jaxnets.train --config=tagging
    python -m jaxnets.evaluate --workdir=runs/tagging --split=test
    python -m jaxnets.predict --workdir=runs/tagging --input=module.py --output=tags.conll

The default data are the tokens of Python's standard library with their classes, such as the name of a function, an
attribute or a parameter. Entities and parts of speech of your own files, CoNLL or CoNLL-U:

    python -m jaxnets.train --config=tagging:ner --config.data.path=train.conll --config.data.scheme=iob1
    python -m jaxnets.train --config=tagging:pos --config.data.path=train.conllu

The variants softmax and words are the default without the conditional random field, and without characters. They
combine with your own files: --config.data=data.tagged_sentences --config.data.path=train.conll
"""

_SENTENCES = {"name": "data.tagged_sentences", "path": "", "batch_size": 16}

VARIANTS: dict[str, dict] = {
    "ner": {
        "data": {**_SENTENCES, "scheme": "iob2", "target_scheme": "iobes"},
        "train": {"steps": 2500, "evaluate_every": 250},
    },
    "pos": {"data": _SENTENCES, "train": {"steps": 2500, "evaluate_every": 250}},
    "softmax": {"model": {"name": "text.Tagger", "crf": False}},
    "words": {"model": {"name": "text.Tagger", "character_encoder": "none"}},
}


def get_config(variant: str = "") -> dict:
    return {
        "task": "tasks.tagging",
        "data": {"name": "data.python_tokens"},
        "model": {"name": "text.Tagger"},
        "optimizer": {"learning_rate": 4e-3, "warmup_steps": 50, "end_lr_factor": 0.05, "weight_decay": 0.01},
        "train": {"steps": 600},
        **VARIANTS.get(variant, {}),
    }
