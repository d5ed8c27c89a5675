"""Tasks: loss, metrics and pictures of one kind of problem each."""

from jaxnets.tasks.language_model import language_model, step_of
from jaxnets.tasks.task import Task

__all__ = ["Task", "language_model", "step_of"]
