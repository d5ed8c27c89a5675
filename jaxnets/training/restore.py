"""Opening of trained runs."""

from jaxnets.training.build import Run, open_run, run_errors
from jaxnets.training.errors import UsageError

__all__ = ["Run", "open_run", "reject_overrides", "run_errors"]


def reject_overrides(overrides: list[tuple[str, str]]) -> None:
    """Raises a ``UsageError`` for ``--config.KEY`` flags, because a trained run is used with its own config."""
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]} cannot be changed here: the run's own config is used")
