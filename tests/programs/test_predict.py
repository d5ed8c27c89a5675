"""Predictions for files: agreement with evaluation, resumption, output formats and errors for malformed rows."""

import csv

import numpy as np
import pytest
from in_process import ready
from sklearn.datasets import load_diabetes

from jaxnets.training import compiled, loop, restore, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.prediction import files, labeled, predictor, rows
from jaxnets.training.prediction.saved_batches import SavedBatches

TABLE = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({
        "seed": 0,
        "task": "tasks.regression",
        "data": {
            "name": "data.table",
            "path": "",
            "target": "progression",
            "target_type": "quantities",
            "batch_size": 32,
        },
        "model": {"name": "modules.MLP", "hidden_sizes": (8,)},
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
    """A folder with files of padded series and of a table, for training and for prediction."""
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
    """``run_of(kind)`` returns a run of 20 steps, which is trained once."""
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


def predicted(run, path, output, *, endpoint="", begin=0, end=None, batch_size=64):
    used = predictor.of_run(run, endpoint)
    arrays = files.read(str(path), used)
    end = len(next(iter(arrays.values()))) if end is None else end
    saved = SavedBatches(output, {"a": "test"})
    check = lambda found: files.check(output, found, used.present(predictor.unnamed(found)))
    found = rows.compute(used, arrays, begin, end, batch_size, saved, check)
    files.write(output, found, used.present(predictor.unnamed(found)), begin)
    saved.remove()
    return list(csv.reader(output.open(newline=""))) if output.suffix == ".csv" else found


def evaluated(run, path):
    dataset = labeled.dataset(run, str(path))
    names = list(run.task.evaluators)
    return compiled.evaluate_splits(run.task, run.variables, dataset, ["file"], names, 0)["file"]


@pytest.mark.parametrize("kind", ["classification", "sets"])
def test_predicted_classes_agree_with_evaluation(run_of, folder, tmp_path, kind):
    run = run_of(kind)
    header, *found = predicted(run, folder / "new.npz", tmp_path / "found.csv")
    assert header[:2] == ["row", "class"]
    true = np.load(folder / "new.npz")["y"]
    measured = evaluated(run, folder / "new.npz")
    accuracy = np.mean([row[1] == name for row, name in zip(found, true, strict=True)])
    np.testing.assert_allclose(accuracy, measured["file/accuracy"], rtol=1e-6)
    nats = -np.log([float(row[header.index(f"p({name})")]) for row, name in zip(found, true, strict=True)])
    np.testing.assert_allclose(nats.mean(), measured["file/loss"], rtol=1e-5)


def test_predicted_quantities_are_in_the_units_of_the_file(run_of, folder, tmp_path):
    run = run_of("regression")
    header, *found = predicted(run, folder / "new_inputs.csv", tmp_path / "found.csv")
    assert header == ["row", "progression"]
    true = [float(row[-1]) for row in list(csv.reader((folder / "new.csv").open()))[1:]]
    error = np.abs(np.array([float(row[1]) for row in found]) - true).mean()
    np.testing.assert_allclose(error, evaluated(run, folder / "new.csv")["file/mean_absolute_error"], rtol=1e-5)


def test_scores_of_a_text_agree_with_evaluation(run_of, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(b"7 bottles on the wall, \xff one down, and a rest that fills no row: 6 left.\n" * 3)
    run = run_of("text")
    header, *found = predicted(run, text, tmp_path / "found.csv")
    assert header == ["row", "position", "byte", "nats"]
    assert len(found) == len(text.read_bytes()) - 1
    mean = np.mean([float(row[3]) for row in found])
    np.testing.assert_allclose(mean, evaluated(run, text)["file/loss"], rtol=1e-6)


def test_rows_keep_their_index_and_do_not_depend_on_the_batch_size(run_of, folder, tmp_path):
    run = run_of("classification")
    whole = predicted(run, folder / "new.npz", tmp_path / "whole.csv")
    part = predicted(run, folder / "new.npz", tmp_path / "part.csv", begin=7, end=18, batch_size=4)
    assert [row[0] for row in part[1:]] == [str(i) for i in range(7, 18)]
    for found, expected in zip(part[1:], whole[8:19], strict=True):
        assert found[1] == expected[1]
        np.testing.assert_allclose(np.array(found[2:], float), np.array(expected[2:], float), rtol=1e-5)


def test_saved_batches_are_not_recomputed(run_of, folder, tmp_path):
    used = predictor.of_run(run_of("classification"), "")
    arrays = files.read(str(folder / "new.npz"), used)
    calls, check = [], lambda found: None

    def call(given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(given)
        return used.call(given)

    with pytest.raises(KeyboardInterrupt):
        rows.compute(
            used._replace(call=call), arrays, 0, 30, 8, SavedBatches(tmp_path / "a.npz", {"identity": 1}), check
        )
    calls.append(None)  # three calls: no further interrupt
    found = rows.compute(
        used._replace(call=call), arrays, 0, 30, 8, SavedBatches(tmp_path / "a.npz", {"identity": 1}), check
    )
    assert len(calls) == 5
    np.testing.assert_array_equal(found["outputs"], np.asarray(used.call(arrays)))
    rows.compute(used._replace(call=call), arrays, 0, 30, 8, SavedBatches(tmp_path / "a.npz", {"identity": 2}), check)
    assert len(calls) == 9


def test_outputs_are_written_as_arrays_or_artifacts(run_of, folder, tmp_path):
    run = run_of("classification")
    predicted(run, folder / "new.npz", tmp_path / "found.npz")
    logits = np.load(tmp_path / "found.npz")["outputs"]
    assert logits.shape == (30, 2)
    predicted(run, folder / "new.npz", tmp_path / "found")
    np.testing.assert_array_equal(np.load(tmp_path / "found" / "outputs.npz")["outputs"], logits)
    assert (tmp_path / "found" / "samples" / "predictions.csv").is_file()
    with pytest.raises(
        UsageError, match=r"--output must end with .csv or .npz for predictions that are not text, got .*found.txt"
    ):
        predicted(run, folder / "new.npz", tmp_path / "found.txt")


def test_error_names_the_malformed_row(run_of, folder, tmp_path):
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


def test_unknown_endpoint_is_rejected(run_of):
    with pytest.raises(UsageError, match="--endpoint must be one with rows as inputs: predict, score, got 'scor'"):
        predictor.of_run(run_of("text"), "scor")


def test_rows_flag_selects_a_valid_range(run_program, run_of, folder, tmp_path):
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
        "predict: --rows must be a nonempty range within the 30 rows of the input, got '20:200'\n",
    )


@pytest.mark.slow
def test_export_gives_the_same_predictions(run_program, run_of, folder, tmp_path):
    run = run_of("sets")
    done = run_program("export", f"--workdir={run.workdir}", f"--output={tmp_path / 'export'}")
    assert done.returncode == 0, done.stderr
    expected = predicted(run, folder / "new.npz", tmp_path / "run.csv")
    flags = (f"--workdir={tmp_path / 'export'}", f"--input={folder / 'new.npz'}", f"--output={tmp_path / 'found.csv'}")
    done = run_program("predict", *flags)
    assert done.returncode == 0, done.stderr
    found = list(csv.reader((tmp_path / "found.csv").open(newline="")))
    assert found[0] == expected[0]
    for row, like in zip(found[1:], expected[1:], strict=True):
        assert row[:2] == like[:2]
        np.testing.assert_allclose(np.array(row[2:], float), np.array(like[2:], float), atol=1e-6)
    done = run_program("predict", *flags, "--endpoint=score")
    assert (done.returncode, done.stderr) == (2, "predict: --endpoint must be predict for an export, got 'score'\n")
