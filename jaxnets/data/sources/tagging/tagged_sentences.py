"""Tagged sentences of CoNLL and CoNLL-U files: entities, parts of speech."""

from jaxnets.data.checks import check_arguments, check_fraction, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.conll import Sentences, read_conll
from jaxnets.data.sources.parts import random_split
from jaxnets.data.sources.tagging.datasets import from_sentences
from jaxnets.data.sources.tagging.word_arrays import check_tags
from jaxnets.data.tokens.tag_schemes import check_schemes
from jaxnets.ops.checks import check_integer
from jaxnets.ops.host.printable import printable


@one_line_errors
def tagged_sentences(
    path: str,
    column: str = "",
    scheme: str = "none",
    target_scheme: str = "",
    validation_path: str = "",
    test_path: str = "",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    batch_size: int = 32,
    vocab_size: int = 20_000,
    min_count: int = 2,
    lowercase: bool = False,
    max_length: int = 64,
    max_characters: int = 20,
    seed: int = 0,
) -> Dataset:
    """Tagged sentences of CoNLL or CoNLL-U files.

    A batch is a dict of ``inputs`` int32 ``[B, T]``, ids of words (0: unknown); ``characters`` int32 ``[B, T, W]``, ids
    of their characters (0: padding, 1: unknown); ``lengths`` int32 ``[B]``; ``targets`` int32 ``[B, T]``, ids of tags;
    and ``mask`` bool ``[B, T]``, the words with a tag. Words and characters are those of the training split. The spec
    is ``Tags``; its names are the tags of all splits, with all prefixes of each type of entity.

    A sentence of more than ``max_length`` words is split into rows of ``max_length`` words and a rest. An entity across
    a border becomes two. Invalid sequences of tags are read as by the script conlleval. Both are counted in the
    description.

    Args:
        path: A file, as in ``read_conll``.
        column: The column of the tags, as in ``read_conll``.
        scheme: The scheme of the tags in the files: ``"none"`` for tags of single words, ``"iob1"``, ``"iob2"`` or
            ``"iobes"``.
        target_scheme: The scheme of the targets; empty for ``scheme``.
        validation_path, test_path: Files of these splits; empty to sample them from ``path``.
        validation_fraction, test_fraction: Fractions of the sentences to hold out, sampled by the seed; equal sentences
            belong to one split.
        batch_size: B, rows of a batch.
        vocab_size: Largest number of word ids.
        min_count: Smallest number of occurrences of a word with its own id in the training split. With 1, the unknown
            word does not occur in training.
        lowercase: Whether words are converted to lower case; their characters are not.
        max_length: Largest T; it is less if all sentences are shorter.
        max_characters: W, characters of a word; of longer words the first and the last half of them. 0: no
            ``characters``.
        seed: Seed of the order and of the held-out sentences.

    Raises:
        ValueError: As in ``read_conll``, an argument is out of range, a tag does not have the form of the scheme, or a
            split has no sentences.
    """
    target_scheme = target_scheme or scheme
    check_schemes(scheme, target_scheme)
    check_arguments(seed, validation_fraction, batch_size=batch_size, max_length=max_length, min_count=min_count)
    check_integer("vocab_size", vocab_size, minimum=2)
    check_integer("max_characters", max_characters, minimum=0)
    check_fraction("test_fraction", test_fraction)
    splits = {"train": _read(path, column, scheme)}
    fractions = {}
    for name, file, fraction in (
        ("validation", validation_path, validation_fraction),
        ("test", test_path, test_fraction),
    ):
        if file:
            splits[name] = _read(file, column, scheme)
        else:
            fractions[name] = fraction
    if sum(fractions.values()) >= 1:
        raise ValueError(
            f"`test_fraction` must be less than 1 - `validation_fraction`, {1 - validation_fraction:g}, "
            f"got {test_fraction}"
        )
    splits |= _sampled(splits["train"], fractions, seed)
    return from_sentences(
        printable(path),
        {name: splits[name] for name in ("train", "validation", "test")},
        scheme=scheme,
        target_scheme=target_scheme,
        max_length=max_length,
        max_characters=max_characters,
        vocab_size=vocab_size,
        min_count=min_count,
        lowercase=lowercase,
        batch_size=batch_size,
        seed=seed,
        column=column,
    )


def _read(path: str, column: str, scheme: str) -> Sentences:
    sentences = read_conll(path, column)
    check_tags(printable(path), sentences, scheme)
    return sentences


def _sampled(sentences: Sentences, fractions: dict[str, float], seed: int) -> dict[str, Sentences]:
    """Divides sentences into splits, such that equal sentences belong to one split."""
    different = dict.fromkeys(map(tuple, sentences.words))
    split_of: dict[tuple[str, ...], str] = {}
    for name, rows in random_split(len(different), fractions, seed).items():
        chosen = set(rows.tolist())
        split_of |= {words: name for i, words in enumerate(different) if i in chosen}
    names = [split_of[tuple(words)] for words in sentences.words]
    select = lambda values, name: [value for value, own in zip(values, names, strict=True) if own == name]
    return {name: Sentences(*(select(values, name) for values in sentences)) for name in ("train", *fractions)}
