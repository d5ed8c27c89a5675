"""Exported runs: what jax alone computes with them is what the model computes."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from conftest import ROOT

from jaxnets import data, exported
from jaxnets.training import restore
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.exporting import artifacts, export_folder

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def small_export(small_run, tmp_path_factory, run_program) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "small"
    done = run_program("export", f"--workdir={small_run}", f"--output={folder}", "--step=last")
    assert done.returncode == 0, done.stderr
    assert "step 20, for cpu, cuda, tpu" in done.stdout
    for path in folder.glob("*.*"):
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
def test_a_fresh_environment_with_jax_alone_suffices(small_run, small_export, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", f"jax=={jax.__version__}"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch jax: {installed.stderr[-300:]}")
    tokens = RANDOM.integers(0, 256, (5, 9))
    check_tokens(small_run, used(python, small_export, tokens, tmp_path), tokens)
    shutil.copytree(small_export / "load", tmp_path / "load")
    read = f"from load import load; load({str(small_export)!r})"
    alone = subprocess.run([python, "-c", read], cwd=tmp_path, capture_output=True, text=True)
    assert "flatbuffers" in alone.stderr and "copy it from beside the exported package load" in alone.stderr


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
    "a pipe": (lambda folder: replace(folder / "weights.safetensors", os.mkfifo), "must be a regular file"),
    "a device": (
        lambda folder: replace(folder / "model.json", lambda path: path.symlink_to("/dev/zero")),
        "must be a regular file",
    ),
    "a larger file": (
        lambda folder: os.truncate(folder / "forward.jax_export", 2**40),  # a hole
        "forward.jax_export is damaged: it has more than",
    ),
    "sizes of text": (
        lambda folder: set_key(folder, ["files", "forward.jax_export"], "x"),
        "must have bytes and sha256",
    ),
    "no functions": (lambda folder: set_key(folder, ["functions"], None), "functions must be an object, got None"),
    "what is read": (lambda folder: set_key(folder, ["functions", "step", "reads"], [1]), "step must read 2 things"),
    "a type of a number": (
        lambda folder: set_key(folder, ["weights", 0, "dtype"], "O,"),
        "a weight must be an array",
    ),
    "a name": (
        lambda folder: set_key(folder, ["weights", 0, "name"], "\x1b[2J\n"),
        r"weights.safetensors: \\x1b\[2J is not what",
    ),
}


def replace(path: Path, make) -> None:
    path.unlink()
    make(path)


def set_key(folder: Path, keys: list, value) -> None:
    found = inner = json.loads((folder / "model.json").read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (folder / "model.json").write_text(json.dumps(found))


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_export_is_told(small_export, tmp_path, damage, message):
    folder = shutil.copytree(small_export, tmp_path / "damaged")
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


def test_only_an_export_of_the_same_run_is_replaced(small_run, small_export, tmp_path):
    run = restore.open_run(small_run, "15")
    folder = shutil.copytree(small_export, tmp_path / "export")
    export_folder.check_free(folder, run, overwrite=False)
    export_folder.write(folder, run, artifacts.of_run(run))
    assert exported.load(folder).about["step"] == 15
    assert [path.name for path in tmp_path.iterdir()] == ["export"]

    redescribe(folder / "config.json", '"hidden": 12', '"hidden": 13')
    with pytest.raises(UsageError, match="holds the export of another run; --overwrite replaces it"):
        export_folder.check_free(folder, run, overwrite=False)
    export_folder.check_free(folder, run, overwrite=True)

    (folder / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds thesis.tex; choose a folder of its own"):
        export_folder.check_free(folder, run, overwrite=True)
    (tmp_path / "settings").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "settings")
    with pytest.raises(UsageError, match="holds config.json; choose a folder of its own"):
        export_folder.check_free(tmp_path / "settings", run, overwrite=True)
    with pytest.raises(UsageError, match="--output must be a folder, got the file"):
        export_folder.check_free(folder / "thesis.tex", run, overwrite=True)


def test_what_cannot_be_written_is_told_and_nothing_is_lost(small_run, small_export, environment, tmp_path):
    folder = shutil.copytree(small_export, tmp_path / "export")
    # No file may grow beyond 12 blocks of 1 kB: the weights do not fit.
    command = ["bash", "-c", 'ulimit -f 12; exec "$@"', "-", sys.executable, "-m", "jaxnets.export"]
    flags = [f"--workdir={small_run}", f"--output={folder}", "--step=15"]
    done = subprocess.run([*command, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"cannot write to {folder}: " in done.stderr
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert exported.load(folder).about["step"] == 20
    run = restore.open_run(small_run)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write to .*/file/export: Not a directory"):
        export_folder.write(tmp_path / "file" / "export", run, artifacts.of_run(run))


def test_the_example_of_the_guide_runs(small_export, tmp_path):
    shutil.copytree(small_export, tmp_path / "runs" / "char_lm" / "export")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "export.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", f"{example}\nassert len(text) == 100"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "vocabulary", [data.Vocabulary("\n abcé"), data.learn_pieces(["a bcé\n", "a abc\n"], 258)], ids=lambda of: of.unit
)
def test_the_vocabulary_of_an_export_suffices(vocabulary):
    (example,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "guides" / "export.md").read_text(), re.DOTALL)
    of_characters, of_pieces = example.splitlines()
    names = {"tokenizers": tokenizers, "targets": dataclasses.asdict(vocabulary), "text": "bé abc\na"}
    exec(of_characters if vocabulary.characters else of_pieces, names)
    np.testing.assert_array_equal(names["tokens"], vocabulary.encode(names["text"]))
