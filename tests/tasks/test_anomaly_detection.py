"""Anomaly detection: one-class data, scores, metrics at a threshold from the validation split, and figures."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from task_parts import detected

from jaxnets import data, generative, learning, recurrent, series, tasks
from jaxnets.tasks.anomalies.anomaly_detection import CODE_RIDGE

RANDOM = np.random.default_rng(0)


def sines(count, period):
    phase = RANDOM.uniform(0, 2 * np.pi, (count, 1))
    return np.sin(2 * np.pi * np.arange(16) / period + phase) + 0.05 * RANDOM.normal(size=(count, 16))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Series of the class 1 with a period of 16 steps, and of the classes 2 and 3 with other periods."""
    x_train, x_test = (np.concatenate([sines(n, 16), sines(n // 4, 5), sines(n // 4, 3)]) for n in (200, 80))
    y_train, y_test = (np.repeat([1, 2, 3], [n, n // 4, n // 4]) for n in (200, 80))
    file = tmp_path_factory.mktemp("data") / "a.npz"
    np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return str(file)


def all_rows(batches):
    collected = [batches[i] for i in range(len(batches))]
    joined = {name: np.concatenate([batch[name] for batch in collected]) for name in collected[0]}
    return {name: array[joined["mask"]] for name, array in joined.items()}


def test_training_and_validation_hold_normal_series_only(path):
    dataset = data.series_anomalies(path, normal="1", batch_size=16, validation_fraction=0.2, standardize=False)
    assert dataset.spec.names == ("normal", "anomaly")
    raw = np.load(path)
    found = all_rows(dataset.splits["validation"])
    assert len(found["targets"]) == 40 and not found["targets"].any()
    normal = {row.tobytes() for row in np.float32(raw["x_train"][raw["y_train"] == 1])}
    seen = [*found["inputs"], *dataset.train[0]["inputs"], *dataset.train[9]["inputs"]]
    assert all(row[:, 0].tobytes() in normal for row in seen)
    np.testing.assert_array_equal(all_rows(dataset.splits["test"])["targets"], raw["y_test"] != 1)


def test_statistics_come_from_normal_series(path, tmp_path):
    raw = dict(np.load(path))
    raw["x_train"][raw["y_train"] != 1] += 1000
    np.savez(tmp_path / "b.npz", **raw)
    dataset = data.series_anomalies(str(tmp_path / "b.npz"), normal="1", batch_size=16)
    normal = raw["x_train"][raw["y_train"] == 1]
    np.testing.assert_allclose(dataset.inputs.std, normal.std(), rtol=1e-6)


def test_unknown_label_is_rejected(path):
    with pytest.raises(ValueError, match=r"`normal` must be a label of .*: 1, 2, 3, got N"):
        data.series_anomalies(path, normal="N")


def test_anomalies_are_found_and_metrics_equal_sklearn(path):
    dataset = data.series_anomalies(path, normal="1", batch_size=32)
    model = series.RecurrentAutoencoder((24, 12), recurrent.gru)
    task = tasks.anomaly_detection(model, dataset.spec, learning.Gradient(optax.adam(1e-2)), false_alarms=0.1)
    state = task.learner.init(jax.random.key(0), dataset.train[0])
    update = jax.jit(task.learner.update)
    for step in range(150):
        state, _ = update(state, dataset.train[step], jax.random.key(step), step)
    variables = task.learner.variables(state)
    found = detected(task, variables, dataset, "validation", "test")
    score = lambda split: np.asarray(
        task.endpoints["predict"].function(variables, all_rows(dataset.splits[split]))["score"], np.float64
    )
    scores, targets = score("test"), all_rows(dataset.splits["test"])["targets"]
    predicted = scores > np.quantile(score("validation"), 0.9)
    expected = {
        "test/base_rate": 1 / 3,
        "test/auroc": roc_auc_score(targets, scores),
        "test/auprc": average_precision_score(targets, scores),
        "test/fpr_at_95_tpr": np.mean(scores[targets == 0] >= np.sort(scores[targets == 1])[2]),  # of 40 anomalies
        "test/f1": f1_score(targets, predicted),
        "test/accuracy": np.mean(predicted == targets),
    }
    assert found == pytest.approx(expected, abs=1e-6)
    assert found["test/auroc"] > 0.95
    assert detected(task, variables, dataset, "test").keys() == expected.keys() - {"test/f1", "test/accuracy"}
    figure = task.reports["figures"](variables, dataset.splits, jax.random.key(0))["reconstructions"]
    assert [axes.get_title().partition(",")[0] for axes in figure.axes] == ["normal"] * 3 + ["anomaly"] * 3


def test_scores_combine_the_error_and_the_distance_of_the_code():
    model, spec = series.RecurrentAutoencoder((5, 3)), data.Classes(("normal", "anomaly"))
    make = lambda **options: tasks.anomaly_detection(model, spec, learning.Gradient(optax.sgd(0.0)), **options)
    task = make(code_weight=0.5)
    xs, mask = np.float32(RANDOM.normal(size=(20, 7, 2))), np.arange(20) < 15
    xs[19] = np.nan  # of a masked row
    batch = {"inputs": xs, "mask": mask, "targets": np.zeros(20, np.int32)}
    state = task.learner.init(jax.random.key(0), batch)
    state, _ = jax.jit(task.learner.update)(state, batch, jax.random.key(1), jnp.int32(0))
    variables = task.learner.variables(state)
    outputs, codes = (np.asarray(each, np.float64) for each in model.apply({"params": variables["params"]}, xs))
    errors = np.mean((xs - outputs) ** 2, axis=(1, 2))
    mean, covariance = codes[mask].mean(0), np.cov(codes[mask].T, bias=True)
    covariance += CODE_RIDGE * np.diag(np.diag(covariance))
    distances = np.einsum("ni,ij,nj->n", codes - mean, np.linalg.inv(covariance), codes - mean)
    expected = errors / errors[mask].mean() + 0.5 * distances / 3
    new = {"inputs": xs[:19]}
    score = lambda task: task.endpoints["predict"].function(variables, new)["score"]
    np.testing.assert_allclose(score(task), expected[:19], rtol=1e-3)
    np.testing.assert_allclose(score(make(code_weight=0)), errors[:19], rtol=1e-5)


@pytest.mark.slow
def test_noise_is_added_in_training_only():
    model, spec = series.RecurrentAutoencoder((5, 3)), data.Classes(("normal", "anomaly"))
    make_learner = learning.Gradient(optax.sgd(0.0))
    batch = {"inputs": np.float32(RANDOM.normal(size=(20, 7, 2))), "mask": np.ones(20, bool)}
    states, losses, scores = [], [], []
    for noise in (0, 0.5):
        task = tasks.anomaly_detection(model, spec, make_learner, noise=noise)
        state = task.learner.init(jax.random.key(0), batch)
        state, metrics = jax.jit(task.learner.update)(state, batch, jax.random.key(1), jnp.int32(0))
        states.append(task.learner.variables(state))
        losses.append(float(metrics["loss"]))
        scores.append(task.endpoints["predict"].function(states[-1], batch)["score"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *states)  # moments are clean
    np.testing.assert_allclose(*scores, rtol=1e-4)
    assert abs(losses[0] - losses[1]) > 1e-4


def test_padding_does_not_change_scores():
    model, spec = series.RecurrentAutoencoder((6, 4)), data.Classes(("normal", "anomaly"))
    task = tasks.anomaly_detection(model, spec, learning.Gradient(optax.adam(1e-2)))
    xs, lengths = np.float32(RANDOM.normal(size=(3, 9, 2))), np.int32([9, 4, 0])
    batch = {"inputs": xs, "lengths": lengths, "mask": np.ones(3, bool), "targets": np.zeros(3, np.int32)}
    variables = task.learner.variables(task.learner.init(jax.random.key(0), batch))
    score = task.endpoints["predict"].function
    alone = [score(variables, {"inputs": xs[i : i + 1, :n]})["score"][0] for i, n in enumerate(lengths[:2])]
    for fill in (0, np.nan, 1e9):
        padded = np.where(np.arange(9)[:, None] < lengths[:, None, None], xs, np.float32(fill))
        np.testing.assert_allclose(score(variables, {**batch, "inputs": padded})["score"], [*alone, 0], rtol=1e-5)


def test_rows_are_scored_by_error_and_code():
    model, spec = generative.Autoencoder(5, latent=2, hidden_sizes=(4,)), data.Classes(("normal", "anomaly"))
    make = lambda **options: tasks.anomaly_detection(model, spec, learning.Gradient(optax.sgd(0.0)), **options)
    xs = np.float32(RANDOM.normal(size=(30, 5)))
    batch = {"inputs": xs, "mask": np.ones(30, bool), "targets": np.zeros(30, np.int32)}
    task = make(error_weight=0.5, code_weight=2.0)
    state, _ = task.learner.update(task.learner.init(jax.random.key(0), batch), batch, jax.random.key(1), 0)
    variables = task.learner.variables(state)
    apply = lambda method: np.asarray(model.apply({"params": variables["params"]}, xs, method=method), np.float64)
    errors, codes = np.mean((xs - apply(None)) ** 2, axis=1), apply("encode")
    covariance = np.cov(codes.T, bias=True) + CODE_RIDGE * np.diag(np.var(codes, axis=0))
    centered = codes - codes.mean(0)
    distances = np.einsum("ni,ij,nj->n", centered, np.linalg.inv(covariance), centered) / 2
    score = lambda task: task.endpoints["predict"].function(variables, {"inputs": xs})["score"]
    np.testing.assert_allclose(score(task), 0.5 * errors / errors.mean() + 2 * distances, rtol=1e-3)
    np.testing.assert_allclose(score(make(error_weight=0.0)), distances, rtol=1e-3)
    with pytest.raises(ValueError, match="`features` of the model must be 6, those of a row, got 5"):
        task.learner.init(jax.random.key(0), {"inputs": np.zeros((1, 6), np.float32)})


def test_an_ensemble_is_the_mean_of_its_members():
    model, spec = generative.Autoencoder(5, latent=2, hidden_sizes=(4,)), data.Classes(("normal", "anomaly"))
    make = lambda **options: tasks.anomaly_detection(model, spec, learning.Gradient(optax.sgd(0.1)), **options)
    xs = np.float32(RANDOM.normal(size=(30, 5)))
    batch = {"inputs": xs, "mask": np.ones(30, bool), "targets": np.zeros(30, np.int32)}
    task, single = make(ensemble_size=3), make()
    state = task.learner.init(jax.random.key(0), batch)
    for step in range(4):
        state, _ = task.learner.update(state, batch, jax.random.key(step), step)
    variables = task.learner.variables(state)
    members = [jax.tree.map(lambda leaf, i=i: leaf[i], variables) for i in range(3)]
    score = lambda task, of: np.asarray(task.endpoints["predict"].function(of, {"inputs": xs})["score"])
    scores = [score(single, member) for member in members]
    assert np.max(np.abs(scores[0] - scores[1])) > 1e-3
    np.testing.assert_allclose(score(task, variables), np.mean(scores, axis=0), rtol=1e-5)


def test_wrong_arguments():
    make_learner, model = learning.Gradient(optax.adam(1e-2)), series.RecurrentAutoencoder((4,))
    with pytest.raises(ValueError, match=r"must have 2 classes, got 3"):
        tasks.anomaly_detection(model, data.Classes(("a", "b", "c")), make_learner)
    with pytest.raises(ValueError, match="`false_alarms` must be a number between 0 and 1, got 1"):
        tasks.anomaly_detection(model, data.Classes(("a", "b")), make_learner, false_alarms=1)
    with pytest.raises(ValueError, match="`code_weight` must be .* at least 0, got -1"):
        tasks.anomaly_detection(model, data.Classes(("a", "b")), make_learner, code_weight=-1)
    with pytest.raises(ValueError, match="`error_weight` or `code_weight` must be positive, got 0 and 0"):
        tasks.anomaly_detection(model, data.Classes(("a", "b")), make_learner, error_weight=0, code_weight=0)
    with pytest.raises(ValueError, match="`noise` must be .* at least 0, got nan"):
        tasks.anomaly_detection(model, data.Classes(("a", "b")), make_learner, noise=float("nan"))
    with pytest.raises(ValueError, match="`hidden_sizes` must be a sequence"):
        series.RecurrentAutoencoder(4).init(jax.random.key(0), jnp.zeros((1, 5, 1)))
