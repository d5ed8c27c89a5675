"""Detection by likelihood: every score, metrics, baselines, reports, and wrong settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from jaxnets import data, generative, learning, tasks
from jaxnets.reports import ImageGrid, Table
from jaxnets.tasks.anomalies.evaluation import areas_by_kind, detection_metrics
from jaxnets.tasks.anomalies.likelihood_detection import MEAN
from jaxnets.training.compiled import evaluate_splits
from jaxnets.training.state import create, make_step

MAKE = functools.partial(learning.gradient, optimizer=optax.adam(3e-3))
TWO = data.Classes(("normal", "anomaly"))
FLOW = generative.SplineFlow(30, num_layers=1, hidden_sizes=(8,))
PIXELS = generative.GatedPixelCNN((8, 8, 1), hidden=4, num_layers=1)


@functools.cache
def trained_on_rows():
    dataset = data.table_anomalies(batch_size=50, validation_fraction=0.2)
    task = tasks.likelihood_detection(FLOW, dataset.spec, MAKE, false_alarms=0.1)
    state, step = create(task.learner, dataset.train[0], 0), jax.jit(make_step(task.learner, 0))
    losses = []
    for i in range(60):
        state, metrics = step(state, dataset.train[i])
        losses.append(float(metrics["loss"]))
    return task, task.learner.variables(state.learner), dataset, losses


def of_split(dataset, split):
    batches = [dataset.splits[split][i] for i in range(len(dataset.splits[split]))]
    return {
        name: np.concatenate([batch[name][batch["mask"]] for batch in batches])
        for name in ("inputs", "targets", "mask")
    }


def test_scores_of_rows():
    task, variables, dataset, losses = trained_on_rows()
    test = of_split(dataset, "test")
    found = task.endpoints["predict"].function(variables, test)
    log_p = FLOW.apply(variables, test["inputs"])
    mean = np.average(losses, weights=0.99 ** np.arange(len(losses))[::-1])
    np.testing.assert_allclose(variables[MEAN]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(found["likelihood"], -log_p, rtol=1e-6)
    np.testing.assert_allclose(found["typicality"], np.abs(-log_p - mean), rtol=1e-4)
    np.testing.assert_array_equal(found["score"], found["likelihood"])
    assert set(found) == {"score", "likelihood", "typicality"}


def test_metrics_and_baselines_equal_sklearn():
    task, variables, dataset, _ = trained_on_rows()
    found = evaluate_splits(task, variables, dataset, ["test"], ["detection", "scores", "baselines"], 0)["test"]
    test = of_split(dataset, "test")
    scores = {split: of_split(dataset, split) for split in ("validation", "test")}
    nats = {s: -np.asarray(FLOW.apply(variables, b["inputs"])) for s, b in scores.items()}
    positives, recalls, _ = roc_curve(test["targets"], nats["test"])
    assert found["test/auroc"] == pytest.approx(roc_auc_score(test["targets"], nats["test"]), abs=1e-6)
    assert found["test/auroc"] == found["test/likelihood_auroc"] > 0.9
    assert found["test/fpr_at_95_tpr"] == pytest.approx(positives[np.flatnonzero(recalls >= 0.95)[0]], abs=1e-6)
    above = nats["test"] > np.quantile(nats["validation"], 0.9)
    assert found["test/accuracy"] == pytest.approx(np.mean(above == test["targets"]), abs=1e-6)
    epoch = [dataset.train[i]["inputs"] for i in range(dataset.train_rows // 50)]
    rows = np.concatenate(epoch).astype(np.float64)
    forest = -IsolationForest(random_state=0).fit(rows).score_samples(test["inputs"])
    distances = NearestNeighbors(n_neighbors=5).fit(rows).kneighbors(test["inputs"])[0][:, -1]
    centered = np.float64(test["inputs"]) - rows.mean(0)
    mahalanobis = np.einsum("ni,ij,nj->n", centered, np.linalg.pinv(np.cov(rows.T, bias=True)), centered)
    expected = {"isolation_forest": forest, "nearest_neighbors": distances, "principal_components": mahalanobis}
    for name, values in expected.items():
        assert found[f"test/{name}_auroc"] == pytest.approx(roc_auc_score(test["targets"], values), abs=1e-4), name


def test_reports_of_rows():
    task, variables, dataset, _ = trained_on_rows()
    found = task.reports["anomalies"](variables, dataset.splits, jax.random.key(0))
    assert len(found["anomaly_scores"].axes) == 3
    table = found["most_and_least_unusual"]
    assert isinstance(table, Table) and len(table.rows) == 64
    assert [row[2] for row in table.rows] == sorted((row[2] for row in table.rows), reverse=True)
    classes = of_split(dataset, "test")["targets"]
    assert all(name == TWO.names[classes[row]] for row, name, _ in table.rows)


def image_task(score="likelihood", **options):
    density = functools.partial(tasks.autoregressive_images, binarization="static")
    spec = data.Classes(("normal", "constant", "noise"))
    return tasks.likelihood_detection(PIXELS, spec, MAKE, density=density, score=score, **options)


@functools.cache
def image_data():
    return data.image_anomalies(data.digits(read_as="images"), count=40)


def test_scores_of_images():
    task, dataset = image_task("complexity"), image_data()
    variables = task.learner.variables(create(task.learner, dataset.train[0], 0).learner)
    test = of_split(dataset, "test")
    background = tasks.TrainedModel(PIXELS, None, lambda variables, batch: {"log_likelihood": jnp.arange(120.0)})
    with_ratio = image_task("ratio", background=background).endpoints["predict"].function(variables, test)
    found = task.endpoints["predict"].function(variables, test)
    bits = (test["inputs"] > 127).astype(np.int32)
    np.testing.assert_allclose(
        found["complexity"], found["likelihood"] - generative.code_length(bits, 2), rtol=1e-5, atol=1e-4
    )
    np.testing.assert_array_equal(found["score"], found["complexity"])
    np.testing.assert_allclose(with_ratio["score"], found["likelihood"] + np.arange(120.0), rtol=1e-6)
    metrics = evaluate_splits(task, variables, dataset, ["test"], ["detection", "scores"], 0)["test"]
    names = [
        f"{score}_auroc{kind}"
        for score in ("likelihood", "typicality", "complexity")
        for kind in ("", "_constant", "_noise")
    ]
    assert {f"test/{name}" for name in names} <= set(metrics)
    noise = test["targets"] != 1
    expected = roc_auc_score(test["targets"][noise] == 2, np.asarray(found["complexity"])[noise])
    assert metrics["test/complexity_auroc_noise"] == pytest.approx(expected, abs=1e-6)
    shown = task.reports["anomalies"](variables, dataset.splits, jax.random.key(0))
    assert isinstance(shown["most_and_least_unusual"], ImageGrid)


def test_mutation_changes_training_only():
    batch = image_data().train[0]
    plain, mutated = (tasks.autoregressive_images(PIXELS, data.Unlabeled(1), MAKE, mutation=p) for p in (0.0, 0.5))
    states = [create(task.learner, batch, 0) for task in (plain, mutated)]
    step = lambda task, state: make_step(task.learner, 0)(state, batch)[1]
    losses = [float(step(*pair)["loss"]) for pair in zip((plain, mutated), states, strict=True)]
    assert losses[1] != losses[0]
    scores = [
        task.endpoints["predict"].function(task.learner.variables(state.learner), batch)["log_likelihood"]
        for task, state in zip((plain, mutated), states, strict=True)
    ]
    np.testing.assert_array_equal(*scores)


def test_metrics_of_extreme_scores():
    assert detection_metrics(np.array([1.0, 2, 3]), np.zeros(3, int), float("nan")) == {"base_rate": 0}
    perfect = detection_metrics(np.array([1.0, 2, 3]), np.array([0, 0, 1]), 2.5)
    assert perfect == {"base_rate": 1 / 3, "auroc": 1, "auprc": 1, "fpr_at_95_tpr": 0, "f1": 1, "accuracy": 1}
    ties = detection_metrics(np.ones(4), np.array([0, 0, 1, 1]), 2.0)
    assert (ties["auroc"], ties["fpr_at_95_tpr"]) == (0.5, 1)
    assert "auroc" not in detection_metrics(np.array([np.nan, 1]), np.array([0, 1]), 0.0)
    areas = areas_by_kind(np.array([0.0, 1, 2, -1]), np.array([0, 0, 1, 2]), ("normal", "a", "b"))
    assert areas == {"auroc": 0.5, "auroc_a": 1, "auroc_b": 0}


def test_wrong_settings():
    make = functools.partial(tasks.likelihood_detection, FLOW)
    with pytest.raises(ValueError, match="must have 2 or more classes, got 1"):
        make(data.Classes(("a",)), MAKE)
    with pytest.raises(ValueError, match="`score` must be one of likelihood, typicality, complexity, ratio, got 'x'"):
        make(TWO, MAKE, score="x")
    with pytest.raises(ValueError, match="`background` must be a run for the score ratio, got None"):
        make(TWO, MAKE, score="ratio")
    task = make(TWO, MAKE, score="complexity")
    with pytest.raises(ValueError, match=r"must be images for the score complexity, got shape \(30,\)"):
        task.endpoints["predict"].function({MEAN: {"mean": 0.0}}, {"inputs": np.zeros((2, 30), np.float32)})
    with pytest.raises(ValueError, match="`noise` must be 0 for images"):
        tasks.flow(generative.Glow((4, 4, 1), levels=1, steps=1, width=4), TWO, MAKE, noise=0.1)
