"""Windows of series: splits by time, views, covariates, missing values, timestamps, leaks and malformed files."""

import datetime
import json

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.formats.time_series import Columns, read_series
from jaxnets.data.sources.series.sliding import window_starts
from jaxnets.data.timestamps import Frequency, check_regular, frequency_of, parse, show
from jaxnets.training import descriptions

START = datetime.datetime(2024, 1, 30)


def rows(count=60, step=datetime.timedelta(hours=1), start=START):
    return [f"{start + i * step},{i},{100 + (i * i) % 17},{i % 24}" for i in range(count)]


@pytest.fixture
def table(tmp_path):
    """Writes lines below the header ``time,load,temperature,hour`` and returns the path."""

    def write(lines, header="time,load,temperature,hour", name="series.csv"):
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        return str(tmp_path / name)

    return write


def read(path, **options):
    defaults = {"time": "time", "horizon": 3, "context": 5, "batch_size": 4}
    return data.forecasting(path, **{**defaults, **options})


def all_rows(batches):
    collected = [batches[i] for i in range(len(batches))]
    return {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}


def test_windows_and_splits_equal_slices(table):
    dataset = read(table(rows()), splits=(40, 10, 10), standardize="none", targets="load")
    for split, (begin, end) in {"validation": (40, 50), "test": (50, 60)}.items():
        found = all_rows(dataset.splits[split])
        count = end - begin - 3 + 1
        valid = found["mask"].any((1, 2))
        assert valid.sum() == count
        starts = begin - 5 + np.arange(count)
        assert found["inputs"][valid, :, 0].tolist() == [list(range(s, s + 5)) for s in starts]
        assert found["targets"][valid, :, 0].tolist() == [list(range(s + 5, s + 8)) for s in starts]
    train = [dataset.train[i]["inputs"][:, 0, 0] for i in range(200)]
    assert set(np.concatenate(train)) == set(range(40 - 5 - 3 + 1))


@pytest.mark.parametrize(("horizon", "count"), [(96, 2785), (192, 2689), (336, 2545), (720, 2161)])
def test_numbers_of_windows_of_the_published_protocol(horizon, count):
    """ETTh1: 8640, 2880 and 2880 hours; the look-back of 336 reaches into the part before."""
    bounds = np.array([8640]), np.array([11520])
    assert len(window_starts(np.array([0, 17420]), *bounds, 336, horizon, 1)) == count
    assert len(window_starts(np.array([0, 17420]), np.array([0]), np.array([8640]), 336, horizon, 1)) == 8305 - horizon


def test_standardization_uses_the_training_part_only(table):
    path = table([*rows(40), *(f"{START + datetime.timedelta(hours=i)},{10_000},{0},{0}" for i in range(40, 60))])
    dataset = read(path, splits=(40, 10, 10), targets="load")
    mean, std = dataset.spec.statistics.origin + dataset.spec.statistics.offset, dataset.spec.statistics.std
    np.testing.assert_allclose((mean[0], std[0]), (np.mean(range(40)), np.std(range(40))))
    inputs = all_rows(dataset.splits["test"])["targets"]
    np.testing.assert_allclose(inputs.max(), (10_000 - mean[0]) / std[0], rtol=1e-6)
    naive = np.abs(np.diff(np.arange(40))).mean() / std[0]
    np.testing.assert_allclose(dataset.spec.naive_error, [naive], rtol=1e-6)


def test_missing_values_are_masked(table):
    lines = rows()
    lines[20] = lines[20].replace(",20,", ",,")
    lines[45] = lines[45].replace(",45,", ",NA,")
    dataset = read(table(lines), splits=(40, 10, 10), targets="load")
    found = all_rows(dataset.splits["validation"])
    valid = found["mask"].any((1, 2))
    steps = np.arange(40, 48)[:, None] + np.arange(3)
    assert (found["mask"][valid, :, 0] == (steps != 45)).all()
    assert (found["observed"][valid, :, 0] == (np.arange(35, 43)[:, None] + np.arange(5) != 45)).all()
    assert found["targets"][valid][~found["mask"][valid]].tolist() == [0.0] * 3
    known = [i for i in range(40) if i != 20]
    np.testing.assert_allclose(dataset.spec.statistics.std, np.std(known))


def test_covariates_have_their_own_windows(table):
    dataset = read(
        table(rows()), splits=(40, 10, 10), standardize="none", targets="load", past="temperature", future="hour"
    )
    batch = dataset.splits["test"][0]
    assert batch["past"].shape[1:] == (5, 1) and batch["future"].shape[1:] == (8, 1)
    assert batch["future"][0, :, 0].tolist() == [(45 + i) % 24 for i in range(8)]
    assert batch["past"][0, :, 0].tolist() == [100 + (i * i) % 17 for i in range(45, 50)]


def test_many_series_are_split_separately(table):
    lines = []
    for i, (name, count) in enumerate({"a": 30, "b": 50, "c": 6}.items()):
        lines += [f"{START + datetime.timedelta(days=j)},{name},{100 * i + j},{i}" for j in range(count)]
    order = np.random.default_rng(0).permutation(len(lines))
    lines = [lines[i] for i in sorted(order, key=lambda i: lines[i].split(",")[0])]  # interleaved, sorted by time
    path = table(lines, "time,shop,sales,size")
    dataset = read(path, series="shop", static="size", splits=(0.6, 0.2, 0.2), standardize="none")
    assert "3 series of 1 channel" in dataset.description and "1 day" in dataset.description
    found = all_rows(dataset.splits["test"])
    valid = found["mask"].any((1, 2))
    assert found["targets"][valid, 0, 0].tolist() == [24, 25, 26, 27, *(140 + i for i in range(8))]
    assert found["static"][valid].tolist() == [[0]] * 4 + [[1]] * 8


def test_windows_are_views(monkeypatch):
    """A million windows of 100 steps share the memory of the series."""
    import tracemalloc

    from jaxnets.data.sources.series.sliding import Gathered

    values = np.zeros((1_000_100, 1), np.float32)
    tracemalloc.start()
    starts = window_starts(np.array([0, len(values)]), np.array([0]), np.array([len(values)]), 90, 10, 1)
    windows = Gathered(values, starts, 0, 100)
    batch = windows[np.arange(64)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(windows) == 1_000_001 and batch.shape == (64, 100, 1)
    assert peak < 1e6
    batch[:] = 1
    assert not values.any()


def test_npz_of_many_series(tmp_path):
    x = np.arange(2 * 40 * 2, dtype=np.float64).reshape(2, 40, 2)
    x[1, 30:] = np.nan
    time = np.datetime64("2024-01-31", "s") + np.arange(40) * np.timedelta64(3600, "s")
    np.savez(tmp_path / "a.npz", x=x, time=time, names=np.array(["p", "q"]))
    found = read_series(str(tmp_path / "a.npz"), Columns())
    assert found.offsets.tolist() == [0, 40, 70] and found.columns.targets == ("p", "q")
    assert str(found.frequency) == "1 hour"
    dataset = read(str(tmp_path / "a.npz"), time="")
    assert dataset.train[0]["inputs"].shape == (4, 5, 2)


def test_description_of_a_run_is_restored(table):
    dataset = read(table(rows()), targets="load", past="temperature", future="hour", season=24)
    for kind, value in (("targets", dataset.spec), ("inputs", dataset.inputs)):
        described = json.loads(json.dumps(getattr(descriptions, f"describe_{kind}")(value)))
        assert getattr(descriptions, kind)(described) == value
        with pytest.raises(ValueError, match="must be positive integers"):
            getattr(descriptions, kind)({**described, "horizon": 0})


def test_new_rows_are_read_beyond_the_end(table):
    dataset = read(table(rows()), targets="load", past="temperature", future="hour")
    ahead = [f"{START + datetime.timedelta(hours=i)},,,{i % 24}" for i in range(60, 63)]
    path = table([*rows(), *ahead], name="new.csv")
    raw = data.read_inputs(path, dataset.inputs)
    assert raw["inputs"][0, :, 0].tolist() == [55, 56, 57, 58, 59]
    assert raw["times"].tolist() == [["2024-02-01 12:00:00", "2024-02-01 13:00:00", "2024-02-01 14:00:00"]]
    batch = data.preprocess(dataset.inputs, raw)
    known = dataset.spec.statistics
    expected = (np.arange(55, 60) - (known.origin + known.offset)[0]) / known.std[0]
    np.testing.assert_allclose(batch["inputs"][0, :, 0], expected, rtol=1e-6)
    assert batch["future"].shape == (1, 8, 1) and batch["past"].shape == (1, 5, 1)
    labeled = data.read_labeled(table(rows(), name="all.csv"), dataset.inputs, dataset.spec)
    assert labeled["inputs"].shape == (53, 5, 1) and labeled["targets"].shape == (53, 3, 1)
    with pytest.raises(ValueError, match=r"'hour' must be known for 3 steps .* got no value for 2024-02-01 12:00:00"):
        data.read_inputs(table(rows(), name="short.csv"), dataset.inputs)
    with pytest.raises(ValueError, match="the series must have at least 5 steps, got 4"):
        data.read_inputs(table(rows(4), name="few.csv"), dataset.inputs)
    daily = table(rows(20, datetime.timedelta(days=1)), name="daily.csv")
    with pytest.raises(ValueError, match="line 3, column 'time' must be 2024-01-30 01:00:00, 1 hour after"):
        data.read_inputs(daily, dataset.inputs)


def edited(line, text):
    lines = rows()
    lines[line] = text
    return lines


GAP = [*rows(30), *rows(30, start=START + datetime.timedelta(hours=31))]
BAD = {
    "time zone": (
        edited(2, "2024-01-30 02:00+01:00,2,3,4"),
        {},
        "line 4, column 'time' must be a time such as .* without a time zone",
    ),
    "random split": (rows(), dict(split="random"), "`split` must be time, got random: neighboring windows share"),
    "scaler of all data": (rows(), dict(standardize="all"), "`standardize` must be train or none, got all: the mean"),
    "target as covariate": (
        rows(),
        dict(targets="load", past="load"),
        "`past` must not contain the target 'load': as a covariate it would reveal the values to forecast",
    ),
    "future covariate unknown": (
        edited(30, f"{START + datetime.timedelta(hours=30)},30,1,"),
        dict(targets="load", future="hour"),
        "line 32, column 'hour' must be known for every step, because a future covariate is read at the time",
    ),
    "covariate twice": (
        rows(),
        dict(targets="load", past="hour", future="hour"),
        "must have one role, got 'hour' in two",
    ),
    "unknown covariate": (rows(), dict(past="wind"), "must have a column 'wind', got time, load, temperature, hour"),
    "unsorted": (rows()[::-1], {}, r"line 3, column 'time' must be sorted by time, got 2024-02-01 10:00:00 after"),
    "repeated": (edited(7, rows()[6]), {}, r"line 9, column 'time' must be later .* got 2024-01-30 06:00:00 twice"),
    "gap": (GAP, {}, r"line 32, column 'time' must be 2024-01-31 06:00:00, 1 hour after .*got .*07.*fill the gap"),
    "not a time": (edited(2, "noon,2,3,4"), {}, "line 4, column 'time' must be a time such as .* got 'noon'"),
    "not a number": (
        edited(2, f"{START + datetime.timedelta(hours=2)},x,3,4"),
        dict(targets="load"),
        "line 4, column 'load' must be a number, got 'x'",
    ),
    "constant": (
        [f"{START + datetime.timedelta(hours=i)},7,{i},{i}" for i in range(60)],
        {},
        "column 'load' must vary in the training part, got the constant 7",
    ),
    "column without values": (
        [f"{START + datetime.timedelta(hours=i)},,{i},{i}" for i in range(60)],
        {},
        "column 'load' must have values, got none",
    ),
    "too short": (rows(9), {}, r"the training part must have at least 8 steps for a window of 5 \+ 3 steps, got 6"),
    "horizon too long": (rows(), dict(horizon=13), "the validation part must have at least 13 steps .* got 6"),
    "text in a column": (rows(), dict(time=""), "got text in 'time'; name the column of timestamps with `time`"),
    "splits": (rows(), dict(splits=(40, 30, 10)), "must have 80 steps for `splits`, got 60"),
    "fractions": (rows(), dict(splits=(0.5, 0.6, 0.1)), "`splits` must be fractions with a sum of at most 1"),
    "horizon": (rows(), dict(horizon=0), "`horizon` must be an integer of at least 1, got 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_leaks_and_malformed_files_are_rejected(name, table):
    lines, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read(table(lines), **options)


def test_static_covariates_must_be_constant(table):
    lines = [f"{i},a,{i % 7},{i % 2}" for i in range(30)]
    with pytest.raises(ValueError, match="line 3, column 'size' must be constant in each series, got 1 after 0"):
        read(table(lines, "time,shop,sales,size"), series="shop", static="size")


def seconds(*texts):
    return np.array([parse(text)[0] for text in texts])


@pytest.mark.parametrize(
    ("times", "frequency", "ahead"),
    [
        (("2024-01-01", "2024-02-01", "2024-03-01"), Frequency(1, "M"), ["2024-04-01", "2025-01-01"]),
        (("2023-12-31", "2024-01-31", "2024-02-29"), Frequency(1, "E"), ["2024-03-31", "2024-12-31"]),
        (("2023-12-30", "2024-01-30", "2024-02-29"), Frequency(1, "M"), ["2024-03-30", "2024-12-30"]),
        (("2023-09-30", "2023-12-31", "2024-03-31"), Frequency(3, "E"), ["2024-06-30", "2026-09-30"]),
        (("2024-01-01", "2024-01-08"), Frequency(604800, "s"), ["2024-01-15", "2024-03-11"]),
    ],
)
def test_calendar_steps_are_recognized_and_continued(times, frequency, ahead):
    known = seconds(*times)
    assert frequency_of(known, calendar=True) == frequency
    check_regular(known, frequency, str)
    after = frequency.after(int(known[0]), len(times) + np.array([0, 9 if frequency.unit != "s" else 8]))
    assert [show(int(time), frequency.unit) for time in after] == ahead


def test_a_missing_month_is_reported_where_it_is(table):
    months = [f"2024-{month:02}-01,{month}" for month in range(1, 13) if month != 5]
    with pytest.raises(ValueError, match=r"line 6, column 'time' must be 2024-05-01, 1 month after .* got 2024-06-01"):
        read(table(months, "time,sales"))


def test_new_files_have_the_frequency_of_the_training_data(table):
    months = [f"{2010 + i // 12}-{i % 12 + 1:02}-01,{i % 12}" for i in range(100)]
    dataset = read(table(months, "time,sales"))
    found = data.read_inputs(
        table([f"2024-{month:02}-01,{month}" for month in (7, 8, 9, 10, 11)], "time,sales", "b.csv"), dataset.inputs
    )
    assert found["times"].tolist() == [["2024-12-01", "2025-01-01", "2025-02-01"]]


def test_npz_with_future_covariates_is_predicted(tmp_path):
    x, hours = np.arange(60.0), np.arange(63.0)[:, None] % 24
    np.savez(tmp_path / "a.npz", x=x, future=hours[:60])
    np.savez(tmp_path / "b.npz", x=np.append(x, [np.nan] * 3), future=hours)
    dataset = read(str(tmp_path / "a.npz"), time="")
    found = data.read_inputs(str(tmp_path / "b.npz"), dataset.inputs)
    assert found["inputs"][0, :, 0].tolist() == [55, 56, 57, 58, 59]
    assert found["future"][0, :, 0].tolist() == [(55 + i) % 24 for i in range(8)]
    with pytest.raises(ValueError, match="must be known for 3 steps after the last target, got no value for 60"):
        data.read_inputs(str(tmp_path / "a.npz"), dataset.inputs)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016-07-01 00:00:00", (1467331200, True)),
        ("20160701", (1467331200, True)),
        ("17", (17, False)),
        ("20161399", (20161399, False)),
        ("2016-07-01T02:00+02:00", None),
        ("2016-07-01 00:00:00.5", None),
        ("1_000", None),
        ("9" * 30, None),
        ("noon", None),
        ("", None),
    ],
)
def test_times_are_parsed(text, time):
    assert parse(text) == time


def test_mackey_glass_satisfies_its_equation():
    values = data.sources.problems.chaos.mackey_glass_values(600)
    assert values.shape == (600,) and 0.2 < values.min() < values.max() < 1.4
    slope = (values[2:] - values[:-2])[16:] / 2
    x, delayed = values[17:-1], values[:-18]
    expected = 0.2 * delayed / (1 + delayed**10) - 0.1 * x
    assert np.abs(slope - expected).max() < 0.01
