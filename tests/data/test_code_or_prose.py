"""Passages of code and documentation: balance, separate modules, and no comments or docstrings in code."""

import pytest

from jaxnets import data
from jaxnets.data.sources.texts import code_or_prose as sources
from jaxnets.data.sources.texts.code_or_prose import code_and_prose

MODULE = '''#!/usr/bin/env python
"""First line.

Second line.
"""
import os  # a comment
import sys
TEXT = """not code,
    not prose"""
# another comment
def f(x):
    """Shows

    >>> f(1)
    """
    "a string"
    return os.path.join(x,
                        sys.path[0])

class C:
    \'\'\'Third line.\'\'\'
    x = 1
'''


def test_code_is_without_comments_and_texts(tmp_path):
    (tmp_path / "a.py").write_text(MODULE)
    code, prose = code_and_prose(tmp_path / "a.py", 1)
    assert [line.strip() for line in code] == [
        "import sys",
        "def f(x):",
        "return os.path.join(x,",
        "sys.path[0])",
        "class C:",
        "x = 1",
    ]
    assert prose == ["First line.", "Second line.", "Third line."]
    assert code_and_prose(tmp_path / "a.py", 2)[1] == ["First line.\nSecond line."]


@pytest.mark.parametrize("content", [b"x = (", b"\xe9\xe9", b"x = 1\0", b"a" * 200_000, b""])
def test_files_that_cannot_be_parsed_have_no_passages(tmp_path, content):
    (tmp_path / "a.py").write_bytes(content)
    assert code_and_prose(tmp_path / "a.py", 1) == ([], [])


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Replaces the standard library by 30 modules whose texts have a word of their own."""
    for module in range(30):
        documented = "".join(f"    module{module} says {i}.\n" for i in range(2 * module))
        code = "".join(f"module{module} = {i}\n" for i in range(70))
        (tmp_path / f"m{module}.py").write_text(f'"""\n{documented}    """\n{code}')
    monkeypatch.setattr(sources, "standard_library", lambda: sorted(tmp_path.iterdir()))


def examples(dataset, name):
    """Returns the words and the class of each example of a split."""
    split, show = dataset.splits[name], dataset.spec.tokenizer.symbols
    batches = [split[0]] if name == "train" else [split[i] for i in range(len(split))]
    return [
        (show[row[0] - 1] if row[0] else "unknown", dataset.spec.names[target])
        for batch in batches
        for row, target, used in zip(batch["inputs"], batch["targets"], batch["mask"], strict=True)
        if used
    ]


def test_classes_are_balanced_and_modules_belong_to_one_split(modules):
    dataset = data.code_or_prose(lines=1, passages=600, batch_size=0, unit="word", seed=1)
    found = {name: examples(dataset, name) for name in dataset.splits}
    assert sum(map(len, found.values())) == 600
    for name, rows in found.items():
        assert 2 * sum(target == "code" for _, target in rows) == len(rows) >= 60, name
    assert {word for word, _ in found["test"]} | {word for word, _ in found["validation"]} == {"unknown"}
    for module in {word for word, _ in found["train"]}:
        kinds = [target for word, target in found["train"] if word == module]
        assert kinds.count("code") == kinds.count("prose") <= 20


def test_passages_depend_on_the_seed(modules):
    prints = [data.code_or_prose(passages=100, batch_size=8, seed=seed).fingerprint for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_the_standard_library_has_enough_passages():
    dataset = data.code_or_prose(passages=300, batch_size=8)
    assert dataset.spec.names == ("code", "prose") and 150 < dataset.train_rows < 270


@pytest.mark.parametrize("options", [{"passages": 10}, {"lines": 0}, {"test_fraction": 0.9}])
def test_invalid_arguments_are_rejected(options):
    with pytest.raises(ValueError, match="must be"):
        data.code_or_prose(**options)
