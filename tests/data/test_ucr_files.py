"""Files of the UCR archive: three formats, unequal lengths, several dimensions, and malformed lines."""

import numpy as np
import pytest

from jaxnets import data

LABELS = ["up", "down"]
SERIES = [[1.0, 2.5, -3e-2], [4.0, 5.0], [6.0, 7.0, 8.0]] * 8


def tsv(rows):
    return "\n".join(
        f"{LABELS[i % 2]}\t" + "\t".join(map(str, row + [np.nan] * (3 - len(row)))) for i, row in enumerate(rows)
    )


def ts(rows, dimensions=1):
    header = "#a comment\n@problemName Test\n@timeStamps false\n@classLabel true up down\n@data\n"
    lines = (":".join([",".join(map(str, row))] * dimensions) + f":{LABELS[i % 2]}" for i, row in enumerate(rows))
    return header + "\n".join(lines)


def arff(rows):
    header = "% a comment\n@relation Test\n@attribute att0 numeric\n@attribute target {up,down}\n\n@data\n"
    cells = lambda row: ",".join(map(str, row + ["?"] * (3 - len(row))))
    return header + "\n".join(f"{cells(row)},{LABELS[i % 2]}" for i, row in enumerate(rows))


def saved(folder, suffix, train, test):
    (folder / f"Test_TRAIN{suffix}").write_text(train + "\n")
    (folder / f"Test_TEST{suffix}").write_text(test + "\n")
    return str(folder / f"Test_TRAIN{suffix}")


@pytest.mark.parametrize(("suffix", "write"), [(".tsv", tsv), (".ts", ts), (".arff", arff)])
def test_formats_hold_the_same_series(suffix, write, tmp_path):
    path = saved(tmp_path, suffix, write(SERIES), write(SERIES[:5]))
    dataset = data.series(path, batch_size=4, standardize=False)
    assert dataset.spec.names == ("down", "up")
    batches = dataset.splits["test"]
    rows = [
        row
        for i in range(len(batches))
        for row in zip(*(batches[i][n] for n in ("inputs", "lengths", "targets", "mask")), strict=True)
    ]
    found = [(x[:length, 0].tolist(), int(target)) for x, length, target, mask in rows if mask]
    assert found == [(np.float32(row).tolist(), 1 - i % 2) for i, row in enumerate(SERIES[:5])]
    new = data.read_labeled(path.replace("_TRAIN", "_TEST"), dataset.inputs, dataset.spec)
    assert new["targets"].tolist() == [1, 0, 1, 0, 1] and new["inputs"].shape == (5, 3, 1)


def test_dimensions_are_features(tmp_path):
    dataset = data.series(saved(tmp_path, ".ts", ts(SERIES, 3), ts(SERIES[:2], 3)), batch_size=4)
    assert dataset.train[0]["inputs"].shape == (4, 3, 3)


BAD = {
    "no training file": ("a.tsv", "up\t1", "must be a training file such as ECG5000_TRAIN.tsv"),
    "no test file": ("a_TRAIN.tsv", "up\t1", "a_TEST.tsv"),
    "text": ("Test_TRAIN.tsv", "up\t1\tx", "line 1 must have finite numbers, got 'x' at step 1"),
    "infinity": ("Test_TRAIN.tsv", "up\t1\tinf", "line 1 must have finite numbers, got 'inf' at step 1"),
    "gap": ("Test_TRAIN.tsv", "up\t1\t?\t3", r"line 1 must have finite numbers, got '\?' at step 1"),
    "no value": ("Test_TRAIN.tsv", "up\t1\ndown\t?", "line 2 must have finite numbers, got no number"),
    "empty": ("Test_TRAIN.tsv", "", "must have at least one series, got none"),
    "no data": ("Test_TRAIN.ts", "@problemName a", "must have a line @data, got none"),
    "too large": ("Test_TRAIN.tsv", "up\t1\t1e999", "line 1 must have finite numbers, got '1e999' at step 1"),
    "underscore": ("Test_TRAIN.tsv", "up\t1_000", "line 1 must have finite numbers, got '1_000' at step 0"),
    "empty label": ("Test_TRAIN.tsv", "\t1\t2", "line 1 must have a label, got none"),
    "no colon": ("Test_TRAIN.ts", "@data\n1,2,3", "line 2 must have 1 to 16,384 dimensions, got 0"),
    "no label": ("Test_TRAIN.ts", "@data\n1,2:", "line 2 must have a label, got none"),
    "timestamps": ("Test_TRAIN.ts", "@timeStamps true\n@data\n(0,1):up", "line 1 must be @timeStamps false"),
    "no classes": ("Test_TRAIN.ts", "@classLabel false\n@data\n1,2", "line 1 must be @classLabel true, got false"),
    "dimensions": ("Test_TRAIN.ts", "@data\n1,2:3,4:up\n1,2:up", "line 3 must have 2 dimensions .* got 1"),
    "relational": ("Test_TRAIN.arff", "@attribute a relational\n@data", "line 1 must not be relational; use the .ts"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_files_are_rejected(name, tmp_path):
    file, content, message = BAD[name]
    (tmp_path / file).write_text(content + "\n")
    if file.startswith("Test"):
        (tmp_path / file.replace("_TRAIN", "_TEST")).write_text(content + "\n")
    with pytest.raises(ValueError, match=message):
        data.series(str(tmp_path / file))


def test_other_targets_are_rejected(tmp_path):
    path = saved(tmp_path, ".tsv", tsv(SERIES), tsv(SERIES))
    with pytest.raises(ValueError, match=r"`target_type` must be classes for .*, got 'quantities'"):
        data.series(path, target_type="quantities")
