"""What the training loop promises beside its numbers."""

from in_process import trained

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
