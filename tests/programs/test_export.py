"""Exported runs: what jax alone computes with them is what the model computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from jaxnets import exported
from jaxnets.data.pairs import START
from jaxnets.training import artifacts, build, config, export_folder, restore, rundir
from jaxnets.training.state import first_variables

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def small_export(small_run, tmp_path_factory, run_program) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "small"
    done = run_program("export", f"--workdir={small_run}", f"--out={folder}", "--step=last")
    assert done.returncode == 0, done.stderr
    assert "step 20, for cpu, cuda, tpu" in done.stdout
    for path in folder.iterdir():
        assert f"{path.name} " in done.stdout
        assert f"{path.stat().st_size:,} bytes" in done.stdout
    assert f"load({str(folder)!r})(inputs)" in done.stdout
    return folder


USE = """
import sys

class Refused:
    def find_spec(self, name, *others):
        if name.partition(".")[0] in ("jaxnets", "flax", "safetensors", "orbax", "chex", "optax", "ml_collections"):
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refused())
folder, tokens, found = sys.argv[1:]
sys.path.insert(0, folder)
import numpy as np
from load import load

model = load(folder)
tokens = np.load(tokens)
carry, steps = model.begin(batch=len(tokens)), []
for token in tokens.T:
    carry, logits = model.step(carry, token)
    steps.append(logits)
np.savez(found, whole=model(tokens), steps=np.stack(steps, axis=1))
"""


def used(python: str, folder: Path, tokens: np.ndarray, place: Path) -> dict[str, np.ndarray]:
    """What a process that has jax alone computes."""
    np.save(place / "tokens.npy", tokens)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
    arguments = [str(folder), str(place / "tokens.npy"), str(place / "found.npz")]
    done = subprocess.run([python, "-c", USE, *arguments], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(place / "found.npz"))


def check_tokens(small_run: Path, found: dict[str, np.ndarray], tokens: np.ndarray) -> None:
    run = restore.open_run(small_run, "last")
    _, expected = run.model.apply(run.variables, tokens)
    assert np.std(expected) > 0.1
    for logits in found.values():
        np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_jax_alone_computes_what_the_model_does(small_run, small_export, tmp_path):
    tokens = RANDOM.integers(0, 256, (3, 13))  # the run has batches of 4 x 8
    check_tokens(small_run, used(sys.executable, small_export, tokens, tmp_path), tokens)


@pytest.mark.slow
def test_a_fresh_environment_with_jax_and_flatbuffers_suffices(small_run, small_export, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", f"jax=={jax.__version__}", "flatbuffers"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch jax: {installed.stderr[-300:]}")
    tokens = RANDOM.integers(0, 256, (5, 9))
    check_tokens(small_run, used(python, small_export, tokens, tmp_path), tokens)


def test_functions_are_for_all_platforms_and_hold_no_weights(small_export):
    about = json.loads((small_export / "model.json").read_text())
    assert about["functions"]["forward"]["reads"] == [{"inputs": {"shape": ["batch", "length"], "dtype": "int32"}}]
    assert about["targets"] == {"kind": "Vocabulary", "characters": None, "pieces": None}
    names = [weight["name"] for weight in about["weights"]]
    assert "params/layer_0/cell/recurrent/kernel" in names
    for name in exported.FUNCTIONS:
        function = jax.export.deserialize(bytearray((small_export / f"{name}.jax_export").read_bytes()))
        assert function.platforms == ("cpu", "cuda", "tpu")
        weights = jax.tree.unflatten(function.in_tree, function.in_avals)[0][0]
        assert list(weights) == names  # in this order
    model = exported.load(small_export)
    model.weights = jax.tree.map(jnp.zeros_like, model.weights)
    assert not np.any(model(np.zeros((1, 3), int)))


def test_wrong_arrays_are_told(small_export):
    model = exported.load(small_export)
    tokens = np.zeros((2, 5), int)
    carry = model.begin(batch=2)
    for wrong, message in (
        (lambda: model(tokens[0]), r"inputs: int32 \[batch, length\] expected; given int64 \[5\]"),
        (lambda: model(tokens * 1.5), r"int32 \[batch, length\] expected; given float64 \[2, 5\]"),
        (lambda: model(tokens[:, :0]), "length must be at least 1"),
        (lambda: model(tokens + 2**40), "numbers from -2147483648 to 2147483647 expected; given 1099511627776"),
        (lambda: model(tokens, lengths=[5, 5]), "arrays inputs expected; given inputs, lengths"),
        (lambda: model.begin(tokens), "arrays none expected; given inputs"),
        (lambda: model.begin(batch=0), "batch: at least 1"),
        (lambda: model.step(carry, tokens[:1, 0]), r"float32 \[batch, 1, 12\] expected; .* where batch is 1"),
        (lambda: model.step({}, tokens[:, 0]), "carry arrays 0/0, 0/1 expected"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def redescribe(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "a flipped bit": (lambda folder: flip(folder / "weights.safetensors"), "weights.safetensors is damaged: it is not"),
    "half a file": (
        lambda folder: os.truncate(folder / "weights.safetensors", 100),
        "weights.safetensors is damaged: it is not what was exported",
    ),
    "a function": (lambda folder: flip(folder / "forward.jax_export"), "forward.jax_export is damaged"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read: No such file"),
    "half a description": (lambda folder: os.truncate(folder / "model.json", 100), "model.json is damaged"),
    "a description of another": (
        lambda folder: redescribe(folder / "model.json", "params/head/bias", "params/head/base"),
        r"weights.safetensors: params/head/base is not what model.json says",
    ),
    "nothing": (lambda folder: (folder / "model.json").unlink(), "no exported model in"),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_export_is_told(small_export, tmp_path, damage, message):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in small_export.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()) if path.is_file() else None
    damage(folder)
    with pytest.raises(ValueError, match=message):
        exported.load(folder)


@pytest.mark.parametrize(
    "content", [b"", b'\x05\0\0\0\0\0\0\0{"a"', b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": {}}']
)
def test_what_is_no_safetensors_file_is_told(content):
    with pytest.raises(ValueError, match="w is damaged"):
        exported.read_safetensors(Path("w"), content)


def test_safetensors_of_every_type_are_read(tmp_path):
    from jaxnets import weights

    given = {f"a/{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in ("float16", "int8", "uint16", "bool")}
    given |= {"b": np.asarray(jnp.arange(5, dtype=jnp.bfloat16)), "scalar": np.float32(3), "empty": np.zeros((0, 2))}
    weights.write(tmp_path / "w", given)
    found = exported.read_safetensors(tmp_path / "w", (tmp_path / "w").read_bytes())
    assert found.keys() == given.keys()
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, np.shape(array))
        np.testing.assert_array_equal(found[name], array)


def test_only_an_export_of_the_same_run_is_replaced(small_run, small_export, run_program, tmp_path):
    export = lambda *flags: run_program("export", f"--workdir={small_run}", *flags)
    folder = tmp_path / "export"
    for path in small_export.iterdir():
        if path.is_file():
            folder.mkdir(exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
    again = export(f"--out={folder}", "--step=15")
    assert again.returncode == 0, again.stderr
    assert json.loads((folder / "model.json").read_text())["step"] == 15
    assert [path.name for path in tmp_path.iterdir()] == ["export"]

    redescribe(folder / "config.json", '"hidden": 12', '"hidden": 13')
    refused = export(f"--out={folder}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "it holds the export of another run; --overwrite replaces it" in refused.stderr
    assert export(f"--out={folder}", "--overwrite").returncode == 0

    (folder / "thesis.tex").touch()
    refused = export(f"--out={folder}", "--overwrite")
    assert refused.returncode == 2
    assert "it holds thesis.tex; choose a folder of its own" in refused.stderr
    assert (folder / "thesis.tex").exists()


def test_what_cannot_be_written_or_read_is_told(small_run, run_program, environment, tmp_path):
    (tmp_path / "file").touch()
    done = run_program("export", f"--workdir={small_run}", f"--out={tmp_path / 'file' / 'export'}")
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Not a directory" in done.stderr
    done = run_program("export", f"--workdir={tmp_path / 'nowhere'}")
    assert done.returncode == 1
    assert "no run in" in done.stderr
    # No file may grow beyond 12 blocks of 1 kB: the weights do not fit.
    command = ["bash", "-c", 'ulimit -f 12; exec "$@"', "-", sys.executable, "-m", "jaxnets.export"]
    flags = [f"--workdir={small_run}", f"--out={tmp_path / 'full'}"]
    done = subprocess.run([*command, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def data_files(tmp_path_factory, small_text) -> dict[str, dict]:
    """Small data for the configs whose data are a user's files, or of a package that may not be there."""
    folder = tmp_path_factory.mktemp("data")
    labels = np.arange(80) % 4

    def arrays(name: str, *shape: int, pixels: bool = False) -> str:
        x = RANDOM.integers(0, 256, (80, *shape), np.uint8) if pixels else RANDOM.normal(size=(80, *shape))
        np.savez(folder / f"{name}.npz", x_train=x, y_train=labels, x_test=x[:20], y_test=labels[:20])
        return str(folder / f"{name}.npz")

    (folder / "pairs.tsv").write_text("".join(f"the number {n}\tel número {n}\n" for n in range(400)))
    for i in range(80):
        path = folder / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    series = {"name": "data.series", "path": arrays("series", 12, 1), "batch": 4}
    digits = {"name": "data.image_arrays", "path": arrays("digits", 28, 28, 1, pixels=True), "batch": 4}
    pairs = {"name": "data.pairs", "path": str(folder / "pairs.tsv"), "pieces": 300, "length": 12, "batch": 4}
    return {
        **dict.fromkeys(("series", "mnist1d", "mnist1d_cnn", "mnist1d_tcn", "pixel_mnist", "pixel_mnist_tcn"), series),
        **dict.fromkeys(("translation", "translation_rnn"), pairs),
        **{
            name: {"path": str(small_text), "length": 8, "batch": 4}
            for name in ("char_lm", "shakespeare", "decoder_lm")
        },
        "mnist": digits,
        "cifar10": {**digits, "path": arrays("cifar", 32, 32, 3, pixels=True)},
        "images": {"path": str(folder / "images"), "size": 32, "batch": 4},
        "labelled_sets": {"path": arrays("sets", 9, 3), "batch": 4},
    }


def run_of(name: str, workdir: Path, data: dict) -> tuple[restore.Run, dict[str, np.ndarray]]:
    """A run of a shipped config as it is before its first update, some noise on its variables, and a held-out batch."""
    settings = config.load(name)
    with settings.ignore_type():
        settings.data = data if "name" in data else {**settings.data, **data}
    dataset = build.dataset(settings)
    model = build.model(settings.model, outputs=dataset.targets.size)
    task = build.task(settings, model, dataset.targets)
    rundir.claim(workdir, settings, dataset)
    variables = first_variables(task, dataset.train[0], 0)
    noisy = jax.tree.map(lambda a: a + 0.05 * RANDOM.normal(size=a.shape).astype(a.dtype), variables)
    return restore.Run(workdir, settings, dataset.targets, model, task, 0, noisy), dataset.validation[0]


def smaller(reads: dict[str, tuple[str, ...]], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Three rows of what a task reads of a batch, with about half of each length."""
    given = {name: array for name, array in batch.items() if name in reads}
    sizes = {
        axis: 3 if axis == "batch" else size // 2 + 1 for name in given for axis, size in _axes(reads, batch, name)
    }
    cut = {name: array[tuple(slice(sizes[axis]) for axis in reads[name])] for name, array in given.items()}
    for name, of in (("lengths", "inputs"), ("target_lengths", "targets")):
        if name in cut:
            cut[name] = np.minimum(cut[name], cut[of].shape[1])
    return cut


def _axes(reads, batch, name):
    return zip(reads[name], batch[name].shape, strict=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", config.shipped())
def test_every_shipped_config_can_be_exported(tmp_path, data_files, name):
    run, batch = run_of(name, tmp_path, data_files.get(name, {}))
    made = artifacts.of_run(run)
    export_folder.write(tmp_path / "export", run, made)
    model = exported.load(tmp_path / "export")
    (reads,) = model.about["functions"]["forward"]["reads"]
    for array, axes in run.task.reads.items():
        if array in batch:
            assert tuple(reads[array]["shape"][: len(axes)]) == axes  # all of them stay open
    tolerance = dict(atol=1e-6, rtol=1e-5) if run.model.dtype in (jnp.float32, "float32") else dict(atol=0.05)
    for given in ({array: batch[array] for array in reads}, smaller(run.task.reads, batch)):
        expected = jax.jit(run.task.predict)(run.variables, given)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), model(**given), expected)
    if run.task.writer is None:
        with pytest.raises(ValueError, match="does not write token by token"):
            model.begin()
        return
    answers, lengths = model(**given), given.get("target_lengths")
    tokens = given.get("targets", given["inputs"])
    if lengths is None:
        carry, lengths = model.begin(batch=3), np.full(3, tokens.shape[1])
    else:
        carry = model.begin(given["inputs"], lengths=given["lengths"])
        start = np.full((3, 1), run.targets.symbol(START))
        tokens = np.concatenate([start, tokens[:, :-1]], axis=1)
    for t in range(tokens.shape[1]):
        carry, logits = model.step(carry, tokens[:, t])
        # Another order of sums, and logits of up to 10.
        np.testing.assert_allclose(logits[t < lengths], answers[t < lengths, t], atol=10 * tolerance["atol"])


@pytest.mark.slow
def test_a_decoder_writes_beyond_its_context(tmp_path, data_files):
    run, _ = run_of("decoder_lm", tmp_path, data_files["decoder_lm"])
    export_folder.write(tmp_path / "export", run, artifacts.of_run(run))
    model = exported.load(tmp_path / "export")
    assert model.about["limits"] == {"length": run.model.context}
    with pytest.raises(ValueError, match=r"\[batch, length <= 64\] expected; given int64 \[1, 65\]"):
        model(np.zeros((1, 65), int))
    tokens = RANDOM.integers(0, 256, (2, 100))
    carry, steps = model.begin(batch=2), []
    for token in tokens.T:
        carry, logits = model.step(carry, token)
        steps.append(logits)
    # The 65th token does not fit: it and the 31 before it are read again, and the text goes on from there.
    window = run.task.predict(run.variables, {"inputs": tokens[:, 33:96]})
    np.testing.assert_allclose(np.stack(steps, 1)[:, 64:96], window[:, 31:], atol=1e-5)
