"""Detection of anomalous steps: scores, metrics at a threshold from validation, several series, figures, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from task_parts import detected

from jaxnets import data, learning, series, tasks
from jaxnets.series.anomalies.moments import RIDGE
from jaxnets.tasks.anomalies.step_anomaly_detection import MOMENTS

CONTEXT, STEPS = 16, 24
RANDOM = np.random.default_rng(0)
MODEL = series.StepPredictor(hidden_size=20, num_layers=1, num_ahead=3)
MAKE_LEARNER = learning.Gradient(optax.adam(1e-2))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two series of two channels; in the test part one has a spike, the other a change of frequency."""
    t = np.arange(700)
    x = np.stack([np.stack([np.sin(t / 5 + i), np.cos(t / 8 + i)], 1) for i in range(2)])
    x += 0.05 * RANDOM.normal(size=x.shape)
    labels = np.zeros((2, 700), bool)
    labels[0, 600:603], labels[1, 560:600], labels[0, 100:110], labels[1, 400:404] = True, True, True, True
    x[0, 600:603, 0] += 2
    x[1, 560:600, 0] = np.sin(t[560:600] * 0.9)
    x[0, 100:110], x[1, 400:404] = 3, -3  # in training and in validation
    file = tmp_path_factory.mktemp("data") / "a.npz"
    np.savez(file, x=x, anomaly=labels)
    return str(file)


def read(path, **options):
    return data.labeled_steps(path, CONTEXT, STEPS, splits=(350, 100, 250), **{"batch_size": 8, **options})


@pytest.fixture(scope="module")
def dataset(path):
    return read(path)


@pytest.fixture(scope="module")
def compiled(dataset):
    """The task, and its compiled functions ``init`` and ``update``."""
    task = tasks.step_anomaly_detection(MODEL, dataset.spec, MAKE_LEARNER, false_alarms=0.05, max_buffer=10)
    return task, jax.jit(task.learner.init), jax.jit(task.learner.update)


@pytest.fixture(scope="module")
def run(dataset, compiled):
    """The task and its trained variables."""
    task, init, update = compiled
    state = init(jax.random.key(0), dataset.train[0])
    for step in range(120):
        state, _ = update(state, dataset.train[step], jax.random.key(step), step)
    return task, task.learner.variables(state)


def all_scores(task, variables, dataset, split):
    """Returns the scores and labels of the unmasked steps, and the index of their series."""
    score, parts = jax.jit(task.endpoints["predict"].function), []
    for i in range(len(dataset.splits[split])):
        batch = dataset.splits[split][i]
        found = score(variables, {name: batch[name] for name in ("inputs", "observed")})
        index = np.broadcast_to(batch["series"][:, None], batch["mask"].shape)
        parts.append([np.asarray(a)[batch["mask"]] for a in (found["score"], batch["labels"], index)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def test_anomalies_are_found_and_metrics_equal_sklearn(run, dataset):
    task, variables = run
    found = detected(task, variables, dataset, "validation", "test")
    scores, labels, index = all_scores(task, variables, dataset, "test")
    normal, none, _ = all_scores(task, variables, dataset, "validation")
    assert not none.any() and len(normal) == 2 * 100 - 4 and len(scores) == 500
    predicted, joint = scores > np.quantile(normal, 0.95), int(np.flatnonzero(np.diff(index))[0]) + 1
    expected = {
        "test/base_rate": 43 / 500,
        "test/auroc": roc_auc_score(labels, scores),
        "test/auprc": average_precision_score(labels, scores),
        "test/fpr_at_95_tpr": np.mean(scores[labels == 0] >= np.sort(scores[labels == 1])[2]),  # of 43 anomalies
        "test/f1": f1_score(labels, predicted),
        "test/accuracy": np.mean(predicted == labels),
        "test/vus_pr": series.vus_pr(scores, labels, 10, [0, joint, 500]),
    }
    assert joint == 250 and found == pytest.approx(expected, abs=1e-6)
    assert found["test/auroc"] > 0.95 and found["test/vus_pr"] > 0.8
    assert roc_auc_score(labels[:250], scores[:250]) > 0.95  # the spike
    assert roc_auc_score(labels[250:], scores[250:]) > 0.95  # the change of frequency
    assert detected(task, variables, dataset, "test").keys() == expected.keys() - {"test/f1", "test/accuracy"}


def test_scores_are_mahalanobis_distances_of_aligned_errors(run, dataset):
    task, variables = run
    batch = dataset.splits["test"][0]
    predictions = jax.jit(MODEL.apply)({"params": variables["params"]}, batch["inputs"])
    predictions = np.asarray(predictions, np.float64)
    moments = {name: np.asarray(value, np.float64) for name, value in variables[MOMENTS].items()}
    inverse = np.linalg.inv(moments["covariance"] + RIDGE * np.diag(np.diag(moments["covariance"])))
    scores = np.asarray(jax.jit(task.endpoints["predict"].function)(variables, batch)["score"])
    for row, s in [(0, 0), (1, 7), (3, STEPS - 1)]:
        t = CONTEXT + s
        vector = [batch["inputs"][row, t] - predictions[row, t - k, k - 1] for k in (1, 2, 3)]
        centered = np.concatenate(vector) - moments["mean"]
        assert scores[row, s] == pytest.approx(centered @ inverse @ centered, rel=2e-3)
    normal = all_scores(task, variables, dataset, "validation")[0]
    assert 2 < np.median(normal) < 20  # the mean of chi-squared with 6 degrees of freedom is 6


def test_metrics_do_not_depend_on_the_batch_size(run, path, dataset):
    task, variables = run
    found = detected(task, variables, dataset, "validation", "test")
    for batch_size in (1, 7):
        other = read(path, batch_size=batch_size)
        assert detected(task, variables, other, "validation", "test") == pytest.approx(found, abs=1e-5)


def test_padding_labels_and_masks_do_not_change_scores(run, dataset):
    task, variables = run
    batch = dataset.splits["test"][0]
    score = jax.jit(task.endpoints["predict"].function)
    expected = score(variables, batch)
    changed = {**batch, "labels": ~batch["labels"], "mask": ~batch["mask"], "series": batch["series"] + 1}
    np.testing.assert_array_equal(score(variables, changed)["score"], expected["score"])
    hidden = batch["observed"].copy()
    hidden[:, -2:] = False  # beyond the end of a series
    for fill in (0, np.nan, 1e9):
        given = {**batch, "observed": hidden, "inputs": np.where(hidden, batch["inputs"], np.float32(fill))}
        found = score(variables, given)
        np.testing.assert_allclose(found["score"][:, :-2], expected["score"][:, :-2], rtol=1e-5)
        assert not found["scored"][:, -2:].any() and not np.asarray(found["score"][:, -2:]).any()


def test_masked_steps_change_neither_gradients_nor_moments(dataset, compiled):
    _, init, update = compiled
    batch = dict(dataset.train[0])
    batch["mask"] = batch["mask"].copy()
    batch["mask"][:, -1] = False
    state = init(jax.random.key(0), batch)
    expected, metrics = update(state, batch, jax.random.key(0), 0)
    observed = batch["observed"].copy()
    observed[:, -1] = False  # the last step is nowhere an input
    other = {**batch, "observed": observed, "inputs": np.where(observed, batch["inputs"], np.float32(np.nan))}
    found, _ = update(state, other, jax.random.key(0), 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)
    assert float(found.variables[MOMENTS]["weight"]) == batch["mask"].sum() and np.isfinite(metrics["loss"])
    none = {**batch, "mask": np.zeros_like(batch["mask"])}
    found, metrics = update(expected, none, jax.random.key(0), 1)
    assert metrics["loss"] == 0 and metrics["gradient_norm"] == 0
    jax.tree.map(np.testing.assert_array_equal, found.variables[MOMENTS], expected.variables[MOMENTS])


def test_anomalies_of_the_training_part_are_not_learned(run):
    """The constant segment of 3 standard deviations would dominate the covariance."""
    assert np.all(np.diag(run[1][MOMENTS]["covariance"]) < 0.1)


def test_a_test_part_without_anomalies_has_no_areas(run, path, tmp_path):
    arrays = dict(np.load(path))
    arrays["anomaly"][:] = False
    np.savez(tmp_path / "b.npz", **arrays)
    task, variables = run
    found = detected(task, variables, read(str(tmp_path / "b.npz")), "validation", "test")
    assert found.keys() == {"test/base_rate", "test/f1", "test/accuracy"} and found["test/base_rate"] == 0


def test_figure_and_table(run, dataset):
    task, variables = run
    figure = task.reports["figures"](variables, dataset.splits, jax.random.key(0))["scores"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["y0", "y1", "anomaly score"]
    assert len(figure.axes[0].lines[0].get_xdata()) == 250  # of the series with the most anomalies
    normal = all_scores(task, variables, dataset, "validation")[0]
    (threshold,) = (line for line in figure.axes[2].lines if line.get_label().startswith("threshold"))
    assert threshold.get_ydata()[0] == pytest.approx(np.quantile(normal, 0.95), rel=1e-5)
    (area,) = (patch for patch in figure.axes[2].patches)
    assert area.get_width() == 40
    raw = np.where(np.arange(CONTEXT + STEPS) < CONTEXT + 2, 0.5, np.nan)[None, :, None].repeat(2, -1)
    batch = data.preprocess(dataset.inputs, {"inputs": raw}, ("inputs", "observed"))
    outputs = jax.jit(task.endpoints["predict"].function)(variables, batch)
    table = task.endpoints["predict"].present(outputs)["scores"]
    assert table.columns == ("row", "step", "score")
    assert [row[:2] for row in table.rows] == [(0, 1), (0, 2)]


def test_one_step_one_channel_and_one_row():
    spec = data.LabeledSteps(("a",), context=1, steps=1)
    task = tasks.step_anomaly_detection(series.StepPredictor(2, 1, 1, dtype=jnp.bfloat16), spec, MAKE_LEARNER)
    batch = {"inputs": np.ones((1, 2, 1), np.float32), "observed": np.ones((1, 2, 1), bool)}
    batch |= {"mask": np.ones((1, 1), bool), "labels": np.zeros((1, 1), bool), "series": np.zeros(1, np.int32)}
    state = jax.jit(task.learner.init)(jax.random.key(0), batch)
    state, metrics = jax.jit(task.learner.update)(state, batch, jax.random.key(0), 0)
    found = jax.jit(task.endpoints["predict"].function)(task.learner.variables(state), batch)["score"]
    assert found.shape == (1, 1) and np.isfinite(found).all() and np.isfinite(metrics["loss"])


def test_wrong_arguments(dataset):
    make = lambda spec=dataset.spec, model=MODEL, **options: tasks.step_anomaly_detection(
        model, spec, MAKE_LEARNER, **options
    )
    with pytest.raises(ValueError, match="must have labeledsteps, got data with classes"):
        make(data.Classes(("a", "b")))
    with pytest.raises(ValueError, match="`false_alarms` must be a number between 0 and 1, got 1"):
        make(false_alarms=1)
    with pytest.raises(ValueError, match="`max_buffer` must be an integer of at least 0, got -1"):
        make(max_buffer=-1)
    with pytest.raises(ValueError, match="`context` must be at least `num_ahead` of the model, 20, got 16"):
        make(model=series.StepPredictor(num_ahead=20))
