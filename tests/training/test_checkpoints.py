"""Checkpoints give back what was saved, or the step before: never a wrong number."""

import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.training import checkpoints as checkpoints_module
from jaxnets.training import file_digests
from jaxnets.training.checkpoints import Checkpoints
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.file_digests import LIST, list_files
from jaxnets.training.state import State


def state(step):
    random = np.random.default_rng(step)
    numbers = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
    params = {"dense": {"kernel": numbers(30, 20), "bias": numbers(20)}}
    variables = {"params": params, "batch_stats": {"mean": numbers(20).astype(jnp.bfloat16)}}
    return State(jnp.int32(step), variables, ({"mu": params, "count": jnp.int32(step)},), (numbers(4, 8),))


LIKE = jax.eval_shape(lambda: state(0))


def equal(one, other):
    same = lambda a, b: a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return jax.tree.all(jax.tree.map(same, one, other))


def saved(folder, losses, **kept):
    """Checkpoints of the steps that ``losses`` has, with these validation losses."""
    with Checkpoints(folder / "checkpoints", **kept) as checkpoints:
        for step, loss in losses.items():
            metrics = None if loss is None else {"val/loss": loss}
            checkpoints.save(step, state(step), {"next_index": step}, metrics)
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
                step, variables = checkpoints.restore_variables("best", LIKE.variables)
            assert step == 4 and equal(variables, state(4).variables)
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
        assert checkpoints.restore_variables("best", LIKE.variables)[0] == 4
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
        assert checkpoints.restore_variables("4", LIKE.variables)[0] == 4
        with pytest.raises(RunError, match="checkpoint of step 8 .* cannot be read"):
            checkpoints.restore_variables("8", LIKE.variables)
        with pytest.raises(UsageError, match="--step=5: best, last or one of 4, 8 expected"):
            checkpoints.restore_variables("5", LIKE.variables)


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
        assert checkpoints.restore_variables("best", LIKE.variables)[0] == best
        assert checkpoints.restore_variables("last", LIKE.variables)[0] == max(kept)


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
            checkpoints.restore_variables("best", LIKE.variables)
