"""What a task is: the few functions the training loop needs to know of a kind of problem."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Writer(NamedTuple):
    """How a model writes token by token. Both functions are pure, and of one row: no array has an axis of rows.

    Attributes:
        reads: As of ``Task``: what ``begin`` reads; nothing of a batch where a text begins from nothing.
        begin: ``(variables, row) -> carry``, before the first token.
        step: ``(variables, carry, token []) -> (carry, logits [V])``.
    """

    reads: dict[str, tuple[str, ...]]
    begin: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


class Task(NamedTuple):
    """What is learned. All functions but ``draw`` and ``sample`` are pure and get compiled.

    Attributes:
        init: ``(key, batch) -> variables``, ``{"params": ...}`` and what else the model has.
        loss: ``(variables, batch, key, carry) -> (loss, (carry, changed))``. ``carry`` is what goes on from one
            training batch to the next (a recurrent state; ``()`` where there is none); None asks for one to begin with.
            ``changed`` are the variables that training moves otherwise than by gradients, such as ``{"batch_stats":
            ...}``; ``{}`` where there are none.
        evaluate: ``(variables, batch, carry) -> ({name: (sum, count)}, carry)``: metrics as sums, so that they add up
            over batches; ``"loss"`` is one of them.
        predict: ``(variables, batch) -> answers``, an array or a dict of them, what the model answers where it is used.
            Rows come first in all of them, and no row has an effect on another.
        reads: ``{name: axes}``, the arrays of a batch that ``predict`` reads, where the batch has them, and what their
            first axes are called; one of any size has the same name wherever it has the same size.
        draw: ``(variables, batches) -> {name: figure}``, matplotlib figures, what this kind of model is looked at with.
        sample: ``(variables, key) -> str``, what a model that makes something shows at its end, or None.
        items: ``batch -> int``, what a batch counts in the speed that is reported.
        unit: What an item is called.
        measure: What the loss is measured in, such as ``"nats per byte"``.
        derive: ``{name: function of the mean metrics}``, the metrics people ask for that follow from the others.
        score: ``(variables, batches) -> ({name: number}, text)``, what is measured once on trained models only, with
            examples to read, or None.
        answer: ``(variables, text) -> text``, what a model makes of a text that is no beginning, or None.
        writer: How it writes token by token, or None where it does not.
    """

    init: Callable[[jax.Array, Any], Any]
    loss: Callable[[Any, Any, jax.Array, Any], tuple[jax.Array, tuple[Any, dict[str, Any]]]]
    evaluate: Callable[[Any, Any, Any], tuple[dict[str, tuple[jax.Array, jax.Array]], Any]]
    predict: Callable[[Any, Any], Any]
    reads: dict[str, tuple[str, ...]]
    draw: Callable[[Any, Any], dict[str, Any]]
    sample: Callable[[Any, jax.Array], str] | None
    items: Callable[[Any], int]
    unit: str
    measure: str
    derive: dict[str, Callable[[dict[str, float]], float]]
    score: Callable[[Any, Any], tuple[dict[str, float], str]] | None = None
    answer: Callable[[Any, str], str] | None = None
    writer: Writer | None = None
