"""Pairs of texts: reading, batches, splits, and errors about invalid files."""

import codecs
import gzip

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.pairs import END

LINES = [f"{n}\tthe number {n}\tel número {n}" for n in range(100)]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("\n".join(LINES) + "\n\n")
    return str(file)


def test_columns_are_read_plain_and_gzipped(path, tmp_path):
    found = data.read_pairs(path, (1, 2))
    assert len(found) == 100 and found[7] == ("the number 7", "el número 7")
    packed = tmp_path / "pairs.tsv.gz"
    packed.write_bytes(gzip.compress("\n".join(LINES).encode()))
    assert data.read_pairs(str(packed), (1, 2)) == found


def test_batches_decode_to_the_texts_and_splits_are_disjoint(path):
    dataset = data.pairs(
        path, (1, 2), vocab_size=300, max_seq_len=20, batch_size=8, validation_fraction=0.1, test_fraction=0.2
    )
    vocabulary, sources = dataset.spec, {}
    for name, batches in (
        ("train", [dataset.train[i] for i in range(8)]),
        ("test", dataset.splits["test"]),
        ("val", dataset.splits["validation"]),
    ):
        sources[name] = set()
        for batch in batches:
            assert batch["inputs"].dtype == batch["targets"].dtype == np.int32
            for row in np.flatnonzero(batch["mask"]):
                source = vocabulary.decode(batch["inputs"][row, : batch["lengths"][row]])
                target = batch["targets"][row, : batch["target_lengths"][row]]
                assert target[-1] == vocabulary.symbol(END)
                assert vocabulary.decode(target[:-1]) == source.replace("the number", "el número")
                sources[name].add(source)
    assert (len(sources["test"]), len(sources["val"])) == (20, 10)
    assert not sources["train"] & (sources["test"] | sources["val"]) and not sources["test"] & sources["val"]
    assert "70 training pairs, 10 validation, 20 test; 0 longer than 20 tokens" in dataset.description


def test_long_pairs_are_left_out_and_counted(path):
    with open(path, "a") as file:
        file.write("100\t" + "a long story " * 30 + "\tx\n")
    dataset = data.pairs(
        path, (1, 2), vocab_size=300, max_seq_len=20, batch_size=8, validation_fraction=0.1, test_fraction=0.2
    )
    assert "; 1 longer than 20 tokens left out" in dataset.description


def test_translations_of_one_source_are_in_one_split(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "\ufeff" + "".join(f"number {n}\t{word} {n}\r\n" for n in range(40) for word in ("num", "nr\u2028"))
    )
    assert data.read_pairs(str(path))[0] == ("number 0", "num 0")
    dataset = data.pairs(
        str(path), vocab_size=300, max_seq_len=20, batch_size=8, validation_fraction=0.1, test_fraction=0.2
    )
    assert "56 training pairs, 8 validation, 16 test" in dataset.description
    sources = lambda batch: {tuple(row) for row in batch["inputs"][batch["mask"]]}
    assert len(set.union(*map(sources, dataset.splits["test"]))) == 8


def test_symbols_do_not_occur_in_texts(path):
    vocabulary = data.pairs(
        path, (1, 2), vocab_size=300, max_seq_len=20, batch_size=8, validation_fraction=0.1, test_fraction=0.2
    ).spec
    tokens = vocabulary.encode("say <end> now")
    assert vocabulary.symbol(END) not in tokens and vocabulary.decode(tokens) == "say <end> now"
    with pytest.raises(ValueError, match="`name` must be a symbol of this vocabulary of bytes, got <end>"):
        data.Vocabulary().symbol(END)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(columns=(1, 3)), "pairs.tsv, line 1 must have at least 4 columns separated by tabs, got 3"),
        (dict(columns=(1,)), "`columns` must be two indices of columns from 0, source and target"),
        (
            dict(test_fraction=0.95, validation_fraction=0.1),
            "`test_fraction` must be less than 1 - `validation_fraction`, 0.9, got 0.95",
        ),
        (dict(max_seq_len=1), "at least one pair must have at most 1 tokens, got none"),
        (dict(batch_size=0), "`batch_size` must be an integer of at least 1, got 0"),
        (dict(vocab_size=10), "at least 256, the number of bytes"),
        (dict(path="nowhere.tsv"), "cannot read nowhere.tsv"),
    ],
)
def test_invalid_arguments_are_rejected(path, change, message):
    arguments = dict(columns=(1, 2), vocab_size=300, max_seq_len=20, batch_size=8)
    fractions = dict(validation_fraction=0.1, test_fraction=0.2)
    with pytest.raises(ValueError, match=message):
        data.pairs(**{"path": path, **arguments, **fractions, **change})


def test_a_line_without_its_column_is_rejected(path, tmp_path):
    with open(path, "a") as file:
        file.write("only one\n")
    with pytest.raises(ValueError, match="line 102 must have at least 3 columns separated by tabs, got 1"):
        data.read_pairs(path, (1, 2))
    empty = tmp_path / "empty.tsv"
    empty.write_text("one\tuno\ntwo\t \n")
    with pytest.raises(ValueError, match="line 2 must have a source and a target, got 'two' and ''"):
        data.read_pairs(str(empty))
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(ValueError, match="broken.gz"):
        data.read_pairs(str(broken))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_any_line_end_and_byte_order_mark_is_read(tmp_path, end, encoding, pack):
    lines = ["a b\tc d", "é\u2028x\t日\x85\x0by\tmore\tcolumns", "", "e\tf\tmore"]
    expected = [("a b", "c d"), ("é\u2028x", "日\x85\x0by"), ("e", "f")]
    path = tmp_path / "pairs.tsv"
    content = (end.join(lines) + end).encode(encoding)
    path.write_bytes(pack(content + content))  # two concatenated files: the second mark is inside the text
    assert data.read_pairs(str(path)) == expected * 2
    path.write_bytes(pack(end.join(lines).encode(encoding)))  # without a line end at the end of the file
    assert data.read_pairs(str(path)) == expected


def test_mixed_line_ends_are_read(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"a\tb\nc\td\re\tf\r\n\xef\xbb\xbfg\th\r\ri\tj")
    assert data.read_pairs(str(path)) == [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i", "j")]


INVALID_FILES = {
    "latin": (b"a\tb\nse\xf1or\tx\n", "must be UTF-8, got 0xf1 as byte 6"),
    "UTF-16 without a mark": ("one\tuno\n".encode("utf-16-le"), "got a control character in every second byte"),
    "half a unit": (codecs.BOM_UTF16_LE + b"a", "must be UTF-16-LE, got 0x61 as byte 2"),
    "half a gzip": (gzip.compress(b"a\tb\n" * 99)[:-9], "got a damaged gzip file"),
    "commas": (b"a,b\nc,d\n", "line 1 must have at least 2 columns separated by tabs, got 1"),
    "empty": (b"", "must have at least one pair, got none"),
    "only a mark": (codecs.BOM_UTF8, "must have at least one pair, got none"),
    "only line ends": (b"\r\n\r\n", "must have at least one pair, got none"),
}


@pytest.mark.parametrize("content, message", INVALID_FILES.values(), ids=INVALID_FILES)
def test_invalid_files_are_rejected(tmp_path, content, message):
    (tmp_path / "pairs.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.pairs(str(tmp_path / "pairs.tsv"))
    with pytest.raises(ValueError, match="cannot read .*: Is a directory"):
        data.pairs(str(tmp_path))
