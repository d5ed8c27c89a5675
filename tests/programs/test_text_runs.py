"""Runs on labeled texts and binary files: training, evaluation, predictions and exports of a user's files."""

import csv
import json

import numpy as np
import pytest
from in_process import ready

from jaxnets import exported
from jaxnets.training import compiled, loop, restore, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.exporting import artifacts, export_folder
from jaxnets.training.prediction import files, labeled, predictor

SMALL = {
    "data.max_length": 16,
    "data.batch_size": 16,
    "data.buckets": 1,
    "model.embed_dim": 8,
    "model.features": 8,
    "model.widths": "(2,)",
    "optimizer.learning_rate": 0.05,
    "train.steps": 30,
    "train.evaluate_every": 30,
}


def trained(workdir, name, flags):
    settings, made, task, functions = ready(*(f"--config.{key}={value}" for key, value in flags.items()), name=name)
    rundir.claim(workdir, settings, made)
    loop.train(settings, workdir, made, task, functions)
    return restore.open_run(workdir, "last")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    random, rows = np.random.default_rng(0), []
    for i in range(160):
        words = random.choice(["film", "plot", "the", ["dull", "great"][i % 2]], int(random.integers(0, 20)))
        rows.append({"review": " ".join(words), "stars": i % 2})
    (folder / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"data.path": folder / "reviews.jsonl", "data.text": "review", "data.label": "stars"}
    return trained(folder / "run", "text_classification:sentiment", {**SMALL, **own})


def predicted(run, path, output):
    used = predictor.of_run(run, "")
    arrays = files.read(str(path), used)
    outputs = predictor.named(used.call(arrays))
    labels = {name: arrays[name] for name in files.LABELS if name in arrays}
    files.write(output, outputs, used.present(predictor.unnamed(outputs)), 0, labels)
    with open(output, newline="") as file:
        return list(csv.DictReader(file)), outputs


def test_predictions_of_new_texts(run, tmp_path, capsys):
    (tmp_path / "new.csv").write_text('id,review\n1,"great, great plot"\n2,dull\n3,\n4,' + "dull " * 30 + "\n")
    table, _ = predicted(run, tmp_path / "new.csv", tmp_path / "found.csv")
    assert [row["class"] for row in table][:2] == ["1", "0"] and table[3]["class"] == "0"
    assert [row["ignored"] for row in table] == ["0", "0", "0", "14"]
    assert all(abs(float(row["p(0)"]) + float(row["p(1)"]) - 1) < 1e-6 for row in table)
    assert "1 text is longer than in training" in capsys.readouterr().err
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(["great, great plot", "dull"]):
        (tmp_path / "texts" / f"{i}.txt").write_text(text)
    of_folder, _ = predicted(run, tmp_path / "texts", tmp_path / "found.csv")
    assert [row["file"].rpartition("/")[2] for row in of_folder] == ["0.txt", "1.txt"]
    assert [row["p(1)"][:6] for row in of_folder] == [row["p(1)"][:6] for row in table[:2]]
    with pytest.raises(UsageError, match="--input: .*line 1 must have a column 'review', got text"):
        (tmp_path / "other.csv").write_text("text\na\n")
        predicted(run, tmp_path / "other.csv", tmp_path / "found.csv")


def test_evaluation_of_labeled_texts(run, tmp_path):
    (tmp_path / "new.tsv").write_text("stars\treview\n1\tgreat film\n0\tdull film\n1\tdull\n")
    dataset = labeled.dataset(run, str(tmp_path / "new.tsv"))
    found = compiled.evaluate_run(run.task, run.variables, dataset, labeled.SPLIT, 0)
    assert found["file/accuracy"] == pytest.approx(2 / 3)
    (tmp_path / "new.tsv").write_text("stars\treview\n1\tgreat film\n2\tdull film\n")
    with pytest.raises(UsageError, match="line 3, column 'stars' must be one of the classes of the run, 0, 1, got 2"):
        labeled.dataset(run, str(tmp_path / "new.tsv"))


def test_a_run_on_other_texts_begins_with_its_tokenizer_and_parameters(run, tmp_path):
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(f"a dull film {i},no\ngreat {i},yes\n" for i in range(40)))
    flags = {"data.path": tmp_path / "b.csv", "data.tokenizer": run.workdir, "train.init_from": run.workdir}
    tuned = trained(
        tmp_path / "run", "text_classification:sentiment", {**SMALL, **flags, "optimizer.learning_rate": 1e-9}
    )
    before, after = (json.loads((each.workdir / "data.json").read_text())["targets"] for each in (run, tuned))
    assert before["tokenizer"] == after["tokenizer"] and "film" in after["tokenizer"]["symbols"]
    np.testing.assert_allclose(
        tuned.variables["params"]["embed"]["embedding"], run.variables["params"]["embed"]["embedding"], atol=1e-6
    )


@pytest.mark.slow(3)
def test_exports_read_texts(run, tmp_path):
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model, texts = exported.load(tmp_path / "export"), ["great, great plot", "dull", "", "film " * 30]
    (tmp_path / "new.txt").write_text("\n".join(texts))
    _, outputs = predicted(run, tmp_path / "new.txt", tmp_path / "found.csv")
    np.testing.assert_allclose(model(**model.encode(texts)), outputs["outputs"], rtol=1e-5, atol=1e-6)
    used = predictor.of_export(tmp_path / "export", "", ())
    arrays = files.read(str(tmp_path / "new.txt"), used)
    np.testing.assert_allclose(used.call(arrays), outputs["outputs"], rtol=1e-5, atol=1e-6)


@pytest.mark.slow(8)
def test_binary_files(tmp_path):
    random = np.random.default_rng(0)
    for i in range(60):
        file = tmp_path / "files" / ("text" if i % 2 else "binary") / str(i)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random.integers(0, 128 if i % 2 else 256, 10 * (i // 2), np.uint8).tobytes())
    flags = {"data.path": tmp_path / "files", "data.length": 32, "data.batch_size": 16, "train.steps": 120}
    run = trained(tmp_path / "run", "text_classification:bytes", {**flags, "model.hidden_size": 8})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.exe").write_bytes(bytes(range(200, 255)))
    (tmp_path / "new" / "b").write_bytes(b"some text " * 10)
    table, _ = predicted(run, tmp_path / "new", tmp_path / "found.csv")
    assert [row["class"] for row in table] == ["binary", "text"]
    dataset = labeled.dataset(run, str(tmp_path / "files"))
    assert compiled.evaluate_run(run.task, run.variables, dataset, labeled.SPLIT, 0)["file/accuracy"] > 0.8
