"""Passages of books: chapters, blocks, and splits without a chapter in common."""

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.texts.passages import chapters_of


def book(name, chapters, heading="CHAPTER {}", words=40):
    """A text whose words contain the number of their chapter."""
    return "".join(
        f"{heading.format(i)}\n\n" + " ".join([f"{name}{i}"] * (words + i % 3)) + "\n\n" for i in range(1, chapters + 1)
    )


@pytest.fixture
def root(tmp_path):
    for author in ("austen", "darwin"):
        (tmp_path / author).mkdir()
        (tmp_path / author / "one.txt").write_text("Title\n\n" + book(author[0], 12))
        (tmp_path / author / "two.txt").write_text(" ".join(f"{author}{i // 100}" for i in range(3000)))
    return tmp_path


def test_texts_are_cut_at_headings():
    text = "Preface one two\nPart of it\npart I\nCHAPTER I. The Beginning\na b c d e\n"
    text += "CHAPTER II\nf g\nh i j k\nChapter III\nl m n"
    assert [chapter.passages for chapter in chapters_of(text, "x", 2)] == [
        ["Preface one", "two\nPart", "of it", "part I"],
        ["a b", "c d"],
        ["f g", "h i", "j k"],
        ["l m"],
    ]
    roman = "I.\na b\nII\nI am c\nXIV.\nd e f\n"
    assert [chapter.passages for chapter in chapters_of(roman, "x", 2)] == [["a b"], ["I am"], ["d e"]]


def test_texts_without_chapters_are_cut_into_blocks():
    found = chapters_of("CHAPTER I\n" + "word " * 100, "x", 4)
    assert [len(chapter.passages) for chapter in found] == [10, 10, 5]


def test_a_chapter_belongs_to_one_split(root):
    dataset = data.passages(str(root), words=10, batch_size=0, min_count=1, validation_fraction=0.2, test_fraction=0.2)
    assert dataset.spec.names == ("austen", "darwin")
    show, chapters = dataset.spec.tokenizer.symbols, {}
    for name, split in dataset.splits.items():
        batches = [split[0]] if name == "train" else [split[i] for i in range(len(split))]
        tokens = np.concatenate([batch["inputs"][batch["mask"]].ravel() for batch in batches])
        chapters[name] = {show[token - 1] for token in tokens[tokens > 0]}
        count = sum(int(batch["mask"].sum()) for batch in batches)
        assert 0.15 * 696 < count < 0.75 * 696, name
    held_out = chapters["validation"] | chapters["test"]
    known = {word for word in held_out if len(word) < 4}  # of a chapter: other words are those of blocks
    assert not known and len({word for word in chapters["train"] if len(word) < 4}) < 24
    assert "84 chapters or blocks" in dataset.description


def test_splits_depend_on_the_seed(root):
    prints = [data.passages(str(root), words=10, seed=seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_invalid_folders_are_rejected(root):
    with pytest.raises(ValueError, match="must have a folder of text files for each class"):
        data.passages(str(root / "austen"))
    with pytest.raises(ValueError, match="class austen must have at least 3 chapters or blocks with a passage, got 0"):
        data.passages(str(root), words=100_000)
    (root / "darwin" / "two.txt").write_bytes(b"\xe9\xe9")
    with pytest.raises(ValueError, match="two.txt must be UTF-8, got 0xe9 as byte 0"):
        data.passages(str(root))
    with pytest.raises(ValueError, match="`words` must be an integer of at least 1"):
        data.passages(str(root), words=0)
    for file in (root / "darwin").iterdir():
        file.unlink()
    (root / "darwin").rmdir()
    with pytest.raises(ValueError, match="must have two or more classes, got only austen"):
        data.passages(str(root))
