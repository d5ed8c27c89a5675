"""Exports of all shipped configs, and of models with different algorithms, shapes and raw inputs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.special import logsumexp
from shipped_configs import small_data
from sklearn.datasets import load_digits

from jaxnets import exported, tasks
from jaxnets.data import Dataset, Horizon, LabeledSteps, breast_cancer, table_anomalies
from jaxnets.data.sources.pairs import START
from jaxnets.training import build, config, restore, rundir
from jaxnets.training.compiled import evaluate_run
from jaxnets.training.errors import UsageError
from jaxnets.training.exporting import artifacts, export_folder
from jaxnets.training.state import initial_variables

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data_files(tmp_path_factory, small_text) -> dict[str, dict]:
    return small_data(tmp_path_factory.mktemp("data"), small_text, batch_size=4)


def run_of(name: str, workdir: Path, data: dict, **model) -> tuple[restore.Run, Dataset]:
    """Returns an untrained run of a shipped config, with noise added to its variables, and its dataset."""
    settings = config.load(name)
    with settings.ignore_type():
        settings.data = data if "name" in data else {**settings.data, **data}
        settings.model = {**settings.model, **model}
    dataset = build.dataset(settings)
    network, task = build.model_and_task(settings, dataset.spec)
    rundir.claim(workdir, settings, dataset)
    variables = initial_variables(task.learner, dataset.train[0], 0)
    noise = lambda a: 0.05 * RANDOM.normal(size=a.shape).astype(a.dtype)
    noisy = jax.tree.map(lambda a: a + noise(a) if jnp.issubdtype(a.dtype, jnp.floating) else a, variables)
    return restore.Run(workdir, settings, dataset.spec, network, task, 0, noisy), dataset


def raw_test_inputs(data: ConfigDict) -> np.ndarray | None:
    """Reads the raw inputs of the test split without jaxnets; None if batches are raw."""
    if data.name in ("data.series", "data.series_anomalies", "data.labeled_sets", "data.image_arrays"):
        return np.load(data.path)["x_test"]
    if data.name == "data.table":
        rows = [line.split(",") for line in Path(data.path).read_text().splitlines()]
        return np.array(
            [[float(size), color == "a", color == "b"] for size, color, _, split in rows if split == "test"]
        )
    if data.name == "data.idx":
        content = (Path(data.path) / "t10k-images-idx3-ubyte").read_bytes()
        return np.frombuffer(content, np.uint8, offset=16).reshape(np.frombuffer(content, ">u4", 3, offset=4))
    if data.name == "data.digits":
        images = load_digits().images[4::5]
        return np.round(images * 255 / 16).astype(np.uint8) if data.get("read_as") == "images" else images
    return None


def smaller(reads: dict[str, tuple[str, ...]], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns three rows of the inputs of a task, with about half of each length."""
    given = {name: array for name, array in batch.items() if name in reads}
    sizes = {
        axis: 3 if axis == "batch" else size // 2 + 1 for name in given for axis, size in _axes(reads, batch, name)
    }
    cut = {name: array[tuple(slice(sizes[axis]) for axis in reads[name])] for name, array in given.items()}
    for name, array in (("lengths", "inputs"), ("target_lengths", "targets")):
        if name in cut:
            cut[name] = np.minimum(cut[name], cut[array].shape[1])
    return cut


def _axes(reads, batch, name):
    return zip(reads[name], batch[name].shape, strict=False)


def check_metrics(run: restore.Run, dataset: Dataset, logits: jax.Array, tolerance: float) -> None:
    """Asserts that the logits of an export give the metrics of ``jaxnets.evaluate`` on the test split."""
    targets = np.concatenate([batch["targets"][batch["mask"]] for batch in dataset.splits["test"]])
    logits = np.asarray(logits, np.float64)
    log_probs = logits - logsumexp(logits, axis=1, keepdims=True)
    measured = evaluate_run(run.task, run.variables, dataset, "test", run.config.seed)
    assert measured["test/loss"] == pytest.approx(
        -np.mean(log_probs[np.arange(len(targets)), targets]), abs=10 * tolerance
    )
    if tolerance < 1e-5:
        assert measured["test/accuracy"] == pytest.approx(np.mean(np.argmax(log_probs, axis=1) == targets))


# Outputs that are codes and scores.
OTHER_OUTPUTS = (
    "anomaly_image",
    "anomaly_table",
    "autoencoder",
    "flow_table",
    "glow",
    "pixelcnn",
    "series_anomaly",
    "vae",
)
# One config of each kind of model and data; all others are long tests.
KINDS = ("char_lm", "decoder_lm", "translation", "digits", "images", "table", "clustering", "odd_one_out", "vae")
marked = [pytest.param(n, marks=pytest.mark.slow if n in KINDS else pytest.mark.long) for n in config.shipped()]


@pytest.mark.parametrize("name", marked)
def test_shipped_config_can_be_exported(tmp_path, data_files, name):
    run, dataset = run_of(name, tmp_path, data_files.get(name, {}))
    if "predict" not in run.task.endpoints:
        with pytest.raises(UsageError, match="a run to export must have an endpoint predict"):
            artifacts.of_run(run)
        return
    made = artifacts.of_run(run)
    export_folder.write(tmp_path / "export", run, made)
    model = exported.load(tmp_path / "export")
    (reads,) = model.about["functions"]["forward"]["reads"]
    inputs = raw_test_inputs(run.config.data)
    batch = dataset.splits["validation"][0] if inputs is None else dataset.splits["test"][0]
    predict = run.task.endpoints["predict"]
    for array, axes in predict.inputs.items():
        if array in batch and inputs is None and array != "observed":  # computed from missing values
            assert tuple(reads[array]["shape"][: len(axes)]) == axes  # all named axes are symbolic
    is_float32 = getattr(run.model, "dtype", jnp.float32) in (jnp.float32, "float32")
    tolerance = dict(atol=1e-6, rtol=1e-5) if is_float32 else dict(atol=0.05)
    whole = {array: batch[array] for array in predict.inputs if array in batch}
    few = smaller(predict.inputs, batch)
    calls = [(whole, whole), (few, few)]
    if inputs is not None:
        calls = [({"inputs": inputs[: len(batch["inputs"])]}, whole)]  # lengths and valid come from the raw rows
        if inputs.shape[:2] == batch["inputs"].shape[:2]:
            calls.append(({**few, "inputs": inputs[tuple(map(slice, few["inputs"].shape[:2]))]}, few))
        if name.partition(":")[0] not in OTHER_OUTPUTS:
            check_metrics(run, dataset, model(inputs), tolerance["atol"])
    if run.config.data.name in ("data.odd_one_out", "data.prevalence"):  # raw digits are integers from 0 to 16
        calls.append(({**whole, "inputs": np.round(16 * whole["inputs"]).astype(int)}, whole))
    if run.config.data.name in ("data.breast_cancer", "data.table_anomalies"):  # files hold raw features
        source = breast_cancer if run.config.data.name == "data.breast_cancer" else table_anomalies
        raw = source(standardize=False).splits["validation"][0]["inputs"]
        calls = [({"inputs": raw[: len(of_batch["inputs"])]}, of_batch) for _, of_batch in calls]
    if isinstance(run.spec, Horizon | LabeledSteps):
        known = run.spec.statistics
        raw = lambda part: np.float32(part * known.std + (known.origin + known.offset))
        calls = [({**given, "inputs": raw(given["inputs"])}, of_batch) for given, of_batch in calls]
        for given, _ in calls:
            given["inputs"] = np.where(given.pop("observed", True), given["inputs"], np.float32(np.nan))
        tolerance = dict(atol=1e-4, rtol=1e-5)  # raw values are rounded to float32
    for given, of_batch in calls:
        expected = jax.jit(predict.function)(run.variables, of_batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), model(**given), expected)
    if "stream" not in run.task.endpoints:
        with pytest.raises(ValueError, match="does not generate token by token"):
            model.begin()
        return
    outputs, lengths = model(**given), given.get("target_lengths")
    tokens = given.get("targets", given["inputs"])
    if lengths is None:
        carry, lengths = model.begin(batch=3), np.full(3, tokens.shape[1])
    else:
        carry = model.begin(given["inputs"], lengths=given["lengths"])
        start = np.full((3, 1), run.spec.symbol(START))
        tokens = np.concatenate([start, tokens[:, :-1]], axis=1)
    for t in range(tokens.shape[1]):
        carry, logits = model.step(carry, tokens[:, t])
        # The order of summation differs, and logits are up to 10.
        np.testing.assert_allclose(logits[t < lengths], outputs[t < lengths, t], atol=10 * tolerance["atol"])


@pytest.mark.parametrize(
    "name, model",
    [("digits", {"hidden_size": 5, "method": "newton"}), ("decoder_lm", {"implementation": "chunked"})],
)
def test_export_does_not_depend_on_the_method_of_training(tmp_path, data_files, name, model):
    run, dataset = run_of(name, tmp_path, {**data_files.get(name, {}), "batch_size": 4}, **model)
    made = artifacts.of_run(run)
    assert [str(size) for size in made.functions["forward"].in_avals[-1].shape[:2]] == ["batch", "length"]
    given = {"inputs": dataset.splits["validation"][0]["inputs"]}
    expected = run.task.endpoints["predict"].function(run.variables, given)
    np.testing.assert_allclose(made.functions["forward"].call(made.weights, given), expected, atol=1e-5)


def test_lengths_are_fixed_if_the_model_does_not_support_symbolic_ones(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "from flax import linen as nn\n"
        "class Short(nn.Module):\n"
        "    num_classes: int\n"
        "    @nn.compact\n"
        "    def __call__(self, xs, train=False):\n"
        "        assert xs.shape[1] <= 8, 'too long'\n"
        "        return nn.Dense(self.num_classes)(xs.reshape(len(xs), -1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = config.load("digits")
    settings.model = {"name": "own_nets.Short"}
    dataset = build.dataset(settings)
    network, task = build.model_and_task(settings, dataset.spec, trusted=None)
    rundir.claim(tmp_path / "run", settings, dataset)
    variables = initial_variables(task.learner, dataset.train[0], 0)
    run = restore.Run(tmp_path / "run", settings, dataset.spec, network, task, 0, variables)
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model = exported.load(tmp_path / "export")
    inputs = dataset.splits["validation"][0]["inputs"][:3]
    np.testing.assert_allclose(model(inputs), network.apply(variables, inputs), atol=1e-6)
    with pytest.raises(ValueError, match=r"must be float32 \[batch, 8, 8\], got float32 \[3, 7, 8\]"):
        model(inputs[:, :7])


NOISE = np.random.default_rng(1).normal(size=(60, 5, 1))
PADDING = np.where(np.arange(5) < np.arange(60)[:, None] % 5 + 1, 0, np.nan)[..., None]
INTEGERS = np.clip(np.round(3 * NOISE), -9, 9).astype(np.int64)
RAW = {
    "timestamps": 1.7e9 + NOISE,
    "series padded with NaN": 1e5 + NOISE + PADDING,
    "int64": INTEGERS + 10**15,
    "uint64": np.uint64(2**63) + INTEGERS.astype(np.uint64),
    "float32": (1e5 + NOISE).astype(np.float32),
    "large": 1e30 * NOISE,
}


@pytest.mark.parametrize("x", RAW.values(), ids=RAW)
def test_export_standardizes_raw_rows(tmp_path, monkeypatch, x):
    (tmp_path / "own_rows.py").write_text(
        "from flax import linen as nn\n"
        "class Short(nn.Module):\n"
        "    num_classes: int\n"
        "    @nn.compact\n"
        "    def __call__(self, xs, lengths=None, train=False):\n"
        "        ends = 0 if lengths is None else lengths[:, None].astype(xs.dtype)\n"
        "        return nn.Dense(self.num_classes)(xs.sum(1)) + ends\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    y = np.arange(60) % 2
    np.savez(tmp_path / "a.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    settings = config.load("series")
    settings.model = {"name": "own_rows.Short"}
    settings.data.path, settings.data.batch_size = str(tmp_path / "a.npz"), 20
    dataset = build.dataset(settings)
    network = tasks.complete(build.model(settings.model, None), dataset.spec)
    rundir.claim(tmp_path / "run", settings, dataset)
    task = build.task(settings, network, dataset.spec)
    variables = initial_variables(task.learner, dataset.train[0], 0)
    run = restore.Run(tmp_path / "run", settings, dataset.spec, network, task, 0, variables)
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model = exported.load(tmp_path / "export")
    batch = dataset.splits["test"][0]
    expected = task.endpoints["predict"].function(variables, batch)
    assert np.std(expected) > 0.1
    names = {"lengths"} & batch.keys()
    given = [{"inputs": x[40:]}, {"inputs": x[40:, :, 0]}, {"inputs": x[40:], **{name: batch[name] for name in names}}]
    if x.dtype == np.float32:
        given.append({"inputs": jnp.asarray(x[40:])})
    for arrays in given:
        np.testing.assert_allclose(model(**arrays), expected, rtol=1e-5, atol=1e-5)
    assert model.about["inputs"]["kind"] == "Rows"
    assert {"inputs/mean", "inputs/std"} <= model.weights.keys()
    with pytest.raises(ValueError, match="`inputs` must be numeric, got <U"):
        model(x[40:].astype(str))
    with pytest.raises(ValueError, match=r"inputs must be float32 \[batch, length, 1\], got"):
        model(np.zeros((3, 5, 2)))
    with pytest.raises(ValueError, match="inputs must be float32"):
        model(np.zeros(3))
    with pytest.raises(ValueError, match=r"arrays must be inputs(, lengths)?, got inputs, .*valid"):
        model(x[40:], valid=None)


@pytest.mark.slow
def test_decoder_generates_beyond_max_seq_len(tmp_path, data_files):
    run, _ = run_of("decoder_lm", tmp_path, data_files["decoder_lm"])
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model = exported.load(tmp_path / "export")
    assert model.about["limits"] == {"length": run.model.max_seq_len}
    with pytest.raises(ValueError, match=r"\[batch, length <= 64\], got int64 \[1, 65\]"):
        model(np.zeros((1, 65), int))
    tokens = RANDOM.integers(0, 256, (2, 100))
    carry, steps = model.begin(batch=2), []
    for token in tokens.T:
        carry, logits = model.step(carry, token)
        steps.append(logits)
    # At the 65th token the context is full: the model restarts from the last 32 tokens.
    window = run.task.endpoints["predict"].function(run.variables, {"inputs": tokens[:, 33:96]})
    np.testing.assert_allclose(np.stack(steps, 1)[:, 64:96], window[:, 31:], atol=1e-5)
