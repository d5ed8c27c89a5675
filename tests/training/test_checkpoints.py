"""Checkpoints give back what was saved, or the step before: never a wrong number."""

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
from jaxnets.training.run_files import name_run


def state(step):
    """A tree as ``saved.split`` makes it."""
    random = np.random.default_rng(step)
    numbers = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    params = {"dense": {"kernel": numbers(30, 20), "bias": numbers(20)}}
    variables = {"params": params, "batch_stats": {"mean": numbers(20).astype(jnp.bfloat16)}}
    rest = {"optimizer": {"0": {"mu": params, "count": jnp.int32(step)}}, "carry": {"0": numbers(4, 8)}}
    return {"step": jnp.int32(step), "variables": variables, "rest": rest}


LIKE = jax.eval_shape(lambda: state(0))


def equal(one, other):
    same = lambda a, b: a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return jax.tree.all(jax.tree.map(same, one, other))


def saved(folder, losses, **kept):
    """Checkpoints of the steps that ``losses`` has, with these validation losses."""
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
def whole(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("whole"), {4: 0.5, 8: 0.25})


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def kernel_file(folder, step):
    """The largest file of a step: that of the arrays."""
    return max((folder / "checkpoints" / str(step)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "deleted":
        return path.unlink()
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "emptied":
        content = bytearray()
    else:
        content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


HOW = ("truncated", "emptied", "flipped", "deleted")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what orbax was reading when it gave up
def test_every_damage_to_every_file_of_a_checkpoint_is_told_and_the_step_before_used(whole, tmp_path, capsys):
    files = [path.relative_to(whole) for path in (whole / "checkpoints" / "8").rglob("*") if path.is_file()]
    assert len(files) >= 16 and len([file for file in files if file.name == LIST]) == 1
    for number, file in enumerate(files):
        for how in HOW:
            run = shutil.copytree(whole, tmp_path / f"{number}{how}")
            damage(run / file, how)
            told = (
                f"checkpoint of step 8 in {run / 'checkpoints'} cannot be read: {file.relative_to('checkpoints/8')} is "
            )
            with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
                step, variables = checkpoints.restore_variables("best", LIKE["variables"])
            assert step == 4 and equal(variables, state(4)["variables"])
            assert capsys.readouterr().err.startswith(told)
            assert read(run) == 4
            assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize("how", HOW)
def test_arrays_that_were_damaged_are_told_and_the_step_before_is_used(run, capsys, how):
    damage(kernel_file(run, 8), how)
    assert read(run) == 4
    error = capsys.readouterr().err
    assert f"checkpoint of step 8 in {run / 'checkpoints'} cannot be read" in error
    assert error.endswith("; step 4 is used\n")
    assert (run / "damaged" / "8").is_dir()
    saved(run, {8: 0.1})  # in its place
    assert read(run) == 8


def test_a_number_changed_in_the_record_is_told(run, capsys):
    path = run / "checkpoints" / "8" / "record" / "metadata"
    path.write_text(path.read_text().replace('"next_index": 8', '"next_index": 9'))
    list_files(run / "checkpoints" / "8")  # so that only the record's own digest can tell
    assert read(run) == 4
    assert "its record is damaged; step 4 is used" in capsys.readouterr().err


def test_numbers_changed_in_an_array_are_told_by_its_digest(run, capsys):
    """Also those that no file's digest can tell: changed before they were written, or after they were read."""
    damage(kernel_file(run, 8), "flipped")
    list_files(run / "checkpoints" / "8")
    assert read(run) == 4
    assert "is not what was saved; step 4 is used" in capsys.readouterr().err


def test_a_step_is_not_there_before_its_list(tmp_path, monkeypatch):
    def fails(step):
        raise OSError("No space left on device")

    run = saved(tmp_path, {4: 0.5}, keep=1)
    with monkeypatch.context() as patched:
        patched.setattr(file_digests, "list_files", fails)
        with pytest.raises(RunError, match="No space left on device; the checkpoint of step 4 is intact"):
            saved(run, {8: 0.25}, keep=1)
    assert read(run) == 4
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"4"}


def test_a_best_step_whose_record_is_damaged_is_told_where_another_is_used(run, capsys):
    shutil.rmtree(run / "checkpoints" / "8" / "record")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("best", LIKE["variables"])[0] == 4
    told = capsys.readouterr().err
    assert "checkpoint of step 8 in" in told and told.endswith("; step 4 is used\n")


def test_arrays_are_compared_with_their_digests(tmp_path, monkeypatch, capsys):
    run = saved(tmp_path, {4: 0.5})
    true = checkpoints_module.digests
    wrong = lambda tree: true(tree) | {"variables/params/dense/bias": "0" * 16}
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "digests", wrong)
        saved(tmp_path, {8: 0.25})
    assert read(run) == 4
    assert "variables/params/dense/bias is not what was saved; step 4 is used" in capsys.readouterr().err


def test_what_is_asked_for_by_its_number_is_not_replaced(run):
    damage(run / "checkpoints" / "8" / "record" / "metadata", "flipped")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("4", LIKE["variables"])[0] == 4
        with pytest.raises(RunError, match="checkpoint of step 8 .* cannot be read"):
            checkpoints.restore_variables("8", LIKE["variables"])
        with pytest.raises(UsageError, match="--step must be best, last or one of 4, 8, got 5"):
            checkpoints.restore_variables("5", LIKE["variables"])


def test_where_all_are_damaged_nothing_is_moved_and_nothing_begun_anew(run, capsys):
    for step in (4, 8):
        damage(kernel_file(run, step), "flipped")
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
def test_the_last_two_and_the_best_stay(tmp_path, losses, kept, best):
    run = saved(tmp_path, losses)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == kept
        assert checkpoints.restore_variables("best", LIKE["variables"])[0] == best
        assert checkpoints.restore_variables("last", LIKE["variables"])[0] == max(kept)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"keep": 1}, {2, 6}),
        ({"keep": 3}, {2, 4, 5, 6}),
        ({"keep": 1, "keep_every": 3}, {2, 3, 6}),
        ({"keep": 2, "keep_every": 1}, {1, 2, 3, 4, 5, 6}),
    ],
)
def test_as_many_stay_as_are_asked_for(tmp_path, options, kept):
    run = saved(tmp_path, {1: 0.9, 2: 0.1, 3: 0.6, 4: 0.5, 5: 0.4, 6: 0.3}, **options)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == kept
    saved(run, {7: 0.2}, keep=1)  # what is asked for may change
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert set(checkpoints.steps()) == {2, 7}


@pytest.mark.filterwarnings("ignore")  # what orbax was writing when it gave up
def test_a_save_that_fails_removes_nothing(tmp_path):
    run = saved(tmp_path, {4: 0.5, 8: 0.25}, keep=1)
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match="the checkpoint of step 8 is intact"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # the arrays do not fit
            saved(run, {12: 0.1}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert read(run) == 8


def test_nothing_saved_is_nothing_to_go_on_from(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.restore(LIKE) is None
        with pytest.raises(RunError, match="no checkpoint in .*: train there first"):
            checkpoints.restore_variables("best", LIKE["variables"])


def move(one, other):
    return lambda steps: (steps / one).rename(steps / other)


def exchange(steps):
    for before, after in (("4", "x"), ("8", "4"), ("x", "8")):
        (steps / before).rename(steps / after)


def from_another_run(steps):
    name_run(steps.parent)  # as if the whole folder of checkpoints came from elsewhere


def list_with(**files):
    """Names these files in the list of step 8, whose own digest fits."""

    def do(steps):
        path = steps / "8" / LIST
        listed = {**json.loads(path.read_text())["files"], **files}
        path.write_text(json.dumps({"files": listed, "sha256": file_digests.sha256(listed)}))

    return do


def replaced(name, make):
    """Puts something else in the place of a file of step 8."""

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
FOREIGN = {  # what is done to steps 4 and 8, which of them is left, what is reported
    "renamed": (move("8", "999"), 4, "checkpoint of step 999 in .* cannot be read: it is that of step 8; step 4"),
    "beyond 64 bits": (move("8", str(2**64)), 4, f"checkpoint of step {2**64} in .* it is that of step 8; step 4"),
    "list names a parent": (list_with(**{"../../x": "0" * 64}), 4, "../../x is missing; step 4"),
    "list names a device": (list_with(**{"/dev/zero": "0" * 64}), 4, "/dev/zero is missing; step 4"),
    "file beyond the list": (replaced("more", lambda path: path.write_text("x")), 4, f"more is not in {LIST}; step 4"),
    "nested list": (replaced(LIST, lambda path: path.write_text("[" * 10**5)), 4, f"{LIST} is missing or damaged"),
}


@pytest.mark.parametrize("do, left, message", FOREIGN.values(), ids=FOREIGN)
def test_foreign_steps_are_not_used(run, capsys, do, left, message):
    do(run / "checkpoints")
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.restore_variables("last", LIKE["variables"])[0] == left
    assert re.search(message, capsys.readouterr().err)
    assert read(run) == left
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    "do, message", [(exchange, "it is that of step"), (from_another_run, "it is that of another run")]
)
def test_no_foreign_step_is_used_where_all_are(run, do, message):
    do(run / "checkpoints")
    with pytest.raises(RunError, match=message):
        read(run)


@pytest.mark.parametrize("make, kind", NOT_FILES.values(), ids=NOT_FILES)
@pytest.mark.parametrize("name", [LIST, "record/metadata", "state/_METADATA", "more"])
def test_what_is_not_a_regular_file_is_refused_before_it_is_opened(run, monkeypatch, name, make, kind):
    monkeypatch.chdir(run / "checkpoints")  # the paths of sockets are short
    replaced(name, make)(Path())
    with pytest.raises(RunError, match=f"8/{name} must be a regular file, got {kind}"):
        Checkpoints(run / "checkpoints", read_only=True)


def test_a_linked_folder_of_checkpoints_is_refused(run):
    (run / "checkpoints").rename(run / "elsewhere")
    (run / "checkpoints").symlink_to("elsewhere")
    with pytest.raises(RunError, match="checkpoints must be a folder, got a symbolic link"):
        Checkpoints(run / "checkpoints")


def test_a_step_that_is_removed_meanwhile_is_not_called_damaged(run, capsys, monkeypatch):
    removed = []

    def check(step):
        if not removed:  # as a run beside this program does, between listing and reading
            removed.append(shutil.rmtree(run / "checkpoints" / "8"))
            saved(run, {12: 0.1})
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
def test_a_record_of_wrong_types_is_refused(run, capsys, change):
    """Its digests are right: whoever wrote it computed them."""
    path = run / "checkpoints" / "8" / "record" / "metadata"
    record = change({name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"})
    if isinstance(record, dict):
        record["sha256"] = file_digests.sha256(record)
    path.write_text(json.dumps(record))
    list_files(run / "checkpoints" / "8")
    assert read(run) == 4
    told = capsys.readouterr().err
    assert "its record" in told
    assert told.count("\n") == 1


def test_stored_arrays_of_another_shape_are_not_read(run):
    """They may be of any size, while the shapes that a model expects are known."""
    like = jax.eval_shape(lambda: state(0)["variables"])
    larger = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:-1], leaf.shape[-1] + 1), leaf.dtype), like)
    with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
        checkpoints.restore_variables("8", like)
        with pytest.raises(RunError, match="not compatible with the stored shape"):
            checkpoints.restore_variables("8", larger)
