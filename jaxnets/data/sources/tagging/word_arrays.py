"""Arrays of tagged words: token ids, character ids, lengths, tag ids and their mask."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data.formats.conll import Sentences
from jaxnets.data.inputs import SentenceWords
from jaxnets.data.tokens.tag_schemes import check_tag, convert, invalid_positions, spans
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.host.memory import check_memory
from jaxnets.ops.host.printable import printable

PADDING, UNKNOWN = 0, 1  # ids of characters; the ids of known ones are those of the tokenizer, plus 1


class CharacterRows:
    """Character ids int32 ``[N, T, W]`` of words, as rows of a table; only the selected rows are computed.

    Args:
        forms: Indices of words into the table, ``[N, T]``.
        table: Character ids of each different word, ``[V, W]``.
    """

    def __init__(self, forms: np.ndarray, table: np.ndarray):
        self._forms, self._table = forms, table

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._forms.shape, self._table.shape[1])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        return self._table.dtype

    def __len__(self) -> int:
        return len(self._forms)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._table[self._forms[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


class Problems(NamedTuple):
    """Changes in the sentences of a file.

    Attributes:
        num_invalid: Tags that may not follow the tag before in the scheme of the file.
        num_split: Sentences that are longer than a row.
        num_cut: Entities that are cut in two.
    """

    num_invalid: int = 0
    num_split: int = 0
    num_cut: int = 0

    def __str__(self) -> str:
        texts = (
            (self.num_invalid, "invalid {} read as by conlleval", "tag"),
            (self.num_split, "long {} split", "sentence"),
            (self.num_cut, "{} cut", "entity"),
        )
        plural = {"tag": "tags", "sentence": "sentences", "entity": "entities"}
        return "".join(
            f"; {number:,} {text.format(name if number == 1 else plural[name])}"
            for number, text, name in texts
            if number
        )


def pieces_of(sentences: Sentences, max_length: int) -> Sentences:
    """Splits sentences into pieces of at most ``max_length`` words."""
    starts = [(i, first) for i, words in enumerate(sentences.words) for first in range(0, len(words), max_length)]
    cut = lambda lists: [lists[i][first : first + max_length] for i, first in starts] if lists else []
    return Sentences(cut(sentences.words), cut(sentences.tags), [sentences.lines[i] for i, _ in starts])


def check_tags(shown: str, sentences: Sentences, scheme: str) -> None:
    """Raises a ``ValueError``, which names the sentence and the word, if a tag does not have the form of the scheme."""
    for tag in sorted({tag for tags in sentences.tags for tag in tags if tag is not None}):
        try:
            check_tag(tag, scheme)
        except ValueError as error:
            raise ValueError(f"{shown}, {_place(sentences, tag)}: {error}") from error


def _place(sentences: Sentences, tag: str) -> str:
    """Returns the position of the first word with a tag."""
    found = ((i, tags.index(tag)) for i, tags in enumerate(sentences.tags) if tag in tags)
    i, word = next(found)
    text = printable(repr(sentences.words[i][word]), 60)
    return f"word {word + 1}, {text}, of the sentence at line {sentences.lines[i]}"


def converted(sentences: Sentences, max_length: int, scheme: str, target: str) -> tuple[Sentences, Problems]:
    """Splits long sentences, and converts their tags from one scheme to another."""
    pieces = pieces_of(sentences, max_length)
    num_split = sum(len(words) > max_length for words in sentences.words)
    if scheme == "none":
        return pieces, Problems(0, num_split)
    with_tags = lambda all_tags: [[tag or "O" for tag in tags] for tags in all_tags]
    whole, parts = with_tags(sentences.tags), with_tags(pieces.tags)
    num_invalid = sum(len(list(invalid_positions(tags, scheme))) for tags in whole)
    num_entities = lambda all_tags: sum(len(spans(tags)) for tags in all_tags)
    num_cut = num_entities(parts) - num_entities(whole) if num_split else 0
    tags: list[list[str | None]] = [list(convert(tags, scheme, target)) for tags in parts]
    return pieces._replace(tags=tags), Problems(num_invalid, num_split, num_cut)


def encode(
    shown: str, pieces: Sentences, inputs: SentenceWords, names: Sequence[str] = (), length: int = 0
) -> dict[str, Any]:
    """Encodes the pieces of sentences as the arrays of a batch.

    Args:
        shown: The name of the data, for messages.
        pieces: Sentences of at most T words.
        inputs: Description of the sentences.
        names: Names of the tags; empty for no targets.
        length: T; 0 for the length of the longest one.

    Returns:
        ``inputs`` int32 ``[N, T]``; ``characters [N, T, W]`` if they are read; ``lengths`` int32 ``[N]``; with names
        also ``targets`` int32 ``[N, T]`` and ``mask`` bool ``[N, T]``, False for words without a tag.

    Raises:
        ValueError: A tag is not one of ``names``.
    """
    lengths = np.fromiter(map(len, pieces.words), np.int32, len(pieces.words))
    length = length or int(lengths.max(initial=1))
    check_memory(shown, 4 * len(pieces.words) * length * (4 + inputs.max_characters))
    index: dict[str, int] = {}
    forms = np.zeros((len(pieces.words), length), np.int32)  # 0: padding
    for row, words in zip(forms, pieces.words, strict=True):
        row[: len(words)] = [index.setdefault(word, len(index) + 1) for word in words]
    words_of_forms = np.append(np.int32(0), inputs.tokenizer.ids(index)).astype(np.int32)
    arrays: dict[str, Any] = {"inputs": words_of_forms[forms], "lengths": lengths}
    if inputs.characters is not None:
        arrays["characters"] = CharacterRows(forms, character_table(index, inputs.characters, inputs.max_characters))
    if names:
        known: dict[str | None, int] = {name: i for i, name in enumerate(names)}
        arrays["targets"] = np.zeros(forms.shape, np.int32)
        arrays["mask"] = np.zeros(forms.shape, bool)
        for i, tags in enumerate(pieces.tags):
            try:
                arrays["targets"][i, : len(tags)] = [0 if tag is None else known[tag] for tag in tags]
            except KeyError as error:
                tag = error.args[0]
                given = printable(repr(tag), 60)
                raise ValueError(
                    f"{shown}, {_place(pieces, tag)}: the tag must be one of the run, got {given}"
                ) from error
            arrays["mask"][i, : len(tags)] = [tag is not None for tag in tags]
    return arrays


def character_table(words: Iterable[str], characters: Tokenizer, size: int) -> np.ndarray:
    """Returns the character ids of words, int32 ``[1 + V, size]``, padded with 0; the row 0 is that of padding.

    Of words with more characters, the first and the last halves of ``size`` are kept.
    """
    rows = [np.zeros(0, np.int32)]
    for word in words:
        if len(word) > size:
            word = word[: (size + 1) // 2] + word[len(word) - size // 2 :]
        rows.append(characters.ids(word) + np.int32(UNKNOWN))
    table = np.full((len(rows), size), PADDING, np.int32)
    for row, ids in zip(table, rows, strict=True):
        row[: len(ids)] = ids
    return table


def text_of_characters(ids: Sequence[int], characters: Tokenizer) -> str:
    """Returns the text of the character ids of a word, for figures."""
    return "".join(characters.symbols[i - 2] if i > UNKNOWN else "�" for i in ids if i != PADDING)
