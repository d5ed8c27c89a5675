"""Series with a label per step: windows, masks, statistics, new files, malformed labels, and spliced series."""

import datetime
import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.problems.chaos import DELAY, REMOVED, mackey_glass_values
from jaxnets.training import descriptions

START = datetime.datetime(2024, 1, 30)
SPLITS = (30, 10, 20)
ANOMALIES = (5, 6, 33, 45, 46, 59)


def rows(count=60, anomalies=ANOMALIES, series=""):
    return [
        f"{START + i * datetime.timedelta(hours=1)},{series}{i},{(i * i) % 17},{int(i in anomalies)}"
        for i in range(count)
    ]


@pytest.fixture
def table(tmp_path):
    """Writes lines below a header and returns the path."""

    def write(lines, header="time,load,heat,anomaly", name="series.csv"):
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        return str(tmp_path / name)

    return write


def read(path, **options):
    defaults = {"time": "time", "context": 4, "steps": 8, "splits": SPLITS, "batch_size": 2, "standardize": "none"}
    return data.labeled_steps(path, **{**defaults, **options})


def all_rows(batches):
    collected = [batches[i] for i in range(len(batches))]
    return {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}


def scored(found, channel=0):
    """Returns the values of the masked-in steps, in the order of the batches."""
    return found["inputs"][:, -found["mask"].shape[1] :, channel][found["mask"]].tolist()


@pytest.mark.parametrize(("steps", "batch_size"), [(1, 3), (8, 2), (10, 1), (13, 2)])
def test_each_step_is_scored_once_in_time_order(table, steps, batch_size):
    dataset = read(table(rows()), steps=steps, batch_size=batch_size)
    test = all_rows(dataset.splits["test"])
    assert scored(test) == list(range(40, 60))
    assert test["labels"][test["mask"]].tolist() == [t in ANOMALIES for t in range(40, 60)]
    assert scored(all_rows(dataset.splits["validation"])) == [t for t in range(30, 40) if t != 33]
    for window, mask in zip(test["inputs"][..., 0], test["mask"], strict=True):
        if mask.any():  # the context comes before, without a gap
            assert (np.diff(window[: 4 + mask.sum()]) == 1).all()
    train = [dataset.train[i] for i in range(-(-30 // batch_size))]
    assert {t for batch in train for t in scored(batch)} == set(range(4, 30)) - set(ANOMALIES)
    assert all(batch["observed"].all() for batch in train)


def test_first_steps_of_a_series_are_not_scored(table):
    dataset = read(table(rows()), splits=(30, 28, 2), context=20, steps=3)
    assert scored(all_rows(dataset.splits["test"])) == [58, 59]
    lines = [*(f"{line},a" for line in rows(60)), *(f"{line},b" for line in rows(34))]
    short = read(table(lines, "time,load,heat,anomaly,site"), series="site", context=20, steps=9, splits=(30, 3, 27))
    test = all_rows(short.splits["test"])
    assert scored(test) == [*range(33, 60), 33]  # the second series ends after its first scored step
    assert test["series"].tolist() == [0, 0, 0, 1]


def test_windows_do_not_cross_joints_of_series(table):
    second = [f"{START + i * datetime.timedelta(hours=1)},{1000 + i},{i % 7},{int(i == 45)},b" for i in range(50)]
    path = table([*(f"{line},a" for line in rows()), *second], "time,load,heat,anomaly,site")
    dataset = read(path, series="site", steps=7)
    test = all_rows(dataset.splits["test"])
    assert scored(test) == [*range(40, 60), *range(1040, 1050)]
    for window, mask in zip(test["inputs"][..., 0], test["mask"], strict=True):
        if mask.any():
            assert np.ptp(np.concatenate([window[:4], window[4:][mask]])) < 11
    assert not test["observed"][test["series"] == 1][1].all()  # beyond the end of the series


def test_statistics_come_from_normal_training_steps(table):
    lines = rows()
    lines[5] = lines[5].replace(",5,", ",1e6,")
    lines[50] = lines[50].replace(",50,", ",-1e6,")
    dataset = read(table(lines), standardize="train")
    normal = np.array([i for i in range(30) if i not in ANOMALIES], np.float64)
    known = dataset.spec.statistics
    np.testing.assert_allclose((known.origin + known.offset)[0], normal.mean(), rtol=1e-12)
    np.testing.assert_allclose(known.std[0], normal.std(), rtol=1e-12)


def test_missing_values_are_masked(table):
    lines = rows()
    lines[47] = f"{START + datetime.timedelta(hours=47)},47,,0"
    test = all_rows(read(table(lines)).splits["test"])
    assert scored(test) == [t for t in range(40, 60) if t != 47]
    assert np.isfinite(test["inputs"]).all() and not test["inputs"][~test["observed"]].any()


@pytest.mark.parametrize("labels", [("0", "1"), ("false", "true"), ("False", "TRUE"), ("0.0", "1.0")])
def test_forms_of_labels(table, labels):
    lines = [f"{line[:-1]}{labels[line[-1] == '1']}" for line in rows()]
    test = all_rows(read(table(lines)).splits["test"])
    assert np.flatnonzero(test["labels"][test["mask"]]).tolist() == [5, 6, 19]


@pytest.mark.parametrize("kind", [bool, np.int8, np.float64])
def test_npz_with_labels(tmp_path, kind):
    x = np.arange(2 * 60 * 2, dtype=np.float64).reshape(2, 60, 2)
    x[1, 50:] = np.nan
    labels = np.zeros((2, 60), kind)
    labels[:, 44] = 1
    np.savez(tmp_path / "a.npz", x=x, anomaly=labels)
    test = all_rows(read(str(tmp_path / "a.npz"), time="").splits["test"])
    assert test["mask"].sum() == 20 + 10
    assert scored({**test, "mask": test["mask"] & test["labels"]}) == [88, 208]
    np.savez(tmp_path / "b.npz", x=x[0], marks=labels[0])
    assert read(str(tmp_path / "b.npz"), time="", labels="marks").spec.size == 2


def test_description_of_a_run_is_restored(table):
    dataset = read(table(rows()), standardize="train")
    for kind, value in (("targets", dataset.spec), ("inputs", dataset.inputs)):
        described = json.loads(json.dumps(getattr(descriptions, f"describe_{kind}")(value)))
        assert getattr(descriptions, kind)(described) == value
        with pytest.raises(ValueError, match="must be positive integers"):
            getattr(descriptions, kind)({**described, "context": 0})


def test_new_files_need_no_labels(table):
    dataset = read(table(rows()), standardize="train", targets="load")
    unlabeled = [line.rpartition(",")[0] for line in rows(23)]
    path = table(unlabeled, "time,load,heat", "new.csv")
    raw = data.read_inputs(path, dataset.inputs)
    assert raw["inputs"].shape == (3, 12, 1)
    flat, times = raw["inputs"][:, 4:, 0].reshape(-1), raw["times"].reshape(-1)
    assert flat[:19].tolist() == list(range(4, 23)) and np.isnan(flat[19:]).all()
    assert times[:2].tolist() == ["2024-01-30 04:00:00", "2024-01-30 05:00:00"] and times[20] == "2024-01-31 00:00:00"
    batch = data.preprocess(dataset.inputs, raw, ("inputs", "observed"))
    assert batch["observed"][:, 4:].sum() == 19 and not batch["inputs"][~batch["observed"]].any()
    with pytest.raises(ValueError, match=r"new.csv.* must have a column 'anomaly', got time, load, heat"):
        data.read_labeled(path, dataset.inputs, dataset.spec)
    labeled = data.read_labeled(table(rows()), dataset.inputs, dataset.spec)
    assert np.flatnonzero(labeled["labels"][labeled["mask"]]).tolist() == [t - 4 for t in ANOMALIES]
    with pytest.raises(ValueError, match="the series must have at least 5 steps, 4 before the first score, got 4"):
        data.read_inputs(table(rows(4), name="few.csv"), dataset.inputs)


def edited(line, label):
    lines = rows()
    lines[line] = f"{lines[line].rpartition(',')[0]},{label}"
    return lines


BAD = {
    "text": (edited(2, "spike"), {}, "line 4, column 'anomaly' must be a label 0 or 1, or false or true, got 'spike'"),
    "two": (edited(7, "2"), {}, "line 9, column 'anomaly' must be a label 0 or 1, or false or true, got '2'"),
    "nan": (edited(7, "NaN"), {}, "line 9, column 'anomaly' must be a label 0 or 1, or false or true, got 'NaN'"),
    "empty": (edited(7, ""), {}, "line 9, column 'anomaly' must not be empty, got ''"),
    "no such column": (rows(), dict(labels="fault"), "must have a column 'fault', got time, load, heat, anomaly"),
    "no name": (rows(), dict(labels=""), "`labels` must be the name of a column, got ''"),
    "two roles": (rows(), dict(targets="load,anomaly"), "a column must have one role, got 'anomaly' in two"),
    "all anomalous": (rows(anomalies=range(30)), {}, "training part must have normal steps, got 30 anomalies"),
    "constant": (rows(anomalies=range(1, 30)), {}, "column 'load' must vary in the training part, got the constant 0"),
    "random split": (rows(), dict(split="random"), "`split` must be time, got random"),
    "scaler of all data": (rows(), dict(standardize="all"), "`standardize` must be train or none, got all"),
    "too short": (rows(9), dict(splits=(0.5, 0.2, 0.3)), r"at least 12 steps for a window of 4 \+ 8, got 4"),
    "no test part": (rows(), dict(splits=(40, 20, 0)), "the test part must have at least 1 step to score, got 0"),
    "steps": (rows(), dict(steps=0), "`steps` must be an integer of at least 1, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_leaks_and_malformed_files_are_rejected(name, table):
    lines, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read(table(lines), **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2.0] * 20), r"anomaly must be 0 or 1, got 2.0 at step 2"),
        (np.array([0, np.nan] * 30), r"anomaly must be 0 or 1, got nan at step 1"),
        (np.zeros(59), r"anomaly must be labels 0 or 1 of shape \(60,\), got float64 \(59,\)"),
        (np.array(["a"] * 60), r"anomaly must be labels 0 or 1 of shape \(60,\), got <U1 \(60,\)"),
        (None, r"must have the arrays anomaly, got x"),
    ],
)
def test_malformed_arrays_of_labels_are_rejected(tmp_path, labels, message):
    arrays = {} if labels is None else {"anomaly": labels}
    np.savez(tmp_path / "a.npz", x=np.arange(60.0), **arrays)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / "a.npz"), time="")


def test_joints_of_the_spliced_series_are_smooth_and_labeled():
    dataset = data.spliced_mackey_glass(steps=50, length=3000, anomalies=4, noise=0.0)
    test = all_rows(dataset.splits["test"])
    labels = test["labels"][test["mask"]]
    begins = np.flatnonzero(np.diff(labels.astype(int)) == 1) + 1
    assert len(labels) == 1200 and len(begins) == 4 and labels.sum() == 4 * DELAY
    assert not any(dataset.splits["validation"][i]["labels"].any() for i in range(len(dataset.splits["validation"])))
    known = dataset.spec.statistics
    values = np.array(scored(test)) * known.std[0] + (known.origin + known.offset)[0]
    whole = mackey_glass_values(3000 + 4 * REMOVED[1])
    position = 1800
    for begin, end in zip([0, *begins], [*begins, 1200], strict=True):  # between joints, the series is the original
        found = np.abs(np.lib.stride_tricks.sliding_window_view(whole, end - begin) - values[begin:end]).max(1)
        assert found.min() < 1e-6
        at = int(found.argmin())
        assert at == position if begin == 0 else REMOVED[0] <= at - position < REMOVED[1]
        position = at + end - begin
    curvature = np.abs(np.diff(values, 2))
    assert curvature[begins - 1].max() < 1.5 * curvature[: begins[0] - 2].max()
    again = data.spliced_mackey_glass(steps=50, length=3000, anomalies=4, noise=0.0)
    assert again.fingerprint == dataset.fingerprint
    with pytest.raises(ValueError, match="`length` must be at least 3,400 for 20 anomalies, got 3,000"):
        data.spliced_mackey_glass(length=3000)
