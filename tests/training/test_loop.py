"""The training loop: loss of steps after a kill, and errors."""

import jax
import pytest
from in_process import ready, trained

from jaxnets.training import loop
from jaxnets.training.errors import RunError
from jaxnets.training.reporting.progress import Progress


def test_a_kill_loses_at_most_one_interval(tmp_path, small_flags, monkeypatch):
    lost = []
    update = Progress.update

    def after_a_step(self, step, *arguments):
        committed = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal()]
        lost.append(step - max(committed, default=0))  # by a kill at this time
        update(self, step, *arguments)

    monkeypatch.setattr(Progress, "update", after_a_step)
    trained(tmp_path, *small_flags, "--config.train.steps=12", "--config.train.evaluate_every=4")
    assert lost == [1, 2, 3, 4] * 3


def exhausted(*arguments):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99999999999 bytes.")


def no_memory(*arguments):
    raise MemoryError


@pytest.mark.parametrize("step", [exhausted, no_memory])
def test_the_error_for_exhausted_memory_suggests_settings(tmp_path, small_flags, step):
    settings, dataset, task, compiled = ready(*small_flags)
    with pytest.raises(RunError) as error:
        loop.train(settings, tmp_path, dataset, task, compiled._replace(step=step))
    assert "reduce --config.data.batch_size" in error.value.message
    assert "increase --config.train.grad_accum_steps" in error.value.message


def test_other_errors_of_the_runtime_are_not_changed(tmp_path, small_flags):
    def failed(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: of another kind")

    settings, dataset, task, compiled = ready(*small_flags)
    with pytest.raises(jax.errors.JaxRuntimeError, match="of another kind"):
        loop.train(settings, tmp_path, dataset, task, compiled._replace(step=failed))
