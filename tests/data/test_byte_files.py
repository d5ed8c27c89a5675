"""Binary files by class: first bytes, and folders of hostile files."""

import os

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.texts.byte_files import contents


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for kind, high in (("elf", 256), ("text", 128)):
        folder = tmp_path / "root" / kind
        folder.mkdir(parents=True)
        for i in range(20):
            (folder / f"{i}.bin").write_bytes(random.integers(0, high, 10 * i, np.uint8).tobytes())
    return tmp_path / "root"


def test_files_are_their_contents(root):
    dataset = data.byte_files(str(root), length=64, batch_size=4)
    assert dataset.spec == data.TextClasses(("elf", "text"), data.Tokenizer("byte"))
    assert "27 training files of at most 64 bytes" in dataset.description
    assert dataset.inputs.column == "" and dataset.inputs.max_length == 64
    known = {file.read_bytes()[:64] for file in root.rglob("*.bin")}
    assert b"" in known
    for step in range(14):
        batch = dataset.train[step]
        assert batch["inputs"].shape in {(4, 8), (4, 16), (4, 32), (4, 64)} and batch["inputs"].dtype == np.int32
        for tokens, length in zip(batch["inputs"], batch["lengths"], strict=True):
            assert bytes(tokens[:length].tolist()) in known
            assert not tokens[length:].any()


def test_files_with_the_same_first_bytes_are_in_one_split(root):
    for i in range(10, 20):
        content = (root / "elf" / f"{i}.bin").read_bytes()
        for copy in range(3):
            (root / ("elf" if copy else "text") / f"{i}_{copy}.bin").write_bytes(content[:32] + bytes([copy]))
    dataset = data.byte_files(str(root), length=32, batch_size=1)
    count = {"train": dataset.train_rows, **{name: len(split) for name, split in dataset.held_out.items()}}
    assert sum(count.values()) == 70
    rows = {
        name: {tuple(dataset.splits[name][i]["inputs"][0][: dataset.splits[name][i]["lengths"][0]]) for i in range(n)}
        for name, n in count.items()
    }
    assert not rows["train"] & rows["validation"] and not rows["train"] & rows["test"]
    assert not rows["validation"] & rows["test"]
    assert "also training texts" not in dataset.description


def test_hostile_entries_are_skipped_and_huge_files_read_in_part(root):
    os.mkfifo(root / "elf" / "pipe")
    (root / "elf" / "zero").symlink_to("/dev/zero")
    (root / "elf" / "broken").symlink_to(root / "missing")
    (root / "elf" / "loop").symlink_to(root)
    (root / "elf" / ".hidden").write_bytes(b"hidden")
    with open(root / "text" / "huge", "wb") as file:
        file.truncate(2**40)  # sparse
    dataset = data.byte_files(str(root), length=16, batch_size=4)
    for skipped in ("1 file skipped: 1 hidden", "1 broken link", "1 linked folder", "2 special files"):
        assert skipped in dataset.description
    assert sum(int(split[i]["mask"].sum()) for split in dataset.held_out.values() for i in range(len(split))) == 12


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "."])
def test_devices_pipes_and_folders_are_refused(tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(target if target.startswith("/") else tmp_path / target)
    with pytest.raises(ValueError, match="cannot read|must be a regular file"):
        contents([tmp_path / "link"], 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "`length` must be an integer of at least 1"),
        ({"test_fraction": 1.5}, "`test_fraction` must be"),
        ({"path": "missing"}, "no folder at missing"),
    ],
)
def test_invalid_arguments_are_rejected(root, options, message):
    with pytest.raises(ValueError, match=message):
        data.byte_files(**{"path": str(root), **options})


def test_one_class_is_rejected(root):
    with pytest.raises(ValueError, match="must have folders for two or more classes"):
        data.byte_files(str(root / "elf"))
