"""``Task``: the contract between a kind of problem and the training loop and programs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxnets.learning import Learner
from jaxnets.learning.evaluators import ScheduledEvaluator
from jaxnets.learning.partitioning import HEAD_RULES, Rules

Report = Callable[[Any, Mapping[str, Any], jax.Array], dict[str, Any]]


class Endpoint(NamedTuple):
    """A function of a trained model that the programs call.

    Attributes:
        function: ``(variables, inputs) -> outputs``, pure. Inputs and outputs are dicts of arrays, or one array. The
            first axis of every array is the rows, and rows are independent. A random function uses ``inputs["key"]``.
        inputs: ``{name: axes}``, the input arrays that the function uses if the data has them, with the names of their
            leading axes. Axes with equal names have equal sizes.
        read: ``text -> inputs``, for text from the command line. None: inputs are batches of the data, or
            ``{"key": keys [N]}`` for ``generate``.
        present: ``outputs -> {name: artifact}``. None: outputs are arrays.
        options: Keyword arguments of ``function`` that are not arrays, with their defaults, such as ``{"steps": 50}``.
    """

    function: Callable[..., Any]
    inputs: dict[str, tuple[str, ...]]
    read: Callable[[str], dict[str, Any]] | None = None
    present: Callable[[Any], dict[str, Any]] | None = None
    options: Mapping[str, Any] = MappingProxyType({})


class Stream(NamedTuple):
    """Token-by-token generation. All functions are pure and operate on one row, without a batch axis.

    Attributes:
        inputs: Inputs of ``begin``, as in ``Endpoint``; empty for unconditional generation.
        begin: ``(variables, row) -> carry``, before the first token.
        step: ``(variables, carry, token []) -> (carry, logits [V])``.
        prepare: ``variables -> variables``, called once before many steps; its result is passed to ``begin`` and
            ``step``.
        carry_axes: ``carry -> tree``, a prefix tree of the carry with the batch axis of stacked carries: 0 for most
            leaves, None for leaves that all rows share.
    """

    inputs: dict[str, tuple[str, ...]]
    begin: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    prepare: Callable[[Any], Any] = lambda variables: variables
    carry_axes: Callable[[Any], Any] = lambda carry: 0


class Items(NamedTuple):
    """Items that are counted for the reported speed.

    Attributes:
        number: ``batch -> int``, number of items in a batch.
        unit: Name of an item, in the singular.
    """

    number: Callable[[Any], int]
    unit: str


class Task(NamedTuple):
    """A kind of problem.

    Attributes:
        learner: Initialization and update of the state.
        evaluators: Metrics by name, with their schedules.
        objective: The metric that selects the best checkpoint, and ``"min"`` or ``"max"``. None selects the last
            checkpoint.
        reports: ``{name: (variables, splits, key) -> {name: artifact}}``, written every ``train.report_every`` steps
            and at the end of training. ``splits`` maps names to batches. An artifact is a matplotlib figure or one of
            ``jaxnets.reports``.
        endpoints: Functions of the trained model. Reserved names are ``predict``, which is exported; ``score``, which
            ``jaxnets.predict`` prefers; ``generate``; and ``stream``, a ``Stream``.
        items: Items that are counted for the reported speed.
        units: ``{metric without its split: unit}``, such as ``{"loss": "nats per byte"}``.
        partition_rules: Axes of parameters to partition over devices, as in ``learning.partitioning``.
    """

    learner: Learner
    evaluators: dict[str, ScheduledEvaluator]
    objective: tuple[str, str] | None
    reports: dict[str, Report]
    endpoints: dict[str, Any]
    items: Items
    units: dict[str, str]
    partition_rules: Rules = HEAD_RULES


def partition_rules_of(model: nn.Module) -> Rules:
    """Returns the partition rules of the family of a model."""
    return getattr(model, "partition_rules", HEAD_RULES)


def max_seq_len_of(model: nn.Module) -> int | None:
    """Returns the maximum sequence length of a model, its attribute ``max_seq_len``; None if it has no limit."""
    return getattr(model, "max_seq_len", None)
