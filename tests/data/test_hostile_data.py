"""Malicious files: special files, decompression bombs, control characters, and invalid tokenizers."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_files import listening, time_limit

from jaxnets import data
from jaxnets.data.inputs import Columns
from jaxnets.data.tokens import pieces
from jaxnets.ops.host import compressed
from jaxnets.ops.host.printable import printable

BOMBS = Path(__file__).with_name("bombs.py")
RIGHT_TO_LEFT = "\u202e"  # reverses the text after it
CONTROLS = f"\x1b[2J\n{RIGHT_TO_LEFT}\x07"
ARRAYS = {"x_train": np.zeros((9, 3)), "y_train": np.arange(9) % 2, "x_test": np.zeros((2, 3)), "y_test": np.arange(2)}


def is_one_sentence(message: str) -> bool:
    plain = message.isprintable() and RIGHT_TO_LEFT not in message
    return plain and len(message) <= 300 and "allow_pickle" not in message and "Traceback" not in message


def pipe(path):
    os.mkfifo(path)


SPECIAL = {
    "pipe": pipe,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to a pipe": lambda path: (pipe(path.with_name("other")), path.symlink_to("other")),
    "broken link": lambda path: path.symlink_to("nothing"),
    "loop": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
}
READERS = {
    "text": data.text,
    "text as pieces": lambda path: data.read(path, "piece"),
    "pairs": data.pairs,
    "table": lambda path: data.table(path, "kind"),
    "new table": lambda path: data.read_inputs(path, Columns(("a",), ((),))),
    "series": data.series,
    "sets": data.labeled_sets,
    "images": data.image_arrays,
    "encoded images": data.jpeg_images,
    "IDX": data.read_idx,
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("reader", READERS)
def test_special_files_are_rejected_without_blocking(tmp_path, kind, reader):
    SPECIAL[kind](tmp_path / "a")
    with time_limit(5), pytest.raises(ValueError, match="/a") as error:
        READERS[reader](str(tmp_path / "a"))
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_special_files_in_an_idx_folder_are_rejected(tmp_path, kind):
    SPECIAL[kind](tmp_path / "train-images-idx3-ubyte")
    with time_limit(5), pytest.raises(ValueError, match="train-images-idx3-ubyte must be a regular file, got a "):
        data.idx(str(tmp_path))


def test_skipped_entries_of_a_text_folder_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("text " * 50)
    (tmp_path / "link").symlink_to("a.txt")  # a link to a regular file is read
    (tmp_path / "below").mkdir()
    (tmp_path / "below/b.txt").write_text("more " * 50)
    for name, make in SPECIAL.items():
        if name not in ("folder", "link to a pipe"):
            make(tmp_path / f"below/{name}")
    (tmp_path / "folder").symlink_to("below")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / ".git").mkdir()
    with time_limit(5):
        dataset = data.text(str(tmp_path), batch_size=2, seq_len=8)
    assert dataset.description.endswith(
        "held out, the ends of 3 files; 2 broken links skipped; 1 device skipped; 1 hidden file skipped; "
        "1 hidden folder skipped; 1 link to a folder skipped; 1 named pipe skipped; 1 socket skipped"
    )


def test_unreadable_text_folders_and_files_are_rejected(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    for name in ("a.txt", "below/b.txt"):
        (tmp_path / name).write_text("text " * 50)

    def deny(function, forbidden):
        def call(path, *arguments, **options):
            if os.fspath(path) == str(forbidden):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:  # file permissions do not stop root
        patch.setattr(os, "scandir", deny(os.scandir, tmp_path / "below"))
        with pytest.raises(ValueError, match=f"cannot read the folder {tmp_path}/below: Permission denied"):
            data.text(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", deny(os.open, tmp_path / "below/b.txt"))
        with pytest.raises(ValueError, match=f"cannot read {tmp_path}/below/b.txt: Permission denied"):
            data.text(str(tmp_path))


def run(kind: str, folder: Path) -> dict:
    """Returns the results of ``bombs.py`` in a process with limited memory."""
    command = [sys.executable, str(BOMBS), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bombs_are_rejected_in_little_memory_and_time(tmp_path):
    results = run("bombs", tmp_path)
    assert len(results) == 26
    for name, found in results.items():
        assert is_one_sentence(found["message"]), (name, found)
        assert found["message"].startswith(str(tmp_path)), (name, found)
        # An array of names needs the memory declared in its header, 100 MB, and is copied once.
        assert found["MB"] < (500 if "class name" in name else 100) and found["seconds"] < 5, (name, found)


@pytest.mark.slow
def test_time_and_memory_are_linear_in_the_length_of_text(tmp_path):
    for name, found in run("long_texts", tmp_path).items():
        assert found["message"] == "read" and found["MB"] < 400 and found["seconds"] < 30, (name, found)


@pytest.mark.parametrize("size", [0, 1, 3 * 2**18, 2**20 + 7])
def test_gzip_files_of_all_variants_are_read(size):
    content = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    half = size // 3
    variants = [
        gzip.compress(content),
        gzip.compress(content[:half]) + gzip.compress(content[half:]),
        gzip.compress(content) + bytes(70_000),
        gzip.compress(content[:half], 1) + bytes(512) + gzip.compress(b"") + gzip.compress(content[half:], 0),
    ]
    named = io.BytesIO()
    with gzip.GzipFile("a name", "wb", fileobj=named) as file:
        file.write(content)
    for packed in (*variants, named.getvalue()):
        assert b"".join(compressed.read_blocks(io.BytesIO(packed))) == content == gzip.decompress(packed)
        assert max(map(len, compressed.read_blocks(io.BytesIO(packed)))) <= compressed.BLOCK_SIZE
    for wrong in (variants[0][:-1], variants[0][:12], variants[0] + b"x"):
        with pytest.raises((EOFError, OSError, compressed.zlib.error)):
            list(compressed.read_blocks(io.BytesIO(wrong)))


def test_inconsistent_archives_are_rejected(tmp_path):
    """The central directory has a wrong size, checksum or position of a member."""
    np.savez_compressed(tmp_path / "a.npz", **ARRAYS)
    whole = (tmp_path / "a.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        size = archive.getinfo("x_train.npy").file_size
    entry = whole.index(b"PK\1\2")
    for at, value in ((24, size - 8), (24, size + 8), (24, 2**31), (16, 7), (20, 5), (42, 2**31), (8, 1)):
        broken = bytearray(whole)
        broken[entry + at : entry + at + 4] = value.to_bytes(4, "little")
        (tmp_path / "b.npz").write_bytes(broken)
        with time_limit(5), pytest.raises(ValueError, match=r"b\.npz must be an npz file of plain arrays") as error:
            data.series(str(tmp_path / "b.npz"))
        assert is_one_sentence(str(error.value))


INVALID_ARRAYS = {
    "objects": ("x_train", np.array([[{}, 1]] * 9, object)),
    "records": ("x_train", np.zeros((9, 3), "f4,f4")),
    "complex": ("x_train", np.zeros((9, 3), complex)),
    "infinite": ("x_train", np.array([[1, 2, 3]] * 8 + [[1, -np.inf, 3]])),
    "NaN": ("x_train", np.array([[np.nan, 1, 2]] * 9)),
    "dates": ("x_train", np.zeros((9, 3), "datetime64[s]")),
    "complex labels": ("y_train", np.zeros(9, complex)),
    "infinite labels": ("y_train", np.full(9, np.inf)),
    "labels with controls": ("y_test", np.array([CONTROLS, RIGHT_TO_LEFT * 500])),
    "bytes as labels": ("y_train", np.array([b"\xff\x1b" * 400] * 9)),
    "objects as labels": ("y_train", np.array([None] * 9)),
}


@pytest.mark.parametrize("name", INVALID_ARRAYS)
@pytest.mark.parametrize("reader", [data.series, data.labeled_sets])
def test_arrays_of_invalid_type_or_value_are_rejected(tmp_path, name, reader):
    key, array = INVALID_ARRAYS[name]
    np.savez(tmp_path / f"{CONTROLS} {'a' * 100}.npz", **{**ARRAYS, key: array})
    with pytest.raises(ValueError, match=r"\\x1b\[2J\\n\\u202e\\x07 ") as error:
        reader(str(tmp_path / f"{CONTROLS} {'a' * 100}.npz"))
    assert is_one_sentence(str(error.value))


def test_the_count_and_length_of_labels_are_limited(monkeypatch):
    from jaxnets.data import labels

    numbered = lambda array, names=(): labels.encode_labels("here", {"training": np.asarray(array)}, names)[0]
    longest = "a" * labels.MAX_LABEL_LENGTH
    padded = np.zeros(2, "U1100")
    padded[:] = ["a", longest]
    assert numbered(padded) == ("a", longest) and numbered([0, 1], ["a", longest]) == ("a", longest)
    for wrong in (["a", longest + "a"], np.array(["a", longest + "a"], object), np.array([longest + "a"], "S")):
        with pytest.raises(ValueError, match="must have at most 1,000 characters, got 1,001 at index"):
            numbered(wrong)
    with pytest.raises(ValueError, match="names of classes must have at most 1,000 characters, got 1,001 at index 1"):
        numbered([0, 1], ["a", longest + "a"])
    monkeypatch.setattr(labels, "MAX_CLASSES", 3)
    assert len(numbered(range(3))) == 3
    with pytest.raises(ValueError, match="here must have at most 3 classes, got 4"):
        numbered(range(4))


def test_pairs_are_limited(tmp_path, monkeypatch):
    module = sys.modules["jaxnets.data.sources.pairs"]
    path = tmp_path / "pairs"
    path.write_bytes(b"a\tb\nc\td\n")
    monkeypatch.setattr(module, "MAX_PAIRS", 2)
    monkeypatch.setattr(module, "MAX_BYTES", 8)
    monkeypatch.setattr(module, "MAX_LINE", 3)
    assert len(data.read_pairs(str(path))) == 2
    for limit in ("MAX_PAIRS", "MAX_BYTES", "MAX_LINE"):
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="pairs.* must have at most"):
            patch.setattr(module, limit, getattr(module, limit) - 1)
            data.read_pairs(str(path))


def test_printable_escapes_direction_overrides():
    assert printable(f"a{RIGHT_TO_LEFT}b\u2066c\u2069") == r"a\u202eb\u2066c\u2069"
    text = "שלום \u200e العربية \u200d🏳"
    assert printable(text) == text
    assert len(printable("\x1b" * 10**6, 299)) <= 300 and printable("\x1b" * 300).isprintable()


TRAINED = {by_line: data.learn_pieces(["some words\n", "and more"], 300, ("<a>",), by_line) for by_line in (0, 1)}


def changed(**changes):
    """Returns the JSON of a tokenizer with changed values; names in a path are joined by two underscores."""
    found = json.loads(TRAINED[0].pieces)
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = found
        for name in parents:
            node = node[name]
        node[last] = value(node.get(last)) if callable(value) else value
    return json.dumps(found)


NESTED = {"type": "Sequence", "normalizers": []}
WRONG = {
    "not text": 5,
    "empty": "",
    "not JSON": "{'a'",
    "nested": "[" * 10**5,
    "nested objects": '{"a":' * 10**5,
    "list": "[]",
    "null": "null",
    "not finite": '{"model": NaN}',
    "no model": changed(model=None),
    "word-level model": changed(model__type="WordLevel"),
    "unigram model": changed(model={"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}),
    "dropout": changed(model__dropout=0.5),
    "number for a bool": changed(model__fuse_unk=0),
    "unknown field": changed(model__more=1),
    "unknown field with controls": changed(**{CONTROLS * 100: 1}),
    "unknown version": changed(version="2.0"),
    "normalizer": changed(normalizer=NESTED),
    "slow normalizer": changed(normalizer={"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}),
    "slow pattern": changed(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated"}),
    "other pre-tokenizer": changed(pre_tokenizer__add_prefix_space=True),
    "decoder": changed(decoder={"type": "WordPiece"}),
    "template": changed(post_processor={"type": "TemplateProcessing"}),
    "truncation": changed(truncation={"max_length": 1}),
    "no vocabulary": changed(model__vocab={}),
    "vocabulary of lists": changed(model__vocab=[["a", 0]]),
    "ids as text": changed(model__vocab=lambda vocabulary: {piece: str(i) for piece, i in vocabulary.items()}),
    "missing id": changed(model__vocab=lambda vocabulary: {p: i + (i > 3) for p, i in vocabulary.items()}),
    "negative ids": changed(model__vocab=lambda vocabulary: {p: i - 1 for p, i in vocabulary.items()}),
    "huge ids": changed(model__vocab=lambda vocabulary: {p: i * 2**70 for p, i in vocabulary.items()}),
    "unknown alphabet": changed(model__vocab=lambda vocabulary: {**vocabulary, "\u4e00": len(vocabulary)}),
    "empty piece": changed(model__vocab=lambda vocabulary: {**vocabulary, "": len(vocabulary)}),
    "long piece": changed(model__vocab=lambda vocabulary: {**vocabulary, "a" * 10**6: len(vocabulary)}),
    "merges of unknown pieces": changed(model__merges=[["zz", "zz"]]),
    "merges into unknown pieces": changed(model__merges=[["z", "z"]]),
    "merges of three pieces": changed(model__merges=["a b c"]),
    "merges of numbers": changed(model__merges=[[0, 1]]),
    "merges of lists": changed(model__merges=[[["a"], ["b"]]]),
    "duplicate merges": changed(model__merges=lambda merges: merges * 2),
    "merges as text": changed(model__merges="a b"),
    "unknown symbols": changed(added_tokens=[{"id": 0, "content": "<b>"}]),
    "symbols with wrong ids": changed(added_tokens=lambda symbols: [{**symbols[0], "id": 2**40}]),
    "symbols that strip spaces": changed(added_tokens=lambda symbols: [{**symbols[0], "lstrip": True}]),
    "symbols of lists": changed(added_tokens=[[1]]),
    "many symbols": changed(added_tokens=lambda symbols: symbols * 1000),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_tokenizers_are_rejected_before_construction(name, capfd):
    with time_limit(5), pytest.raises(ValueError, match="tokenizer") as error:
        data.Vocabulary(pieces=WRONG[name])
    assert is_one_sentence(str(error.value))
    assert capfd.readouterr() == ("", "")  # a panic would write to standard error


@pytest.mark.parametrize("vocabulary", TRAINED.values(), ids=["texts", "lines"])
def test_saved_tokenizers_are_restored(vocabulary):
    found = json.loads(vocabulary.pieces)
    assert json.loads(pieces.tokenizer_of(vocabulary.pieces).to_str()) == found
    found["model"]["merges"] = [
        " ".join(pair) for pair in found["model"]["merges"]
    ]  # the format of the library until 0.20
    del found["model"]["ignore_merges"]
    older = data.Vocabulary(pieces=json.dumps(found))
    text = "some more words\r\n <a> é\u3000日\n\n  and"
    np.testing.assert_array_equal(older.encode(text), vocabulary.encode(text))
    assert older.decode(older.encode(text)) == text and older.symbol("<a>") == vocabulary.symbol("<a>") == 0


def test_a_panic_of_the_library_is_a_value_error(monkeypatch):
    class Panic(BaseException):
        pass

    def panic(*_):
        raise Panic(CONTROLS)

    monkeypatch.setattr(pieces, "_tokenizer", panic)
    with pytest.raises(ValueError, match=r"got \\x1b"):
        pieces.tokenizer_of(TRAINED[0].pieces)
    monkeypatch.setattr(pieces, "_tokenizer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pieces.tokenizer_of(TRAINED[0].pieces)


@pytest.mark.parametrize("characters", [5, ["a"], "", "aa", "a\ud800", "ab" * 10**6, CONTROLS * 10**5])
def test_invalid_characters_are_rejected(characters):
    with time_limit(5), pytest.raises(ValueError, match="`characters` must be") as error:
        data.Vocabulary(characters)
    assert is_one_sentence(str(error.value))
    with pytest.raises(ValueError, match="got both"):
        data.Vocabulary("ab", TRAINED[0].pieces)


def test_the_message_for_many_unknown_characters_is_short():
    known = "".join(map(chr, range(0xD800)))
    with pytest.raises(ValueError, match="characters must be in the vocabulary") as error:
        data.Vocabulary(known).encode("".join(map(chr, range(0x10000, 0x20000))))
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize(
    "arguments", [{"size": 10**12}, {"size": 300, "symbols": ("é",)}, {"size": 300, "symbols": ("",)}]
)
def test_invalid_training_arguments_are_rejected(arguments):
    with pytest.raises(ValueError, match="must be"):
        data.learn_pieces(["a"], **arguments)


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_segments_of_long_texts_have_the_same_words(monkeypatch, seed, by_line):
    monkeypatch.setattr(pieces, "MAX_WORD_LENGTH", 16)
    monkeypatch.setattr(pieces, "_BLOCK", 48)
    source = random.Random(seed)
    letters = [*" \n\r\t\u3000\x85\u2028\x1c\x1faé1's-日\u200d\x0b"]
    text = "".join(source.choices(letters, [source.random() ** 3 for _ in letters], k=600))
    pre_tokenizer = pieces._pre_tokenizer(by_line)
    words = lambda text: [place[1] - place[0] for _, place in pre_tokenizer.pre_tokenize_str(text)]
    segments = list(pieces.segments(pre_tokenizer, text))
    assert "".join(segments) == text and len(segments) > 10
    split = [length for segment in segments for length in words(segment)]
    assert max(split) <= 16
    if max(words(text)) <= 16:
        assert split == words(text)
    if by_line:
        lines = [part for line in text.splitlines(keepends=True) for part in pieces.segments(pre_tokenizer, line)]
        assert split == [length for segment in lines for length in words(segment)]
    tokenizer = data.learn_pieces([text], 300, by_line=by_line)
    assert tokenizer.decode(tokenizer.encode(text)) == text
