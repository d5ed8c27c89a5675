"""Checkpoints: a damaged checkpoint is detected and the previous one is restored."""

import json
import os
import re
import resource
import shutil
import socket
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.training.checkpointing import checkpoints as checkpoints_module
from jaxnets.training.checkpointing import file_digests
from jaxnets.training.checkpointing.checkpoints import Checkpoints
from jaxnets.training.checkpointing.file_digests import LIST, list_files
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.run_files import create_run_id


def state(step):
    """Returns a tree like the result of ``state_trees.to_tree``."""
    random = np.random.default_rng(step)
    numbers = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    params = {"dense": {"kernel": numbers(30, 20), "bias": numbers(20)}}
    variables = {"params": params, "batch_stats": {"mean": numbers(20).astype(jnp.bfloat16)}}
    rest = {"optimizer": {"0": {"mu": params, "count": jnp.int32(step)}}, "carry": {"0": numbers(4, 8)}}
    return {"step": jnp.int32(step), "variables": variables, "rest": rest}


LIKE = jax.eval_shape(lambda: state(0))


def equal(first, second):
    same = lambda a, b: a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return jax.tree.all(jax.tree.map(same, first, second))


def save_steps(folder, losses, **kept):
    """Saves checkpoints with the steps and validation losses of ``losses``."""
    with Checkpoints(folder / "checkpoints", **kept) as checkpoints:
        for step, loss in losses.items():
            metrics = None if loss is None else {"validation/loss": loss}
            checkpoints.save(step, state(step), {"next_index": step}, metrics, loss)
            checkpoints.wait()
    return folder


def read(folder):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        step, found, data = checkpoints.restore(LIKE)
    assert data == {"next_index": step}
    assert equal(found, state(step))
    return step


@pytest.fixture(scope="module")
def intact_run(tmp_path_factory):
    return save_steps(tmp_path_factory.mktemp("intact_run"), {4: 0.5, 8: 0.25})


@pytest.fixture
def run(intact_run, tmp_path):
    return shutil.copytree(intact_run, tmp_path / "run")


def largest_file(folder, step):
    """Returns the largest file of a step, which contains arrays."""
    return max((folder / "checkpoints" / str(step)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def damage(path: Path, kind_of_damage: str) -> None:
    content = bytearray(path.read_bytes())
    if kind_of_damage == "deleted":
        return path.unlink()
    if kind_of_damage == "truncated":
        content = content[: len(content) // 2]
    elif kind_of_damage == "emptied":
        content = bytearray()
    else:
        content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


DAMAGES = ("truncated", "emptied", "flipped", "deleted")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # orbax leaves files open when it fails
def test_any_damage_to_any_file_is_reported_and_the_previous_step_restored(intact_run, tmp_path, capsys):
    files = [path.relative_to(intact_run) for path in (intact_run / "checkpoints" / "8").rglob("*") if path.is_file()]
    assert len(files) >= 16 and len([file for file in files if file.name == LIST]) == 1
    for index, file in enumerate(files):
        for kind_of_damage in DAMAGES:
            run = shutil.copytree(intact_run, tmp_path / f"{index}{kind_of_damage}")
            damage(run / file, kind_of_damage)
            stderr = (
                f"checkpoint of step 8 in {run / 'checkpoints'} cannot be read: {file.relative_to('checkpoints/8')} "
            )
            with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
                step, variables = checkpoints.restore_variables("best", LIKE["variables"])
            assert step == 4 and equal(variables, state(4)["variables"])
            assert capsys.readouterr().err.startswith(stderr)
            assert read(run) == 4
            assert capsys.readouterr().err.startswith(stderr)


@pytest.mark.parametrize("kind_of_damage", DAMAGES)
def test_damaged_arrays_are_reported_and_the_previous_step_is_restored(run, capsys, kind_of_damage):
    damage(largest_file(run, 8), kind_of_damage)
    assert read(run) == 4
    error = capsys.readouterr().err
    assert f"checkpoint of step 8 in {run / 'checkpoints'} cannot be read" in error
    assert error.endswith("; step 4 is used\n")
    assert (run / "damaged" / "8").is_dir()
    save_steps(run, {8: 0.1})  # the step can be saved again
    assert read(run) == 8


def test_a_changed_record_is_detected_by_its_digest(run, capsys):
    path = run / "checkpoints" / "8" / "record" / "metadata"
    path.write_text(path.read_text().replace('"next_index": 8', '"next_index": 9'))
    list_files(run / "checkpoints" / "8")  # so that only the digest of the record is wrong
    assert read(run) == 4
    assert "its record is damaged; step 4 is used" in capsys.readouterr().err


def test_a_changed_array_is_detected_by_its_digest(run, capsys):
    """The digests of files cannot detect a change before writing or after reading."""
    damage(largest_file(run, 8), "flipped")
    list_files(run / "checkpoints" / "8")
    assert read(run) == 4
    assert "differs from what was saved; step 4 is used" in capsys.readouterr().err


def test_a_step_is_not_committed_before_its_list_of_files(tmp_path, monkeypatch):
    def fails(step):
        raise OSError("No space left on device")

    run = save_steps(tmp_path, {4: 0.5}, max_to_keep=1)
    with monkeypatch.context() as patched:
        patched.setattr(file_digests, "list_files", fails)
        with pytest.raises(RunError, match="No space left on device; the checkpoint of step 4 is intact"):
            save_steps(run, {8: 0.25}, max_to_keep=1)
    assert read(run) == 4
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"4"}


def test_a_best_step_with_a_damaged_record_is_reported(run, capsys):
    shutil.rmtree(run / "checkpoints" / "8" / "record")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("best", LIKE["variables"])[0] == 4
    stderr = capsys.readouterr().err
    assert "checkpoint of step 8 in" in stderr and stderr.endswith("; step 4 is used\n")


def test_restored_arrays_are_verified_by_their_digests(tmp_path, monkeypatch, capsys):
    run = save_steps(tmp_path, {4: 0.5})
    digests = checkpoints_module.digests
    wrong = lambda tree: digests(tree) | {"variables/params/dense/bias": "0" * 16}
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "digests", wrong)
        save_steps(tmp_path, {8: 0.25})
    assert read(run) == 4
    assert "variables/params/dense/bias differs from what was saved; step 4 is used" in capsys.readouterr().err


def test_an_explicit_step_is_not_replaced_by_another(run):
    damage(run / "checkpoints" / "8" / "record" / "metadata", "flipped")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("4", LIKE["variables"])[0] == 4
        with pytest.raises(RunError, match="checkpoint of step 8 .* cannot be read"):
            checkpoints.restore_variables("8", LIKE["variables"])
        with pytest.raises(UsageError, match="--step must be best, last or one of 4, 8, got 5"):
            checkpoints.restore_variables("5", LIKE["variables"])


def test_if_all_steps_are_damaged_none_is_moved(run, capsys):
    for step in (4, 8):
        damage(largest_file(run, step), "flipped")
    with (
        Checkpoints(run / "checkpoints") as checkpoints,
        pytest.raises(RunError, match="checkpoint of step 4 .* cannot be read"),
    ):
        checkpoints.restore(LIKE)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"4", "8"}


@pytest.mark.parametrize(
    ("losses", "kept", "best"),
    [
        ({1: 0.5, 2: 0.7, 3: 0.6, 4: 0.9}, {1, 3, 4}, 1),
        ({1: 0.5, 2: 0.1, 3: 0.6, 4: 0.9, 5: None}, {2, 4, 5}, 2),
        ({1: None, 2: None, 3: None}, {2, 3}, 3),
    ],
)
def test_the_last_two_and_the_best_checkpoints_are_kept(tmp_path, losses, kept, best):
    run = save_steps(tmp_path, losses)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == kept
        assert checkpoints.restore_variables("best", LIKE["variables"])[0] == best
        assert checkpoints.restore_variables("last", LIKE["variables"])[0] == max(kept)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"max_to_keep": 1}, {2, 6}),
        ({"max_to_keep": 3}, {2, 4, 5, 6}),
        ({"max_to_keep": 1, "keep_period": 3}, {2, 3, 6}),
        ({"max_to_keep": 2, "keep_period": 1}, {1, 2, 3, 4, 5, 6}),
    ],
)
def test_max_to_keep_and_keep_period(tmp_path, options, kept):
    run = save_steps(tmp_path, {1: 0.9, 2: 0.1, 3: 0.6, 4: 0.5, 5: 0.4, 6: 0.3}, **options)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == kept
    save_steps(run, {7: 0.2}, max_to_keep=1)  # the options may change
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == {2, 7}


@pytest.mark.filterwarnings("ignore")  # orbax leaves files open when it fails
def test_a_failed_save_removes_nothing(tmp_path):
    run = save_steps(tmp_path, {4: 0.5, 8: 0.25}, max_to_keep=1)
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match="the checkpoint of step 8 is intact"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # too small for the arrays
            save_steps(run, {12: 0.1}, max_to_keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert read(run) == 8


def test_restore_without_checkpoints_returns_none(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore(LIKE) is None
        with pytest.raises(RunError, match="no checkpoint in .*: train there first"):
            checkpoints.restore_variables("best", LIKE["variables"])


def rename(first, second):
    return lambda steps: (steps / first).rename(steps / second)


def swap_steps(steps):
    for before, after in (("4", "x"), ("8", "4"), ("x", "8")):
        (steps / before).rename(steps / after)


def change_run_id(steps):
    create_run_id(steps.parent)  # as if the checkpoints came from another run


def add_to_list(**files):
    """Adds files to the list of step 8, with a valid digest of the list."""

    def do(steps):
        path = steps / "8" / LIST
        listed = {**json.loads(path.read_text())["files"], **files}
        path.write_text(json.dumps({"files": listed, "sha256": file_digests.sha256(listed)}))

    return do


def replace_file(name, make):
    """Replaces a file of step 8."""

    def do(steps):
        path = steps / "8" / name
        path.unlink(missing_ok=True)
        make(path)

    return do


NOT_FILES = {
    "pipe": (os.mkfifo, "a named pipe"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "a symbolic link"),
    "socket": (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "a socket"),
}
FOREIGN = {  # change to steps 4 and 8, the remaining valid step, message
    "renamed": (rename("8", "999"), 4, "checkpoint of step 999 in .* cannot be read: it belongs to step 8; step 4"),
    "beyond 64 bits": (rename("8", str(2**64)), 4, f"checkpoint of step {2**64} in .* it belongs to step 8; step 4"),
    "list names a parent": (add_to_list(**{"../../x": "0" * 64}), 4, "../../x is missing; step 4"),
    "list names a device": (add_to_list(**{"/dev/zero": "0" * 64}), 4, "/dev/zero is missing; step 4"),
    "file beyond the list": (
        replace_file("more", lambda path: path.write_text("x")),
        4,
        f"more is not in {LIST}; step 4",
    ),
    "nested list": (replace_file(LIST, lambda path: path.write_text("[" * 10**5)), 4, f"{LIST} is missing or damaged"),
}


@pytest.mark.parametrize("do, left, message", FOREIGN.values(), ids=FOREIGN)
def test_foreign_steps_are_not_restored(run, capsys, do, left, message):
    do(run / "checkpoints")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("last", LIKE["variables"])[0] == left
    assert re.search(message, capsys.readouterr().err)
    assert read(run) == left
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    "do, message", [(swap_steps, "it belongs to step"), (change_run_id, "it belongs to another run")]
)
def test_if_all_steps_are_foreign_none_is_restored(run, do, message):
    do(run / "checkpoints")
    with pytest.raises(RunError, match=message):
        read(run)


@pytest.mark.parametrize("make, kind", NOT_FILES.values(), ids=NOT_FILES)
@pytest.mark.parametrize("name", [LIST, "record/metadata", "state/_METADATA", "more"])
def test_irregular_files_are_rejected_before_they_are_opened(run, monkeypatch, name, make, kind):
    monkeypatch.chdir(run / "checkpoints")  # the paths of sockets are short
    replace_file(name, make)(Path())
    with pytest.raises(RunError, match=f"8/{name} must be a regular file, got {kind}"):
        Checkpoints(run / "checkpoints", read_only=True)


def test_a_link_instead_of_the_checkpoint_folder_is_rejected(run):
    (run / "checkpoints").rename(run / "elsewhere")
    (run / "checkpoints").symlink_to("elsewhere")
    with pytest.raises(RunError, match="checkpoints must be a folder, got a symbolic link"):
        Checkpoints(run / "checkpoints")


def test_a_concurrently_removed_step_is_not_reported_as_damaged(run, capsys, monkeypatch):
    removed = []

    def check(step):
        if not removed:  # a concurrent run removes the step between listing and reading
            removed.append(shutil.rmtree(run / "checkpoints" / "8"))
            save_steps(run, {12: 0.1})
        file_digests.check_files(step)

    monkeypatch.setattr(checkpoints_module, "check_files", check)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("best", LIKE["variables"])[0] == 12
    assert capsys.readouterr().err == ""


RECORDS = {
    "a list": lambda record: [1],
    "text as metrics": lambda record: {**record, "metrics": "validation/loss"},
    "text as a metric": lambda record: {**record, "metrics": {"validation/loss": "0.1"}},
    "text as the score": lambda record: {**record, "score": "0.1"},
    "a list as the position": lambda record: {**record, "data": [3]},
    "numbers as digests": lambda record: {**record, "digests": 5},
    "text as the step": lambda record: {**record, "step": "8"},
    "no position": lambda record: {name: value for name, value in record.items() if name != "data"},
}


@pytest.mark.parametrize("change", RECORDS.values(), ids=RECORDS)
def test_a_record_with_wrong_types_is_rejected(run, capsys, change):
    """The digests are valid, as in a manipulated checkpoint."""
    path = run / "checkpoints" / "8" / "record" / "metadata"
    record = change({name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"})
    if isinstance(record, dict):
        record["sha256"] = file_digests.sha256(record)
    path.write_text(json.dumps(record))
    list_files(run / "checkpoints" / "8")
    assert read(run) == 4
    stderr = capsys.readouterr().err
    assert "its record" in stderr
    assert stderr.count("\n") == 1


def test_stored_arrays_of_another_shape_are_not_read(run):
    """An untrusted checkpoint can contain arrays of any size."""
    like = jax.eval_shape(lambda: state(0)["variables"])
    larger = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:-1], leaf.shape[-1] + 1), leaf.dtype), like)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        checkpoints.restore_variables("8", like)
        with pytest.raises(RunError, match="not compatible with the stored shape"):
            checkpoints.restore_variables("8", larger)
