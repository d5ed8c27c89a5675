"""Datasets of labeled texts: splits, class indices, vocabulary of the training split, fingerprint and description."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset, SelectRows
from jaxnets.data.inputs import Texts
from jaxnets.data.labels import encode_labels
from jaxnets.data.sources.parts import ADJECTIVES, describe, digest, split_off
from jaxnets.data.sources.texts.buckets import Ragged, bucket_lengths, bucketed, bucketed_once
from jaxnets.data.targets import TextClasses
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.checks import check_fraction, check_integer
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

Content = TypeVar("Content", str, bytes)


class LabeledTexts(NamedTuple, Generic[Content]):
    """Texts of a split, or contents of files.

    Attributes:
        texts: N texts.
        labels: N labels.
    """

    texts: Sequence[Content]
    labels: Sequence[str]

    def take(self, rows: np.ndarray) -> "LabeledTexts[Content]":
        return LabeledTexts([self.texts[i] for i in rows], [self.labels[i] for i in rows])


class Tokens(NamedTuple):
    """Token ids of a split.

    Attributes:
        rows: N texts, cut off after the maximum length.
        labels: N labels.
        num_cut: The number of texts that were cut off.
    """

    rows: Ragged
    labels: Sequence[str]
    num_cut: int


def sample_splits(
    splits: Mapping[str, LabeledTexts[Content]], fractions: Mapping[str, float], seed: int, source: str
) -> dict[str, LabeledTexts[Content]]:
    """Samples missing splits from the training texts, stratified by class.

    Equal texts are in one split, also with different labels: otherwise a model would be tested on training texts.

    Args:
        splits: The given splits; ``train`` is required.
        fractions: Fraction of the distinct texts in ``train`` for each split. A given split, or a fraction of 0, is
            not sampled.
        seed: Seed of the samples.
        source: Name of the data in messages.

    Raises:
        ValueError: If there are fewer than two classes, or a sampled split would be empty or leave a class without
            training texts.
    """
    found, random = dict(splits), np.random.default_rng(seed)
    wanted = {name: fraction for name, fraction in fractions.items() if name not in splits and fraction}
    total = len(set(found["train"].texts))
    classes = sorted(set(found["train"].labels))
    check_classes(source, classes)
    number = {label: i for i, label in enumerate(classes)}
    for name, fraction in wanted.items():
        train = found["train"]
        first: dict[Content, int] = {}
        group = np.array([first.setdefault(text, len(first)) for text in train.texts])
        _, rows = np.unique(group, return_index=True)
        labels = np.array([number[train.labels[row]] for row in rows])
        _, sampled = split_off(labels, fraction * total / len(labels), random, name, "distinct texts")
        is_sampled = np.isin(group, sampled)
        found["train"], found[name] = (train.take(np.flatnonzero(part)) for part in (~is_sampled, is_sampled))
        if missing := set(classes) - set(found["train"].labels):
            raise ValueError(
                f"{source}: class {printable(min(missing), 60)} must have texts that do not also have another label"
            )
    return found


def describe_repeated(splits: Mapping[str, LabeledTexts[Content]]) -> str:
    """Returns the end of a description that counts held-out texts that are also training texts, if there are any."""
    known = set(splits["train"].texts)
    counts = {n: sum(text in known for text in split.texts) for n, split in splits.items() if n != "train"}
    found = ", ".join(f"{count:,} {ADJECTIVES.get(name, name)}" for name, count in counts.items() if count)
    return f"; also training texts: {found}" if found else ""


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raises a ``ValueError`` unless the fractions leave training examples."""
    check_fraction("validation_fraction", validation_fraction)
    check_fraction("test_fraction", test_fraction)
    if test_fraction >= 1 - validation_fraction:
        raise ValueError(
            f"`test_fraction` must be less than 1 - `validation_fraction`, {1 - validation_fraction:g}, "
            f"got {test_fraction}"
        )


def tokenized(tokenizer: Tokenizer, split: LabeledTexts[str], max_length: int) -> Tokens:
    """Converts texts to token ids."""
    rows, num_cut = [], 0
    for text in split.texts:
        ids = tokenizer.encode(text)
        num_cut += len(ids) > max_length
        rows.append(ids[:max_length])
    return Tokens(Ragged.of(rows), split.labels, num_cut)


def from_tokens(
    splits: Mapping[str, Tokens],
    inputs: Texts,
    *,
    batch_size: int,
    buckets: int,
    seed: int,
    source: str,
    note: str = "",
) -> Dataset:
    """Returns the dataset of texts as token ids, in batches of texts of similar length.

    Args:
        splits: Token ids by split; ``train`` is required.
        inputs: The preprocessing of texts.
        batch_size: B, rows of a batch; 0: all training rows.
        buckets: Number of lengths to which batches are padded, as in ``bucket_lengths``.
        seed: Seed of the order.
        source: Name of the data in messages.
        note: End of the description.

    Raises:
        ValueError: If an argument is out of range, a split has no examples, there are fewer than two classes, a class
            does not occur in the training split, or there are fewer training examples than a batch.
    """
    check_arguments(seed)
    check_integer("batch_size", batch_size, minimum=0)
    lengths = bucket_lengths(inputs.max_length, buckets)
    arrays, names = encoded(source, splits)
    batch_size = batch_size or len(splits["train"].rows)
    check_memory(f"a batch of {batch_size:,} texts", 4 * batch_size * inputs.max_length)
    spec, counts = TextClasses(names, inputs.tokenizer), {name: len(split.rows) for name, split in splits.items()}
    flat = [
        {"values": each["inputs"].values, "lengths": each["inputs"].lengths, "targets": each["targets"]}
        for each in arrays.values()
    ]
    symbols = {"symbols": np.frombuffer("\0".join(inputs.tokenizer.symbols).encode("utf-8", "replace"), np.uint8)}
    fingerprint = digest([*flat, symbols])
    items = f"{'texts' if inputs.column else 'files'} of at most {inputs.max_length:,} {inputs.tokenizer.unit}s"
    described = describe(source, items, counts)
    num_cut = sum(split.num_cut for split in splits.values())
    cut = f"; {num_cut:,} longer texts cut off" if num_cut else ""

    def read(select_rows: SelectRows = np.arange) -> Dataset:
        batches = {
            name: bucketed(each, batch_size, seed, lengths, select_rows)
            if name == "train"
            else bucketed_once(each, batch_size, lengths, select_rows)
            for name, each in arrays.items()
        }
        return Dataset(
            batches,
            spec,
            fingerprint,
            f"{described}, {len(names)} classes, {inputs.tokenizer.size:,} token ids{cut}{note}",
            read_part=read,
            inputs=inputs,
            train_rows=counts["train"],
        )

    return read()


def encoded(source: str, splits: Mapping[str, Tokens]) -> tuple[dict[str, dict], tuple[str, ...]]:
    """Returns the arrays of all splits with class indices, and the names of the classes."""
    shown = {name: ADJECTIVES.get(name, name) for name in splits}
    # Only distinct labels are arrays of strings, which NumPy pads to the longest one.
    distinct = {name: list(dict.fromkeys(split.labels)) for name, split in splits.items()}
    convert = _converter(list(distinct.values()))
    names, indices = encode_labels(source, {shown[name]: convert(labels) for name, labels in distinct.items()})
    check_classes(source, names)
    arrays = {}
    for name, split in splits.items():
        index_of = dict(zip(distinct[name], indices[shown[name]].tolist(), strict=True))
        arrays[name] = {
            "inputs": split.rows,
            "targets": np.array([index_of[label] for label in split.labels], np.int32),
        }
    return arrays, names


def check_classes(source: str, names: Sequence[str]) -> None:
    """Raises a ``ValueError`` if there are fewer than two classes."""
    if len(names) < 2:
        raise ValueError(f"{source} must have two or more classes, got only {printable(names[0], 60)}")


def _converter(labels: Sequence[Sequence[str]]) -> Callable[[Sequence[str]], np.ndarray]:
    """Returns a function that converts labels to int64 if all are integers, so that 10 follows 9; else to strings."""
    distinct = set().union(*labels)
    integers = all(len(label) < 18 and (label.isdecimal() and label == str(int(label))) for label in distinct)
    return lambda given: np.array(
        [int(label) for label in given] if integers else given, np.int64 if integers else object
    )
