"""New sentences in the format of the training data: CoNLL files, texts, and sources of Python."""

from typing import Any

from jaxnets.data.formats.conll import Sentences, read_conll
from jaxnets.data.formats.limited_text import lines, read_text
from jaxnets.data.inputs import SentenceWords
from jaxnets.data.sources.tagging.python_tokens import read_python
from jaxnets.data.sources.tagging.word_arrays import check_tags, converted, encode, pieces_of
from jaxnets.data.targets import Tags
from jaxnets.data.tokens.tokenizer import split
from jaxnets.ops.host.printable import printable

MAX_BYTES = 2**31  # of a text


def read_words(path: str, inputs: SentenceWords) -> Sentences:
    """Reads sentences without tags.

    Args:
        path: A source of Python if those are the training data. Otherwise a CoNLL or CoNLL-U file; or, with the ending
            ``.txt``, a text with one sentence per line, whose words are those of ``tokenizer.split``.
        inputs: Description of the sentences.

    Returns:
        The rows of the arrays: sentences of more than ``max_length`` words are split.

    Raises:
        ValueError: The file cannot be read, or has no words.
    """
    return pieces_of(_sentences(path, inputs), inputs.max_length)


def continues(path: str, inputs: SentenceWords) -> list[bool]:
    """Returns whether each row of ``read_words`` continues the sentence of the row before."""
    starts = (range(0, len(words), inputs.max_length) for words in _sentences(path, inputs).words)
    return [first > 0 for row in starts for first in row]


def word_arrays(path: str, inputs: SentenceWords) -> dict[str, Any]:
    """Reads sentences as in ``read_words``, and encodes them as the arrays of a batch without targets."""
    return encode(printable(path), read_words(path, inputs), inputs)


def tagged_word_arrays(path: str, inputs: SentenceWords, spec: Tags) -> dict[str, Any]:
    """Reads tagged sentences, a CoNLL or CoNLL-U file or a source of Python, as the arrays of a batch with targets.

    Raises:
        ValueError: The file cannot be read, or a tag is not one of the spec.
    """
    shown = printable(path)
    sentences = read_python(path) if inputs.source == "python" else read_conll(path, inputs.column)
    check_tags(shown, sentences, inputs.scheme)
    pieces, _ = converted(sentences, inputs.max_length, inputs.scheme, spec.scheme)
    return encode(shown, pieces, inputs, spec.names)


def _sentences(path: str, inputs: SentenceWords) -> Sentences:
    if inputs.source == "python":
        return read_python(path)
    if not str(path).endswith(".txt"):
        return read_conll(path, tagged=False)
    rows = [(number, split(line, "word")) for number, line in enumerate(lines(read_text(path, MAX_BYTES)), 1)]
    rows = [(number, words) for number, words in rows if words]
    if not rows:
        raise ValueError(f"{printable(path)} must have at least one word, got none")
    return Sentences([words for _, words in rows], [], [number for number, _ in rows])
