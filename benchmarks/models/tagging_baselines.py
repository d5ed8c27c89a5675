"""The most frequent tag of each word, with the data, the splits and the metrics of a tagging run.

    python -m benchmarks.models.tagging_baselines --config=tagging
    python -m benchmarks.models.tagging_baselines --config=tagging:ner --config.data.path=train.conll --split=test

The tags are counted on the training split. A word that does not occur there has the most frequent tag of the words that
occur once, as unknown words are more like rare words than like frequent ones. Words are compared as text where the
data have characters, which tell words apart that share the id of unknown words.
"""

import sys
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from jaxnets.data import Dataset
from jaxnets.learning.entities import entity_f1
from jaxnets.learning.evaluators import Evaluator
from jaxnets.program import take_overrides
from jaxnets.tasks.text.tagging import macro_f1
from jaxnets.training import build, config


def counted(dataset: Dataset) -> tuple[dict[bytes, int], int]:
    """Returns the most frequent tag of each word of the training split, and that of the words that occur once."""
    counts: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
    rows = dataset.train_rows or 0
    size = len(dataset.train[0]["inputs"])
    for step in range(-(-rows // size)):
        batch = dataset.train[step]
        last = min(size, rows - step * size)  # the rest of the batch is of the next epoch
        for i, step_of_word in np.argwhere(batch["mask"][:last]):
            counts[_key(batch, i, step_of_word)][int(batch["targets"][i, step_of_word])] += 1
    rare: Counter[int] = Counter()
    for tags in counts.values():
        if sum(tags.values()) == 1:
            rare.update(tags)
    fallback = (rare or sum(counts.values(), Counter())).most_common(1)[0][0]
    return {word: tags.most_common(1)[0][0] for word, tags in counts.items()}, fallback


def _key(batch: dict[str, Any], row: int, step: int) -> bytes:
    word = batch["inputs"][row, step].tobytes()
    return word + batch["characters"][row, step].tobytes() if "characters" in batch else word


def baseline(dataset: Dataset, split: str) -> dict[str, float]:
    """Returns the metrics of the most frequent tags on a split."""
    best, fallback = counted(dataset)
    spec: Any = dataset.spec

    def predicted(batch):
        tags = np.zeros(batch["targets"].shape, np.int32)
        for i, step in np.argwhere(batch["mask"]):
            tags[i, step] = best.get(_key(batch, i, step), fallback)
        return tags

    evaluator: Evaluator = (
        macro_f1(lambda variables, batch: batch)
        if spec.scheme == "none"
        else entity_f1(lambda variables, batch: batch, spec.names, spec.scheme)
    )
    found, correct, count, unseen = None, 0, 0, 0
    batches = dataset.splits[split]
    for i in range(len(batches)):
        batch = batches[i]
        tags, mask = predicted(batch), batch["mask"]
        found = evaluator.add(found, (tags, batch["targets"], mask))
        correct += int(np.count_nonzero((tags == batch["targets"]) & mask))
        count += int(np.count_nonzero(mask))
        unseen += sum(_key(batch, *position) not in best for position in np.argwhere(mask))
    metrics = {name.removeprefix(f"{split}/"): value for name, value in evaluator.compute({split: found}).items()}
    return {"accuracy": correct / max(count, 1), "unseen_words": unseen / max(count, 1), **metrics}


def main(arguments: list[str]) -> None:
    others, overrides = take_overrides(["tagging_baselines", *arguments])
    flags = dict(each.removeprefix("--").split("=", 1) for each in others[1:])
    if unknown := flags.keys() - {"config", "split"}:
        raise SystemExit(f"unknown flags {', '.join(sorted(unknown))}; known are --config, --split, --config.KEY=VALUE")
    settings = config.load(flags.get("config", "tagging"))
    config.override(settings, overrides)
    dataset = build.dataset(settings, trusted=None)
    split = flags.get("split", "validation")
    print(f"most frequent tag of each word, {split}; {dataset.description}")
    for name, value in baseline(dataset, split).items():
        print(f"{name:<20} {value:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
