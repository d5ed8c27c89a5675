"""Predictions for files: equal to what evaluation measures, resumable, and malformed rows named by their place."""

import csv

import numpy as np
import pytest
from in_process import ready
from sklearn.datasets import load_diabetes

from jaxnets.training import compiled, loop, restore, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.prediction import files, labeled, predictor, rows
from jaxnets.training.prediction.parts import Parts

TABLE = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({
        "seed": 0,
        "task": "tasks.regression",
        "data": {"name": "data.table", "path": "", "target": "progression", "targets": "quantities", "batch": 32},
        "model": {"name": "modules.MLP", "hidden": (8,)},
        "optimizer": {"learning_rate": 3e-3},
        "train": {"steps": 20, "max_minutes": 0.0, "grad_accum_steps": 1, "evaluate_every": 20, "log_every": 20},
    })
"""


def write_csv(path, header, values):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *values])
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of series, of which rows end in NaN, and of a table; the new ones are not those of training."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    x = 1e5 + random.normal(size=(90, 7, 2))
    y = np.where(x[:, :, 0].mean(1) > 1e5, "high", "low")
    x[::3, 4:] = np.nan
    np.savez(folder / "rows.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    np.savez(folder / "new.npz", x=x[60:], y=y[60:])
    table = load_diabetes(scaled=False)
    values = np.column_stack([table.data, table.target]).tolist()
    header = [*table.feature_names, "progression"]
    write_csv(folder / "table.csv", header, values[:300])
    write_csv(folder / "new.csv", header, values[300:])
    write_csv(folder / "new_inputs.csv", header[:-1], [row[:-1] for row in values[300:]])
    (folder / "table.py").write_text(TABLE)
    return folder


@pytest.fixture(scope="module")
def run_of(folder, small_run):
    """``run_of(kind)``: a run of 20 steps, trained once."""
    small = ("--config.train.steps=20", "--config.train.evaluate_every=20", "--config.train.log_every=20")
    configs = {
        "classification": ("series", "rows.npz", ("--config.model.hidden_size=8",)),
        "sets": (
            "labeled_sets",
            "rows.npz",
            (
                "--config.model.embed_dim=8",
                "--config.model.num_encoder_blocks=1",
                "--config.model.num_inducing_points=2",
            ),
        ),
        "regression": (str(folder / "table.py"), "table.csv", ()),
    }

    def make(kind):
        if kind == "text":
            return restore.open_run(small_run)
        name, data, flags = configs[kind]
        if not (folder / kind).exists():
            settings, dataset, *built = ready(f"--config.data.path={folder / data}", *small, *flags, name=name)
            rundir.claim(folder / kind, settings, dataset)
            loop.train(settings, folder / kind, dataset, *built)
        return restore.open_run(folder / kind)

    return make


def predicted(run, path, output, *, endpoint="", begin=0, end=None, batch=64):
    used = predictor.of_run(run, endpoint)
    arrays = files.read(str(path), used)
    end = len(next(iter(arrays.values()))) if end is None else end
    parts = Parts(output, {"a": "test"})
    check = lambda found: files.check(output, found, used.present(predictor.unnamed(found)))
    found = rows.compute(used, arrays, begin, end, batch, parts, check)
    files.write(output, found, used.present(predictor.unnamed(found)), begin)
    parts.remove()
    return list(csv.reader(output.open(newline=""))) if output.suffix == ".csv" else found


def evaluated(run, path):
    dataset = labeled.dataset(run, str(path))
    names = list(run.task.evaluators)
    return compiled.evaluate_splits(run.task, run.variables, dataset, ["file"], names, 0)["file"]


@pytest.mark.parametrize("kind", ["classification", "sets"])
def test_the_classes_are_as_accurate_as_evaluation_says(run_of, folder, tmp_path, kind):
    run = run_of(kind)
    header, *found = predicted(run, folder / "new.npz", tmp_path / "found.csv")
    assert header[:2] == ["row", "class"]
    true = np.load(folder / "new.npz")["y"]
    measured = evaluated(run, folder / "new.npz")
    right = np.mean([row[1] == name for row, name in zip(found, true, strict=True)])
    np.testing.assert_allclose(right, measured["file/accuracy"], rtol=1e-6)
    nats = -np.log([float(row[header.index(f"p({name})")]) for row, name in zip(found, true, strict=True)])
    np.testing.assert_allclose(nats.mean(), measured["file/loss"], rtol=1e-5)


def test_quantities_are_in_the_units_of_the_file(run_of, folder, tmp_path):
    run = run_of("regression")
    header, *found = predicted(run, folder / "new_inputs.csv", tmp_path / "found.csv")
    assert header == ["row", "progression"]
    true = [float(row[-1]) for row in list(csv.reader((folder / "new.csv").open()))[1:]]
    error = np.abs(np.array([float(row[1]) for row in found]) - true).mean()
    np.testing.assert_allclose(error, evaluated(run, folder / "new.csv")["file/absolute_error"], rtol=1e-5)


def test_the_nats_of_a_text_are_those_of_evaluation(run_of, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(b"7 bottles on the wall, \xff one down, and a rest that fills no row: 6 left.\n" * 3)
    run = run_of("text")
    header, *found = predicted(run, text, tmp_path / "found.csv")
    assert header == ["row", "position", "byte", "nats"]
    assert len(found) == len(text.read_bytes()) - 1
    mean = np.mean([float(row[3]) for row in found])
    np.testing.assert_allclose(mean, evaluated(run, text)["file/loss"], rtol=1e-6)


def test_rows_keep_their_numbers_and_do_not_depend_on_the_batch(run_of, folder, tmp_path):
    run = run_of("classification")
    whole = predicted(run, folder / "new.npz", tmp_path / "whole.csv")
    part = predicted(run, folder / "new.npz", tmp_path / "part.csv", begin=7, end=18, batch=4)
    assert [row[0] for row in part[1:]] == [str(i) for i in range(7, 18)]
    for one, other in zip(part[1:], whole[8:19], strict=True):
        assert one[1] == other[1]
        np.testing.assert_allclose(np.array(one[2:], float), np.array(other[2:], float), rtol=1e-5)


def test_what_was_computed_is_not_computed_again(run_of, folder, tmp_path):
    used = predictor.of_run(run_of("classification"), "")
    arrays = files.read(str(folder / "new.npz"), used)
    calls, check = [], lambda found: None

    def call(given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(given)
        return used.call(given)

    with pytest.raises(KeyboardInterrupt):
        rows.compute(used._replace(call=call), arrays, 0, 30, 8, Parts(tmp_path / "a.npz", {"identity": 1}), check)
    calls.append(None)  # three: it is not stopped again
    found = rows.compute(used._replace(call=call), arrays, 0, 30, 8, Parts(tmp_path / "a.npz", {"identity": 1}), check)
    assert len(calls) == 5
    np.testing.assert_array_equal(found["outputs"], np.asarray(used.call(arrays)))
    rows.compute(used._replace(call=call), arrays, 0, 30, 8, Parts(tmp_path / "a.npz", {"identity": 2}), check)
    assert len(calls) == 9


def test_arrays_and_artifacts_are_written(run_of, folder, tmp_path):
    run = run_of("classification")
    predicted(run, folder / "new.npz", tmp_path / "found.npz")
    logits = np.load(tmp_path / "found.npz")["outputs"]
    assert logits.shape == (30, 2)
    predicted(run, folder / "new.npz", tmp_path / "found")
    np.testing.assert_array_equal(np.load(tmp_path / "found" / "outputs.npz")["outputs"], logits)
    assert (tmp_path / "found" / "samples" / "predictions.csv").is_file()
    with pytest.raises(UsageError, match=r"--output=.*found.txt must end with .csv or .npz"):
        predicted(run, folder / "new.npz", tmp_path / "found.txt")


def test_a_malformed_row_is_named(run_of, folder, tmp_path):
    x = np.load(folder / "new.npz")["x"]
    x[4, 1, 1] = np.inf
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(UsageError, match="--input: .*row 4 must be finite, got inf at position 1, 1"):
        predicted(run_of("classification"), tmp_path / "x.npz", tmp_path / "found.csv")
    lines = (folder / "new_inputs.csv").read_text().splitlines()
    (tmp_path / "x.csv").write_text("\n".join([*lines[:3], lines[3].replace(",", ",none,", 1).replace(",none", "", 0)]))
    with pytest.raises(UsageError, match="--input: .*line 4"):
        predicted(run_of("regression"), tmp_path / "x.csv", tmp_path / "found.csv")
    assert not (tmp_path / "found.csv").exists()


def test_an_endpoint_that_there_is_not_is_named(run_of):
    with pytest.raises(UsageError, match="--endpoint must be one that reads rows, predict, score, got 'scor'"):
        predictor.of_run(run_of("text"), "scor")


def test_the_program_resumes_and_refuses(run_program, run_of, folder, tmp_path):
    workdir = run_of("classification").workdir
    flags = (f"--workdir={workdir}", f"--input={folder / 'new.npz'}", f"--output={tmp_path / 'found.csv'}")
    done = run_program("predict", *flags, "--rows=20:")
    assert done.returncode == 0, done.stderr
    assert "10 rows of" in done.stderr
    assert (tmp_path / "found.csv").read_text().startswith("row,class,p(high),p(low)\n20,")
    assert not list(tmp_path.glob(".*"))
    done = run_program("predict", *flags, "--rows=20:200")
    assert (done.returncode, done.stderr) == (
        2,
        "predict: --rows must be within the 30 rows of the input, got '20:200'\n",
    )


@pytest.mark.slow
def test_an_export_predicts_the_same(run_program, run_of, folder, tmp_path):
    run = run_of("sets")
    done = run_program("export", f"--workdir={run.workdir}", f"--output={tmp_path / 'export'}")
    assert done.returncode == 0, done.stderr
    expected = predicted(run, folder / "new.npz", tmp_path / "run.csv")
    flags = (f"--workdir={tmp_path / 'export'}", f"--input={folder / 'new.npz'}", f"--output={tmp_path / 'found.csv'}")
    done = run_program("predict", *flags)
    assert done.returncode == 0, done.stderr
    found = list(csv.reader((tmp_path / "found.csv").open(newline="")))
    assert found[0] == expected[0]
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(np.array(one[2:], float), np.array(other[2:], float), atol=1e-6)
    done = run_program("predict", *flags, "--endpoint=score")
    assert (done.returncode, done.stderr) == (2, "predict: --endpoint must be predict, of an export, got 'score'\n")
