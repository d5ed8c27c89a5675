"""Baselines of text classification on the data of a config: accuracy and macro F1 of each held-out split.

    python -m benchmarks.models.text_baselines --config=text_classification
    python -m benchmarks.models.text_baselines --config=text_classification:sentiment --config.data.path=reviews.csv

The baselines read the token ids that models read, with the same splits. "majority" is the most frequent class.
"unigrams" and "bigrams" are logistic regressions of tf-idf features of words and subword units; for characters and
bytes, "4-grams" has the features of 1 to 4 tokens. The strength of the regularization is chosen on the validation
split. Each result is printed as one line of JSON.
"""

import json
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import program
from jaxnets.data import TextClasses
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "text_classification", "Config file or name of a shipped config.")
flags.DEFINE_integer("max_features", 500_000, "Most frequent n-grams to keep.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")

GENERATED_BATCHES = 100  # training batches of generated texts
INVERSE_STRENGTHS = (1.0, 10.0, 100.0)  # of the regularization


class Texts(NamedTuple):
    """Token ids of texts, separated by spaces, and their classes ``[N]``."""

    texts: list[str]
    targets: np.ndarray


def texts_of(batches: Any) -> Texts:
    """Returns the texts of all batches, without padded rows."""
    texts, targets = [], []
    for batch in batches:
        for row, length, target, used in zip(
            *(batch[k] for k in ("inputs", "lengths", "targets", "mask")), strict=True
        ):
            if used:
                texts.append(" ".join(map(str, row[:length].tolist())))
                targets.append(int(target))
    return Texts(texts, np.array(targets))


def scores(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Returns the accuracy and macro F1, as in ``learning.classification``."""
    from sklearn.metrics import f1_score

    accuracy = float(np.mean(predicted == targets))
    return {"accuracy": accuracy, "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0.0))}


def logistic_regression(splits: dict[str, Texts], ngrams: int) -> dict[str, Any]:
    """Returns the scores of each held-out split, and the number of features, for n-grams of 1 to ``ngrams`` tokens."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    begin, train = time.perf_counter(), splits["train"]
    vectorizer = TfidfVectorizer(
        token_pattern=r"\S+", ngram_range=(1, ngrams), sublinear_tf=True, max_features=FLAGS.max_features
    )
    features = {"train": vectorizer.fit_transform(train.texts)}
    features |= {name: vectorizer.transform(split.texts) for name, split in splits.items() if name != "train"}
    found: dict[str, Any] = {}
    for strength in INVERSE_STRENGTHS if "validation" in splits else INVERSE_STRENGTHS[1:2]:
        classifier = LogisticRegression(C=strength, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features["train"], train.targets)
        this = {n: scores(classifier.predict(features[n]), splits[n].targets) for n in splits if n != "train"}
        accuracy = lambda result: result.get("validation", {"accuracy": 0.0})["accuracy"]
        if not found or accuracy(this) > accuracy(found["splits"]):
            found = {"splits": this, "C": strength}
    seconds = time.perf_counter() - begin
    return {**found, "features": len(vectorizer.vocabulary_), "seconds": round(seconds, 1)}


def main(overrides: program.Overrides) -> None:
    settings = config.load(FLAGS.config)
    config.override(settings, overrides)
    dataset = build.dataset(settings, trusted=None)
    if dataset.train_rows is not None:  # one batch of all training texts, of one length
        config.override(settings, [("data.batch_size", "0"), ("data.buckets", "1")])
        dataset = build.dataset(settings, trusted=None)
    if not isinstance(dataset.spec, TextClasses):
        raise UsageError(f"--config must be of text classification, got data of {settings.data.name}")
    batches = 1 if dataset.train_rows is not None else GENERATED_BATCHES
    splits = {"train": texts_of([dataset.train[i] for i in range(batches)])}
    splits |= {name: texts_of(batches) for name, batches in dataset.held_out.items()}
    unit = dataset.spec.tokenizer.unit
    majority = np.bincount(splits["train"].targets).argmax()
    constant = {n: scores(np.full_like(s.targets, majority), s.targets) for n, s in splits.items() if n != "train"}
    rows: dict[str, dict[str, Any]] = {"majority": {"splits": constant}}
    named = {"4-grams": 4} if unit in ("character", "byte") else {"bigrams": 2}
    rows |= {name: logistic_regression(splits, n) for name, n in {"unigrams": 1, **named}.items()}
    for name, row in rows.items():
        print(json.dumps({"baseline": name, "unit": unit, **row}))
    if FLAGS.json:
        data = {"description": dataset.description, "fingerprint": dataset.fingerprint, "baselines": rows}
        harness.write(FLAGS.json, {"command": harness.command(), **harness.machine(), **data})


if __name__ == "__main__":
    program.run(main)
