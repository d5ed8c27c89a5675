"""Datasets of tagged sentences: vocabularies of the training split, arrays, fingerprint and description."""

from collections import Counter
from collections.abc import Mapping

from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.conll import Sentences
from jaxnets.data.inputs import SentenceWords
from jaxnets.data.sources.parts import Split, assemble, describe, digest
from jaxnets.data.sources.tagging.word_arrays import Problems, converted, encode
from jaxnets.data.targets import Tags
from jaxnets.data.tokens.tag_schemes import complete_names
from jaxnets.data.tokens.tokenizer import Tokenizer, most_frequent

MAX_CHARACTERS = 5000  # different ones


def from_sentences(
    shown: str,
    splits: Mapping[str, Sentences],
    *,
    scheme: str,
    target_scheme: str,
    max_length: int,
    max_characters: int,
    vocab_size: int,
    min_count: int,
    lowercase: bool,
    batch_size: int,
    seed: int,
    column: str = "",
    kind: str = "conll",
    note: str = "",
) -> Dataset:
    """Returns the dataset of the sentences of each split.

    Args:
        shown: Name of the data in messages.
        splits: The sentences; ``train`` comes first.
        scheme, target_scheme: The schemes of the tags and of the targets.
        max_length: Words of a row; longer sentences are split.
        max_characters: Characters of a word; 0 for none.
        vocab_size: Largest number of word ids.
        min_count: Smallest number of occurrences of a word of the vocabulary in the training split.
        lowercase: Whether words, but not their characters, are converted to lower case.
        batch_size: B, rows of a batch.
        seed: Seed of the order.
        column: The column of the tags, of files.
        kind: The ``source`` of ``SentenceWords``.
        note: More for the description.

    Raises:
        ValueError: A split has no sentence, or no word has a tag.
    """
    for name, sentences in splits.items():
        if not sentences.words:
            raise ValueError(f"{shown} must have at least one sentence for the split {name}, got none")
    found = {name: converted(sentences, max_length, scheme, target_scheme) for name, sentences in splits.items()}
    pieces = {name: split for name, (split, _) in found.items()}
    names = complete_names(
        (tag for split in pieces.values() for tags in split.tags for tag in tags if tag is not None), target_scheme
    )
    if not names:
        raise ValueError(f"{shown} must have at least one word with a tag, got none")
    words, letters = _tokenizers(pieces["train"], vocab_size, min_count, lowercase)
    characters = letters if max_characters else None
    inputs = SentenceWords(words, characters, max_length, max_characters, column, scheme, kind)
    length = max(len(words) for split in pieces.values() for words in split.words)
    arrays = {name: encode(shown, split, inputs, names, length) for name, split in pieces.items()}
    problems = Problems(*map(sum, zip(*(each for _, each in found.values()), strict=True)))
    num_words = sum(len(words) for split in pieces.values() for words in split.words)
    kinds = f"{len(names)} tags" + (f" ({target_scheme})" if target_scheme != "none" else "")
    counts = {name: len(split.words) for name, split in pieces.items()}
    return assemble(
        {name: Split(split) for name, split in arrays.items()},
        batch_size=batch_size,
        seed=seed,
        spec=Tags(names, target_scheme, words, characters),
        fingerprint=digest(arrays.values()),
        description=describe(shown, "sentences", counts, f"{kinds}, {num_words:,} words") + str(problems) + note,
        inputs=inputs,
    )


def _tokenizers(train: Sentences, vocab_size: int, min_count: int, lowercase: bool) -> tuple[Tokenizer, Tokenizer]:
    """Returns the tokenizers of the words and of the characters of the training split."""
    counts = Counter(word for words in train.words for word in words)
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        letters.update(dict.fromkeys(word, count))
    lowered: Counter[str] = Counter()
    for word, count in counts.items():
        lowered[word.lower() if lowercase else word] += count
    words = most_frequent(lowered, "word", vocab_size, min_count, lowercase)
    return words, most_frequent(letters, "character", MAX_CHARACTERS, 1, False)
