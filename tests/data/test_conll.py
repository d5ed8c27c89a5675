"""CoNLL and CoNLL-U files: columns, comments, skipped rows, encodings and wrong files."""

import gzip

import pytest

from jaxnets.data import read_conll
from jaxnets.data.formats import conll

CONLL = """-DOCSTART- -X- O O

U.N. NNP I-NP I-ORG
official NN I-NP O

# a comment
Peter NNP I-NP I-PER
"""

CONLLU = """# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\tE\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
4.1\tgran\tgran\tADJ\tA\t_\t_\t_\t_\t_
5\tmar\tmar\tNOUN\tN\t_\t1\tobl\t_\t_

1\t#\t#\tSYM\tS\t_\t0\troot\t_\t_
"""


def read(tmp_path, content, *arguments, name="a.conll", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_conll(str(path), *arguments, **options)


def test_columns_documents_and_comments(tmp_path):
    found = read(tmp_path, CONLL)
    assert found.words == [["U.N.", "official"], ["Peter"]]
    assert found.tags == [["I-ORG", "O"], ["I-PER"]] and found.lines == [3, 7]
    assert read(tmp_path, CONLL, "1").tags == [["NNP", "NN"], ["NNP"]]
    assert read(tmp_path, CONLL, "-2").tags[0] == ["I-NP", "I-NP"]
    assert read(tmp_path, CONLL, tagged=False).tags == []
    assert read(tmp_path, "one\ntwo\n\nthree", tagged=False).words == [["one", "two"], ["three"]]


def test_conllu_has_names_of_columns_and_skips_ranges_and_empty_nodes(tmp_path):
    found = read(tmp_path, CONLLU)
    assert found.words == [["vamos", "nos", "a", "el", "mar"], ["#"]]
    assert found.tags == [["VERB", "PRON", "ADP", "DET", "NOUN"], ["SYM"]] and found.lines == [4, 12]
    assert read(tmp_path, CONLLU, "xpos").tags[0] == ["V", "P", "E", None, "N"]  # no tag
    assert read(tmp_path, CONLLU, "7").tags[0][0] == "root"


def test_hash_signs_may_be_words(tmp_path):
    found = read(tmp_path, "# id 1 of the file\n# O\nx O\n# O\n\n#x\tO\n".replace("\tO", " O"))
    assert found.words == [["#", "x", "#"], ["#x"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_line_ends_and_encodings(tmp_path, end, encoding):
    text = f"é\u00a0x\tA{end}\u2028\tB{end}\t{end}z\tA"  # a no-break space, a line separator, no final line end
    expected = [["é\u00a0x", "\u2028"], ["z"]]
    assert read(tmp_path, text.encode(encoding)).words == expected
    assert read(tmp_path, gzip.compress(text.encode(encoding)), name="a.gz").words == expected


@pytest.mark.parametrize(
    "content, arguments, message",
    [
        ("a O\nb\n", (), "line 2 must have 2 columns separated by spaces, got 1"),
        ("a\tO\n\nb\tO\tO\n", (), "line 3 must have 2 columns separated by tabs, got 3"),
        ("a O\n# comment within a sentence\n", (), "line 2 must have 2 columns separated by spaces, got 5"),
        ("a\n", (), "line 1 must have a word and a tag, separated by a tab or by spaces, got 1 column"),
        ("a O\n", ("5",), "line 1 must have the column 5, got 2 columns"),
        ("a O\n", ("-3",), "line 1 must have the column -3, got 2 columns"),
        ("a O\n", ("upos",), "`column` must be the index of a column, or a name such as upos for CoNLL-U, got 'upos'"),
        ("\n# only a comment\n\n", (), "must have at least one word, got none"),
        ("", (), "must have at least one word, got none"),
        ("\tO\n", (), "line 1: a word must have 1 to 1,000 characters, got 0"),
        ("x\t\n", (), "line 1: a tag must have 1 to 1,000 characters, got 0"),
        ("x" * 1001 + " O\n", (), "line 1: a word must have 1 to 1,000 characters, got 1,001"),
        (CONLLU.replace("5\tmar", "five\tmar"), (), "line 10 must begin with the number of a word, got 'five'"),
        (CONLLU.replace("\tobl\t_", "\tobl"), (), "line 10 must have 10 columns separated by tabs, got 9"),
        (b"\xff\xe9 O\n", (), "must be UTF-8, got 0xff as byte 0"),
    ],
)
def test_wrong_files(tmp_path, content, arguments, message):
    with pytest.raises(ValueError) as error:
        read(tmp_path, content, *arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(conll, "MAX_WORDS", 3)
    monkeypatch.setattr(conll, "MAX_LINE", 50)
    with pytest.raises(ValueError, match="must have at most 3 words, got more"):
        read(tmp_path, "a O\n" * 4)
    with pytest.raises(ValueError, match="line 2 must have at most 50 characters, got 60"):
        read(tmp_path, "a O\n" + "b" * 58 + " O\n")
    monkeypatch.setattr(conll, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="must have at most 10 bytes of text"):
        read(tmp_path, "a O\n" * 4)
