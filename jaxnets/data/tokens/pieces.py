"""Subword units: training, validation and use of a tokenizer of the ``tokenizers`` library.

The JSON format of the library describes many kinds of tokenizers, some of them slow, and invalid JSON can cause a
panic. Therefore saved JSON is never passed to its parser: units and merges are checked, and the tokenizer is built from
them.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.ops.host import extras
from jaxnets.ops.host.printable import printable

_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_LINE_END = "\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"  # line ends of str.splitlines

# The training time grows with the square of the length of a word: 0.4 s for 20,000 characters, 45 s for 200,000. Words
# of this length are noise, such as a line of base64.
MAX_WORD_LENGTH = 1024  # characters; longer words are split
_BLOCK = 8 * MAX_WORD_LENGTH  # characters per call; the library needs 200 bytes for each

MAX_PIECES = 2**20  # the library reserves memory for all of them; the largest models have 2**18
MAX_JSON = 2**26  # characters: 60 per piece
MAX_PIECE = 2**14  # bytes; a trained piece has at most MAX_WORD_LENGTH characters of up to 4 bytes
MAX_SYMBOLS = 256
_FIXED = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None}
_MODEL = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
    "ignore_merges": False,
}
_SYMBOL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


@functools.cache
def byte_of() -> dict[str, int]:
    """Returns the byte of each character in the printable encoding of GPT-2."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(others)}


def learn(texts: Iterable[str], size: int, symbols: Sequence[str], by_line: bool) -> str:
    """Returns the JSON of a tokenizer trained on texts; arguments and errors as in ``learn_pieces``."""
    extras.require(__name__, "text")
    from tokenizers import models, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    check_arguments(0, vocab_size=size)
    if size < 256:
        raise ValueError(f"`vocab_size` must be at least 256, the number of bytes, got {size}")
    if size > MAX_PIECES:
        raise ValueError(f"`vocab_size` must be at most {MAX_PIECES:,}, got {size:,}")
    odd = [name for name in symbols if not name or not set(name) <= set(map(chr, range(33, 127)))]
    if odd:
        raise ValueError(f"`symbols` must be printable ASCII, got {printable(repr(odd[0]), 60)}")
    tokenizer = _tokenizer(models.BPE(), by_line)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=list(symbols),
        show_progress=False,
    )
    pre_tokenizer = _pre_tokenizer(by_line)  # a second instance: that of the tokenizer is locked during training
    tokenizer.train_from_iterator((segment for text in texts for segment in segments(pre_tokenizer, text)), trainer)
    return tokenizer.to_str()


def segments(pre_tokenizer: Any, text: str) -> Iterator[str]:
    """Yields segments of a text that consist of whole words and can be encoded separately.

    Words of more than ``MAX_WORD_LENGTH`` characters are split.

    Args:
        pre_tokenizer: A pre-tokenizer of the library, which splits text into words.
        text: The text.
    """
    from tokenizers import pre_tokenizers

    lines = isinstance(pre_tokenizer, pre_tokenizers.Sequence)
    begin = 0
    while len(text) - begin > MAX_WORD_LENGTH:
        block = text[begin : begin + _BLOCK]
        words = [place for _, place in pre_tokenizer.pre_tokenize_str(block)]
        end = begin + len(block)
        if end < len(text):  # the last word may be incomplete
            end = begin + next(
                (first for first, _ in reversed(words) if first and _is_safe(block[first - 1], lines)), MAX_WORD_LENGTH
            )
        long = next((first for first, last in words if last - first > MAX_WORD_LENGTH), None)
        if long is not None:  # true for every block without a word boundary
            end = begin + long + MAX_WORD_LENGTH
        yield text[begin:end]
        begin = end
    if begin < len(text):
        yield text[begin:]


def _is_safe(before: str, lines: bool) -> bool:
    """Returns whether a text may be split at a word boundary after this character.

    The pre-tokenizer separates the last space before a word from the spaces before it. A segment must therefore not end
    with a space, except at the end of a line if lines are separate.
    """
    white = before.isspace() and before not in "\x1c\x1d\x1e\x1f"  # spaces only in Python
    return not white or (lines and before in _LINE_ENDS)


def encode(tokenizer: Any, text: str) -> np.ndarray:
    """Returns the token ids of a text, int32 ``[T]``."""
    encoded = (
        tokenizer.encode(segment, add_special_tokens=False).ids for segment in segments(tokenizer.pre_tokenizer, text)
    )
    return np.concatenate([np.empty(0, np.int32), *(np.array(ids, np.int32) for ids in encoded)])


def checked(text: str) -> dict[str, Any]:
    """Parses and checks the JSON of a tokenizer written by ``learn``.

    Raises:
        ValueError: It has another form, or exceeds a limit.
    """
    if not isinstance(text, str):
        raise ValueError(f"`pieces` must be the JSON of a tokenizer, got {type(text).__name__}")
    if len(text) > MAX_JSON:
        raise ValueError(f"the JSON of a tokenizer must have at most {MAX_JSON:,} characters, got {len(text):,}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`pieces` must be the JSON of a tokenizer, got {printable(text, 60)!r}") from error
    _check(isinstance(found, dict), "an object", found)
    model, symbols = found.pop("model", None), found.pop("added_tokens", [])
    words, decoder = found.pop("pre_tokenizer", None), found.pop("decoder", None)
    _check(isinstance(model, dict), "a model", model)
    vocabulary, merges = model.pop("vocab", None), model.pop("merges", None)
    by_line = next((each for each in (False, True) if words == _words(each)), None)
    _check(by_line is not None, "the pre-tokenizer of learn_pieces", words)
    _check(decoder == _byte_level(add_prefix_space=True), "the byte-level decoder", decoder)
    for given, expected in ((found, _FIXED), (model, _MODEL)):
        for name, value in given.items():
            right = (
                name in expected and type(value) is type(expected[name]) and value == expected[name]
            )  # 0 is not False
            _check(right, f"{printable(name, 60)!r} as learn_pieces writes it", value)
    _check_vocabulary(vocabulary)
    _check(isinstance(symbols, list) and len(symbols) <= MAX_SYMBOLS, f"at most {MAX_SYMBOLS} symbols", symbols)
    return {
        "vocabulary": vocabulary,
        "merges": _merges(merges, vocabulary),
        "symbols": [_symbol(each, vocabulary) for each in symbols],
        "by_line": by_line,
    }


def tokenizer_of(text: str) -> Any:
    """Builds the tokenizer of JSON written by ``learn``.

    Raises:
        ValueError: As in ``checked``.
    """
    extras.require(__name__, "text")
    from tokenizers import AddedToken, models

    found = checked(text)
    try:
        tokenizer = _tokenizer(models.BPE(vocab=found["vocabulary"], merges=found["merges"]), found["by_line"])
        tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in found["symbols"]])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is not an Exception
        raise ValueError(f"`pieces` must be a valid tokenizer, got {printable(error, 100)}") from error
    tokenizer.encode_special_tokens = True  # the name of a symbol within a text is ordinary text
    return tokenizer


def _tokenizer(model: Any, by_line: bool) -> Any:
    from tokenizers import Tokenizer, decoders

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _pre_tokenizer(by_line)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pre_tokenizer(by_line: bool) -> Any:
    """Returns the pre-tokenizer that splits text into words."""
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lines = pre_tokenizers.Split(Regex(_LINE_END), behavior="merged_with_previous")
    return pre_tokenizers.Sequence([lines, words]) if by_line else words


def _byte_level(add_prefix_space: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": True}


def _words(by_line: bool) -> dict[str, Any]:
    """Returns the JSON of the pre-tokenizer of ``_pre_tokenizer``."""
    words = _byte_level(add_prefix_space=False)
    if not by_line:
        return words
    lines = {"type": "Split", "pattern": {"Regex": _LINE_END}, "behavior": "MergedWithPrevious", "invert": False}
    return {"type": "Sequence", "pretokenizers": [lines, words]}


def _check(right: bool, expected: str, given: object) -> None:
    if not right:
        shown = f"{type(given).__name__} of {len(given):,}" if isinstance(given, dict | list) else repr(given)
        raise ValueError(f"the JSON of a tokenizer must have {expected}, got {printable(shown, 60)}")


def _check_vocabulary(vocabulary: Any) -> None:
    right = isinstance(vocabulary, dict) and len(vocabulary) <= MAX_PIECES
    _check(right, f"a vocabulary of at most {MAX_PIECES:,} pieces", vocabulary)
    right = all(type(number) is int for number in vocabulary.values())
    right = right and sorted(vocabulary.values()) == list(range(len(vocabulary)))
    _check(right, "consecutive ids from 0", "others")
    known = byte_of()
    _check(known.keys() <= vocabulary.keys(), "all 256 bytes", "fewer")
    for piece in vocabulary:
        if not 0 < len(piece) <= MAX_PIECE or not known.keys() >= set(piece):
            _check(False, f"pieces of at most {MAX_PIECE:,} bytes in the encoding of GPT-2", piece)


def _symbol(given: Any, vocabulary: dict[str, int]) -> str:
    name = given.get("content") if isinstance(given, dict) else None
    right = isinstance(name, str) and name in vocabulary
    right = right and given == {"id": vocabulary[str(name)], "content": name, **_SYMBOL}
    _check(right, "special symbols from its vocabulary", given)
    return str(name)


def _merges(merges: Any, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Returns pairs of pieces; earlier versions of the library write them as ``"a b"``."""
    _check(isinstance(merges, list) and len(merges) <= MAX_PIECES, f"at most {MAX_PIECES:,} merges", merges)
    found = [tuple(each.split(" ")) if isinstance(each, str) else each for each in merges]
    for pair in found:
        right = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)
        right = right and {*pair, "".join(pair)} <= vocabulary.keys()
        _check(right, "merges of two pieces into a third one of its vocabulary", pair)
    pairs = [(pair[0], pair[1]) for pair in found]
    _check(len(set(pairs)) == len(pairs), "different merges", "a duplicate")
    return pairs
