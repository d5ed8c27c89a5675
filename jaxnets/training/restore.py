"""A trained run, opened to be used."""

from jaxnets.training.build import Run, built, open_run
from jaxnets.training.errors import UsageError

__all__ = ["Run", "built", "no_overrides", "open_run"]


def no_overrides(overrides: list[tuple[str, str]]) -> None:
    """A trained run has its config; a program that only reads it takes no ``--config.x``."""
    if overrides:
        raise UsageError(f"--config.{overrides[0][0]}: the run's own config is used; it cannot be changed here")
