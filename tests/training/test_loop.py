"""What the training loop promises beside its numbers."""

import jax
import pytest
from in_process import ready, trained

from jaxnets.training import loop
from jaxnets.training.errors import RunError
from jaxnets.training.reporting.progress import Progress


def test_a_kill_costs_one_interval_at_most(tmp_path, small_flags, monkeypatch):
    lost = []
    note = Progress.note

    def after_a_step(self, step, *numbers):
        whole = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal()]
        lost.append(step - max(whole, default=0))  # by a kill at this instant
        note(self, step, *numbers)

    monkeypatch.setattr(Progress, "note", after_a_step)
    trained(tmp_path, *small_flags, "--config.train.steps=12", "--config.train.evaluate_every=4")
    assert lost == [1, 2, 3, 4] * 3


def exhausted(*arguments):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99999999999 bytes.")


def no_memory(*arguments):
    raise MemoryError


@pytest.mark.parametrize("step", [exhausted, no_memory])
def test_running_out_of_memory_suggests_what_to_do(tmp_path, small_flags, step):
    settings, dataset, task, compiled = ready(*small_flags)
    with pytest.raises(RunError) as told:
        loop.train(settings, tmp_path, dataset, task, compiled._replace(step=step))
    assert "a smaller --config.data.batch_size" in told.value.message
    assert "a larger --config.train.grad_accum_steps" in told.value.message


def test_other_errors_of_the_runtime_are_as_they_are(tmp_path, small_flags):
    def failed(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: of another kind")

    settings, dataset, task, compiled = ready(*small_flags)
    with pytest.raises(jax.errors.JaxRuntimeError, match="of another kind"):
        loop.train(settings, tmp_path, dataset, task, compiled._replace(step=failed))
