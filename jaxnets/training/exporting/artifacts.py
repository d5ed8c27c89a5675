"""Functions of a trained run and its weights, exported with ``jax.export`` for several platforms.

Every function is written for one row and mapped over rows with ``jax.vmap``, so that the batch size can be symbolic. A
model that chooses an algorithm by the batch size chooses it for one row.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export

from jaxnets.learning.parameters import leaves_by_path
from jaxnets.recurrent.methods import is_method
from jaxnets.tasks import Stream
from jaxnets.tasks.task import max_seq_len_of
from jaxnets.training import build, rundir
from jaxnets.training.errors import UsageError
from jaxnets.training.exporting import raw_inputs
from jaxnets.training.restore import Run

PLATFORMS = ("cpu", "cuda", "tpu")


class Artifacts(NamedTuple):
    """The exported functions of a run and their weights.

    Attributes:
        weights: The variables of the model by path, and the statistics that standardize raw inputs.
        functions: ``forward (weights, inputs) -> outputs``, which takes raw inputs. A model that generates token by
            token also has ``begin (weights, inputs) -> carry`` and ``step (weights, carry, token) -> (carry, logits)``.
            If ``begin`` has no inputs, its carry is of one row and has no batch axis. Weights, inputs and carries are
            dicts of arrays.
        limits: The maximum sizes of named axes.
    """

    weights: dict[str, jax.Array]
    functions: dict[str, export.Exported]
    limits: dict[str, int]


def of_run(run: Run) -> Artifacts:
    """Exports the functions of a run's task.

    All sizes that the task names are symbolic. If the model cannot be traced with symbolic lengths, only the batch size
    is symbolic, and the lengths are taken from the run's batches.
    """
    try:
        return _of_run(run, symbolic_lengths=True)
    except Exception:  # a user's model may raise anything for a symbolic length
        return _of_run(run, symbolic_lengths=False)


def _of_run(run: Run, symbolic_lengths: bool) -> Artifacts:
    task = build.task(run.config, _portable(run.model), run.spec, run.trusted)
    batch = rundir.data(run.workdir)[1]
    raw = run.inputs()
    max_len = max_seq_len_of(run.model)
    weights = {**leaves_by_path(run.variables), **raw_inputs.constants(raw)}

    def lower(
        function: Callable, *shapes: Any, preprocess: Callable = lambda weights, inputs: inputs
    ) -> export.Exported:
        def of_weights(weights: dict[str, jax.Array], first: Any, *others: Any) -> Any:
            return function(unnamed(weights, run.variables), preprocess(weights, first), *others)

        return export.export(jax.jit(of_weights), platforms=PLATFORMS)(_shapes(weights), *shapes)

    predict, stream = task.endpoints.get("predict"), task.endpoints.get("stream")
    if predict is None:
        raise UsageError(
            f"a run to export must have an endpoint predict, got {build.task_name(run.config)} without one"
        )
    reads, raw_batch = raw_inputs.reads(raw, predict.inputs, batch)
    sizes, limits = _sizes(reads if symbolic_lengths else {}, max_len)
    functions = {
        "forward": lower(
            _forward(predict.function), _inputs(reads, raw_batch, sizes), preprocess=raw_inputs.function(raw, batch)
        )
    }
    if stream is not None:
        sizes, _ = _sizes(stream.inputs if symbolic_lengths else {}, max_len)
        inputs = _inputs(stream.inputs, batch, sizes)
        begin, step, carry = _streaming(stream, run.variables, inputs, sizes["batch"])
        functions["begin"] = lower(begin, inputs)
        functions["step"] = lower(step, carry, jax.ShapeDtypeStruct((sizes["batch"],), jnp.int32))
    return Artifacts(weights, functions, limits)


def unnamed(leaves: Mapping[str, Any], like: Any) -> Any:
    """Returns the pytree with the structure of ``like`` and these leaves; the inverse of ``named``."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in leaves_by_path(like)])


def _portable(model: nn.Module) -> nn.Module:
    """Returns the model without algorithms that need a certain platform or known lengths."""
    changes: dict[str, Any] = {}
    if is_method(getattr(model, "method", None)):
        changes["method"] = "auto"
    if getattr(model, "implementation", None) in ("chunked", "cudnn"):
        changes["implementation"] = "auto"
    return model.clone(**changes)


def _sizes(reads: Mapping[str, tuple[str, ...]], max_len: int | None) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns symbolic sizes by axis name, and the maximum sizes that the model supports."""
    lengths = sorted({axis for axes in reads.values() for axis in axes} - {"batch"})
    limits = {} if max_len is None else dict.fromkeys(lengths, max_len)
    scope = export.SymbolicScope([f"{axis} <= {limit}" for axis, limit in limits.items()])
    return {axis: export.symbolic_shape(axis, scope=scope)[0] for axis in ("batch", *lengths)}, limits


def _inputs(reads: Mapping[str, tuple[str, ...]], batch: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the shapes of the inputs that batches have, with symbolic sizes for named axes."""

    def one(axes: tuple[str, ...], like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        first = [sizes.get(axis, size) for axis, size in zip(axes, like.shape, strict=False)]
        return jax.ShapeDtypeStruct((*first, *like.shape[len(first) :]), like.dtype)

    return {name: one(axes, batch[name]) for name, axes in reads.items() if name in batch}


def _forward(predict: Callable) -> Callable:
    def forward(variables: Any, inputs: Any) -> Any:
        of_one = lambda row: predict(variables, jax.tree.map(lambda a: a[None], row))
        return jax.vmap(lambda row: jax.tree.map(lambda a: a[0], of_one(row)))(inputs)

    return forward


def _streaming(stream: Stream, variables: Any, inputs: dict[str, Any], batch: Any) -> tuple[Callable, Callable, Any]:
    """Returns the functions begin and step of a stream, mapped over rows, and the shapes of the carry."""
    row = jax.tree.map(lambda spec: jax.ShapeDtypeStruct(spec.shape[1:], spec.dtype), inputs)
    prepared = jax.eval_shape(stream.prepare, variables)
    carry = jax.eval_shape(stream.begin, prepared, row)
    axes = jax.tree.broadcast(stream.carry_axes(carry), carry, is_leaf=lambda axis: axis is None)

    def begin(variables: Any, inputs: Any) -> Any:
        of_row = lambda row: stream.begin(stream.prepare(variables), row)
        return leaves_by_path(jax.vmap(of_row, out_axes=axes)(inputs) if inputs else of_row(inputs))

    def step(variables: Any, leaves: Any, token: Any) -> Any:
        prepared = stream.prepare(variables)
        of_row = lambda carry, token: stream.step(prepared, carry, token)
        next_carry, logits = jax.vmap(of_row, (axes, 0), (axes, 0))(unnamed(leaves, carry), token)
        return leaves_by_path(next_carry), logits

    def of_rows(axis: int | None, leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape if axis is None else (batch, *leaf.shape), leaf.dtype)

    return begin, step, leaves_by_path(jax.tree.map(of_rows, axes, carry, is_leaf=lambda axis: axis is None))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
