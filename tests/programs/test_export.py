"""Exported runs: equal outputs in a process with only jax, checks of arguments, damaged files."""

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

class Blocked:
    def find_spec(self, name, *others):
        if name.partition(".")[0] in ("jaxnets", "flax", "safetensors", "orbax", "chex", "optax", "ml_collections"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
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


def outputs_of(python: str, folder: Path, tokens: np.ndarray, scratch: Path) -> dict[str, np.ndarray]:
    """Applies an export in a process that cannot import jaxnets."""
    np.save(scratch / "tokens.npy", tokens)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
    arguments = [str(folder), str(scratch / "tokens.npy"), str(scratch / "found.npz")]
    done = subprocess.run([python, "-c", USE, *arguments], cwd=scratch, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(scratch / "found.npz"))


def check_tokens(small_run: Path, found: dict[str, np.ndarray], tokens: np.ndarray) -> None:
    run = restore.open_run(small_run, "last")
    _, expected = run.model.apply(run.variables, tokens)
    assert np.std(expected) > 0.1
    for logits in found.values():
        np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_export_with_only_jax_equals_the_model(small_run, small_export, tmp_path):
    tokens = RANDOM.integers(0, 256, (3, 13))  # the run has batches of 4 x 8
    check_tokens(small_run, outputs_of(sys.executable, small_export, tokens, tmp_path), tokens)


@pytest.mark.slow
def test_export_works_in_a_fresh_environment_with_only_jax(small_run, small_export, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "-q", f"jax=={jax.__version__}"]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch jax: {installed.stderr[-300:]}")
    tokens = RANDOM.integers(0, 256, (5, 9))
    check_tokens(small_run, outputs_of(python, small_export, tokens, tmp_path), tokens)
    shutil.copytree(small_export / "load", tmp_path / "load")
    read = f"from load import load; load({str(small_export)!r})"
    alone = subprocess.run([python, "-c", read], cwd=tmp_path, capture_output=True, text=True)
    assert "flatbuffers" in alone.stderr and "copy it from the exported folder" in alone.stderr


def test_functions_support_all_platforms_and_take_weights_as_arguments(small_export):
    about = json.loads((small_export / "model.json").read_text())
    assert about["functions"]["forward"]["reads"] == [{"inputs": {"shape": ["batch", "length"], "dtype": "int32"}}]
    assert about["targets"] == {"kind": "Vocabulary", "characters": None, "pieces": None}
    names = [weight["name"] for weight in about["weights"]]
    assert "params/layer_0/cell/recurrent/kernel" in names
    for name in exported.FUNCTIONS:
        function = jax.export.deserialize(bytearray((small_export / f"{name}.jax_export").read_bytes()))
        assert function.platforms == ("cpu", "cuda", "tpu")
        weights = jax.tree.unflatten(function.in_tree, function.in_avals)[0][0]
        assert list(weights) == names  # in the same order
    model = exported.load(small_export)
    model.weights = jax.tree.map(jnp.zeros_like, model.weights)
    assert not np.any(model(np.zeros((1, 3), int)))


def test_wrong_arrays_are_rejected(small_export):
    model = exported.load(small_export)
    tokens = np.zeros((2, 5), int)
    carry = model.begin(batch=2)
    for wrong, message in (
        (lambda: model(tokens[0]), r"inputs must be int32 \[batch, length\], got int64 \[5\]"),
        (lambda: model(tokens * 1.5), r"int32 \[batch, length\], got float64 \[2, 5\]"),
        (lambda: model(tokens[:, :0]), "length must be at least 1"),
        (lambda: model(tokens + 2**40), "inputs must be from -2147483648 to 2147483647, got 1099511627776"),
        (lambda: model(tokens, lengths=[5, 5]), "arrays must be inputs, got inputs, lengths"),
        (lambda: model.begin(tokens), "arrays must be none, got inputs"),
        (lambda: model.begin(batch=0), "`batch` must be at least 1, got 0"),
        (lambda: model.step(carry, tokens[:1, 0]), r"must be float32 \[batch, 1, 12\], got .* where batch is 1"),
        (lambda: model.step({}, tokens[:, 0]), "carry arrays must be 0/0, 0/1, got none"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "flipped bit": (
        lambda folder: flip(folder / "weights.safetensors"),
        "weights.safetensors is damaged: it does not match",
    ),
    "truncated weights": (
        lambda folder: os.truncate(folder / "weights.safetensors", 100),
        "weights.safetensors is damaged: it does not match its checksum in model.json",
    ),
    "damaged function": (lambda folder: flip(folder / "forward.jax_export"), "forward.jax_export is damaged"),
    "missing weights": (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read: No such file"),
    "truncated model.json": (lambda folder: os.truncate(folder / "model.json", 100), "model.json is damaged"),
    "renamed weight": (
        lambda folder: replace_text(folder / "model.json", "params/head/bias", "params/head/base"),
        r"weights.safetensors: params/head/base does not match model.json",
    ),
    "missing model.json": (lambda folder: (folder / "model.json").unlink(), "no exported model in"),
    "pipe": (lambda folder: replace(folder / "weights.safetensors", os.mkfifo), "must be a regular file"),
    "device": (
        lambda folder: replace(folder / "model.json", lambda path: path.symlink_to("/dev/zero")),
        "must be a regular file",
    ),
    "larger file": (
        lambda folder: os.truncate(folder / "forward.jax_export", 2**40),  # sparse
        "forward.jax_export is damaged: it must have at most",
    ),
    "wrong file entry": (
        lambda folder: set_key(folder, ["files", "forward.jax_export"], "x"),
        "must have bytes and sha256",
    ),
    "no functions": (lambda folder: set_key(folder, ["functions"], None), "functions must be an object, got None"),
    "wrong reads": (
        lambda folder: set_key(folder, ["functions", "step", "reads"], [1]),
        "reads of step must be a list of length 2",
    ),
    "wrong dtype": (
        lambda folder: set_key(folder, ["weights", 0, "dtype"], "O,"),
        "a weight must have a name, a shape and a dtype",
    ),
    "control characters in a name": (
        lambda folder: set_key(folder, ["weights", 0, "name"], "\x1b[2J\n"),
        r"weights.safetensors: \\x1b\[2J does not match",
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
def test_damaged_export_is_rejected(small_export, tmp_path, damage, message):
    folder = shutil.copytree(small_export, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(ValueError, match=message):
        exported.load(folder)


@pytest.mark.parametrize(
    "content", [b"", b'\x05\0\0\0\0\0\0\0{"a"', b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]", b'\x09\0\0\0\0\0\0\0{"a": {}}']
)
def test_invalid_safetensors_are_rejected(content):
    with pytest.raises(ValueError, match="w is damaged"):
        exported.read_safetensors(Path("w"), content)


def test_safetensors_of_every_dtype_are_read(tmp_path):
    from jaxnets import weights

    given = {f"a/{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in ("float16", "int8", "uint16", "bool")}
    given |= {"b": np.asarray(jnp.arange(5, dtype=jnp.bfloat16)), "scalar": np.float32(3), "empty": np.zeros((0, 2))}
    weights.write(tmp_path / "w", given)
    found = exported.read_safetensors(tmp_path / "w", (tmp_path / "w").read_bytes())
    assert found.keys() == given.keys()
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, np.shape(array))
        np.testing.assert_array_equal(found[name], array)


def test_export_replaces_only_an_export_of_the_same_run(small_run, small_export, tmp_path):
    run = restore.open_run(small_run, "15")
    folder = shutil.copytree(small_export, tmp_path / "export")
    export_folder.check_replaceable(folder, run, overwrite=False)
    export_folder.write(folder, run, artifacts.of_run(run))
    assert exported.load(folder).about["step"] == 15
    assert [path.name for path in tmp_path.iterdir()] == ["export"]

    replace_text(folder / "config.json", '"hidden_size": 12', '"hidden_size": 13')
    with pytest.raises(UsageError, match="holds the export of another run; --overwrite replaces it"):
        export_folder.check_replaceable(folder, run, overwrite=False)
    export_folder.check_replaceable(folder, run, overwrite=True)

    (folder / "thesis.tex").touch()
    with pytest.raises(UsageError, match="must be a new folder or an export, got .* with thesis.tex"):
        export_folder.check_replaceable(folder, run, overwrite=True)
    (tmp_path / "settings").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "settings")
    with pytest.raises(UsageError, match="must be a new folder or an export, got .* with config.json"):
        export_folder.check_replaceable(tmp_path / "settings", run, overwrite=True)
    with pytest.raises(UsageError, match="--output must be a folder, got the file"):
        export_folder.check_replaceable(folder / "thesis.tex", run, overwrite=True)


def test_failed_write_keeps_the_old_export(small_run, small_export, environment, tmp_path):
    folder = shutil.copytree(small_export, tmp_path / "export")
    # Files are limited to 12 blocks of 1 kB. The weights are larger.
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


def test_example_in_the_export_page_runs(small_export, tmp_path):
    shutil.copytree(small_export, tmp_path / "runs" / "char_lm" / "export")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "export.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", f"{example}\nassert len(text) == 100"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "vocabulary",
    [data.Vocabulary("\n abcé"), data.learn_pieces(["a bcé\n", "a abc\n"], 258)],
    ids=lambda vocabulary: vocabulary.unit,
)
def test_vocabulary_of_an_export_encodes_text(vocabulary):
    (example,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "guides" / "export.md").read_text(), re.DOTALL)
    for_characters, for_pieces = example.splitlines()
    names = {"tokenizers": tokenizers, "targets": dataclasses.asdict(vocabulary), "text": "bé abc\na"}
    exec(for_characters if vocabulary.characters else for_pieces, names)
    np.testing.assert_array_equal(names["tokens"], vocabulary.encode(names["text"]))
