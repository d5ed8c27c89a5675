"""``Task``: all that the training loop and the programs need to know of a kind of problem."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxnets.learning import Learner
from jaxnets.learning.evaluators import Scheduled
from jaxnets.learning.partitioning import HEAD_RULES, Rules

Report = Callable[[Any, Mapping[str, Any], jax.Array], dict[str, Any]]


class Endpoint(NamedTuple):
    """A use of a trained model.

    Attributes:
        function: ``(variables, inputs) -> outputs``, pure, of dicts of arrays or one array; rows come first in all of
            them, and no row has an effect on another. A random one finds ``inputs["key"]``.
        inputs: ``{name: axes}``, the arrays that it reads, where the data have them, and what their first axes are
            called: an axis of any size has the same name wherever it has the same size.
        read: ``text -> inputs``, for what is typed on a command line; None: inputs are batches of the data, or
            ``{"key": keys [N]}`` alone for ``generate``.
        present: ``outputs -> {name: artifact}``; None: outputs are arrays.
    """

    function: Callable[[Any, Any], Any]
    inputs: dict[str, tuple[str, ...]]
    read: Callable[[str], dict[str, Any]] | None = None
    present: Callable[[Any], dict[str, Any]] | None = None


class Stream(NamedTuple):
    """A model that writes token by token. Both functions are pure, and of one row: no array has an axis of rows.

    Attributes:
        inputs: As of ``Endpoint``: what ``begin`` reads; nothing where a text begins from nothing.
        begin: ``(variables, row) -> carry``, before the first token.
        step: ``(variables, carry, token []) -> (carry, logits [V])``.
        prepare: ``variables -> variables``, those that both functions take; once, before many steps.
        carry_axes: ``carry -> tree``, a prefix of the carry with the axis of rows where several are stacked, 0 for
            most, and None for what all rows share.
    """

    inputs: dict[str, tuple[str, ...]]
    begin: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    prepare: Callable[[Any], Any] = lambda variables: variables
    carry_axes: Callable[[Any], Any] = lambda carry: 0


class Items(NamedTuple):
    """Attributes:
    number: ``batch -> int``, what a batch counts in the speed that is reported.
    unit: What an item is called.
    """

    number: Callable[[Any], int]
    unit: str


class Task(NamedTuple):
    """A kind of problem.

    Attributes:
        learner: How it is learned.
        evaluators: Metrics by name, and when they are measured.
        objective: The metric that decides which checkpoint is the best, and ``"min"`` or ``"max"``; None: the last is.
        reports: ``{name: (variables, splits, key) -> {name: artifact}}``, written every ``train.report_every`` steps
            and at the end of training. ``splits`` are batches by name. An artifact is a matplotlib figure or one of
            ``jaxnets.reports``.
        endpoints: Uses of the trained model. Reserved names: ``predict``, which is exported, ``score``, which
            ``jaxnets.predict`` prefers, ``generate``, and ``stream``, a ``Stream``.
        items: What is counted in the speed that is reported.
        units: ``{metric without its split: unit}``, such as ``{"loss": "nats per byte"}``.
        partition_rules: Axes of parameters that are divided over devices, as in ``learning.partitioning``.
    """

    learner: Learner
    evaluators: dict[str, Scheduled]
    objective: tuple[str, str] | None
    reports: dict[str, Report]
    endpoints: dict[str, Any]
    items: Items
    units: dict[str, str]
    partition_rules: Rules = HEAD_RULES


def rules_of(model: nn.Module) -> Rules:
    """The partition rules of a model's family."""
    return getattr(model, "partition_rules", HEAD_RULES)


def max_length(model: nn.Module) -> int | None:
    """The longest sequence that a model takes, its attribute ``context``; None: any."""
    return getattr(model, "max_seq_len", None)
