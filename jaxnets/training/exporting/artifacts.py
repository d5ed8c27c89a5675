"""A trained run as functions of its weights, lowered so that jax alone runs them, on any of its platforms.

All functions are those of one row, mapped over rows: what a model chooses by the number of rows is chosen for one, and
that number stays open.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from jaxnets.learning.parameters import named
from jaxnets.recurrent.methods import is_method
from jaxnets.tasks import Stream
from jaxnets.tasks.task import max_length
from jaxnets.training import build, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.exporting import raw_inputs
from jaxnets.training.restore import Run

PLATFORMS = ("cpu", "cuda", "tpu")


class Artifacts(NamedTuple):
    """Attributes:
    weights: Of the model, by their paths, and the statistics that raw inputs are standardized by.
    functions: ``forward (weights, inputs) -> answers``; where the model writes token by token also ``begin (weights,
        inputs) -> carry`` (of one row without an axis of rows, where it reads nothing) and ``step (weights, carry,
        token) -> (carry, logits)``. Weights, inputs and carries are dicts of arrays. ``forward`` takes raw inputs.
    limits: Largest sizes of the functions' named axes, where there are any.
    """

    weights: dict[str, jax.Array]
    functions: dict[str, export.Exported]
    limits: dict[str, int]


def of_run(run: Run) -> Artifacts:
    """The functions of a run, as its task uses the model.

    All sizes that the task names stay open. Where a model cannot be traced so, only the number of rows does, and the
    others are those of the run's batches.
    """
    try:
        return _of_run(run, open_lengths=True)
    except Exception:  # whatever a model that is not ours makes of a length that is only a name
        return _of_run(run, open_lengths=False)


def _of_run(run: Run, open_lengths: bool) -> Artifacts:
    task = build.task(run.config, _portable(run.model), run.spec, run.trusted)
    batch = rundir.data(run.workdir)[1]
    raw = run.inputs()
    longest = max_length(run.model)
    weights = {**named(run.variables), **raw_inputs.constants(raw)}

    def lower(function: Callable, *given: Any, prepared: Callable = lambda weights, given: given) -> export.Exported:
        def by_name(weights: dict[str, jax.Array], first: Any, *others: Any) -> Any:
            return function(unnamed(weights, run.variables), prepared(weights, first), *others)

        return export.export(jax.jit(by_name), platforms=PLATFORMS)(_shapes(weights), *given)

    predict, stream = task.endpoints.get("predict"), task.endpoints.get("stream")
    if predict is None:
        raise UsageError(f"{build.task_name(run.config)} has no endpoint predict: there is nothing to export")
    reads, raw_batch = raw_inputs.reads(raw, predict.inputs, batch)
    sizes, limits = _sizes(reads if open_lengths else {}, longest)
    functions = {
        "forward": lower(
            _forward(predict.function), _inputs(reads, raw_batch, sizes), prepared=raw_inputs.function(raw)
        )
    }
    if stream is not None:
        sizes, _ = _sizes(stream.inputs if open_lengths else {}, longest)
        inputs = _inputs(stream.inputs, batch, sizes)
        begin, step, carry = _streaming(stream, run.variables, inputs, sizes["batch"])
        functions["begin"] = lower(begin, inputs)
        functions["step"] = lower(step, carry, jax.ShapeDtypeStruct((sizes["batch"],), jnp.int32))
    return Artifacts(weights, functions, limits)


def unnamed(leaves: Mapping[str, Any], like: Any) -> Any:
    """The tree of leaves that ``named`` made of one like that."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in named(like)])


def _portable(model: nn.Module) -> nn.Module:
    """The model without a choice of how it is computed that one device alone has, or that needs to know lengths."""
    anew: dict[str, Any] = {}
    if is_method(getattr(model, "method", None)):
        anew["method"] = "auto"
    if getattr(model, "implementation", None) in ("chunked", "cudnn"):
        anew["implementation"] = "auto"
    return model.clone(**anew)


def _sizes(reads: Mapping[str, tuple[str, ...]], longest: int | None) -> tuple[dict[str, Any], dict[str, int]]:
    """Symbolic sizes by the names of axes, and the largest that the model allows."""
    lengths = sorted({axis for axes in reads.values() for axis in axes} - {"batch"})
    limits = {} if longest is None else dict.fromkeys(lengths, longest)
    scope = export.SymbolicScope([f"{axis} <= {most}" for axis, most in limits.items()])
    return {axis: export.symbolic_shape(axis, scope=scope)[0] for axis in ("batch", *lengths)}, limits


def _inputs(reads: Mapping[str, tuple[str, ...]], batch: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Shapes of the arrays that are read, and that the run's batches have; sizes that are not named as in those."""

    def one(axes: tuple[str, ...], like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        first = [sizes.get(axis, size) for axis, size in zip(axes, like.shape, strict=False)]
        return jax.ShapeDtypeStruct((*first, *like.shape[len(first) :]), like.dtype)

    return {name: one(axes, batch[name]) for name, axes in reads.items() if name in batch}


def _forward(predict: Callable) -> Callable:
    def forward(variables: Any, inputs: Any) -> Any:
        alone = lambda row: predict(variables, jax.tree.map(lambda a: a[None], row))
        return jax.vmap(lambda row: jax.tree.map(lambda a: a[0], alone(row)))(inputs)

    return forward


def _streaming(stream: Stream, variables: Any, inputs: dict[str, Any], batch: Any) -> tuple[Callable, Callable, Any]:
    """Both functions of a stream over rows, and the shapes of the carry between them."""
    row = jax.tree.map(lambda spec: jax.ShapeDtypeStruct(spec.shape[1:], spec.dtype), inputs)
    prepared = jax.eval_shape(stream.prepare, variables)
    carry = jax.eval_shape(stream.begin, prepared, row)
    axes = jax.tree.broadcast(stream.carry_axes(carry), carry, is_leaf=lambda axis: axis is None)

    def begin(variables: Any, inputs: Any) -> Any:
        of_row = lambda row: stream.begin(stream.prepare(variables), row)
        return named(jax.vmap(of_row, out_axes=axes)(inputs) if inputs else of_row(inputs))

    def step(variables: Any, leaves: Any, token: Any) -> Any:
        prepared = stream.prepare(variables)
        further = lambda carry, token: stream.step(prepared, carry, token)
        after, logits = jax.vmap(further, (axes, 0), (axes, 0))(unnamed(leaves, carry), token)
        return named(after), logits

    def of_rows(axis: int | None, leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape if axis is None else (batch, *leaf.shape), leaf.dtype)

    return begin, step, named(jax.tree.map(of_rows, axes, carry, is_leaf=lambda axis: axis is None))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
