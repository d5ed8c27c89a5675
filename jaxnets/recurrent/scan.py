"""``scan``: runs any cell over a sequence, and differentiates it in chunks without keeping the gates.

The forward pass goes chunk by chunk: one product projects the chunk's inputs while they are in cache, then the steps
run with one state product each. Only the carries are kept. The backward pass goes through the chunks in reverse. Since
every carry of a chunk is known, all its state products and everything elementwise are recomputed at once, and the
step's linearisation with them; what remains sequential is one product a step and the multiply-adds around it. Weight
gradients are one large product a chunk. No cell writes a backward pass: the engine gets it by differentiating the
cell's step with a ``dot`` whose result is known.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.recurrent.cell import Carry, Cell, Params, matmul, split_params


class Plan(NamedTuple):
    """How the sequential executor runs: all static."""

    chunk: int
    keep: str
    unroll: int
    reverse: bool
    axis: int  # of time in xs and ys


def scan(
    cell: Cell,
    params: Params,
    xs: jax.Array,
    carry: Carry | None = None,
    *,
    reverse: bool = False,
    time_major: bool = False,
    chunk: int | None = None,
    keep: str = "carries",
    unroll: int = 1,
    method: str = "sequential",
) -> tuple[Carry, jax.Array]:
    """Runs ``cell`` over a sequence.

    Products are computed in the dtype of ``xs`` and accumulated in float32; carries stay float32. Gradients reach
    ``params``, ``xs`` and ``carry``.

    Args:
        cell: A recurrent cell.
        params: Its parameters, as ``cell.init`` makes them.
        xs: ``[*batch, T, D]``, or ``[T, *batch, D]`` when ``time_major``. T may be 0.
        carry: The carry before the first step, or None for the cell's initial one.
        reverse: From the last time to the first. ``ys[t]`` still belongs to ``xs[t]``.
        time_major: Whether time is the first axis of ``xs`` and ``ys``.
        chunk: Steps whose projection and gradient are computed at once; None chooses. T need not be a multiple.
        keep: What the backward pass keeps: ``"carries"`` (of every step) or ``"boundaries"`` (each chunk's first
            carry: less memory, the chunk runs once more).
        unroll: Steps unrolled in the inner loop.
        method: ``"sequential"``, or ``"autodiff"``: a plain ``jax.lax.scan``, for forward-mode and second derivatives.

    Returns:
        The carry after the last step, and the outputs ``[*batch, T, H]`` (``[T, *batch, H]`` when ``time_major``) in
        the dtype of ``xs``.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit.
    """
    axis = 0 if time_major else xs.ndim - 2
    _check(params, xs, chunk, keep, unroll, method)
    if carry is None:
        carry = cell.carry(params, _one_step(xs, axis))
    else:
        _check_carry(cell, params, _one_step(xs, axis), carry)
    length = xs.shape[axis]
    steps = chunk or _choose_chunk(length)
    whole = length - length % steps if length else 0
    pieces = [(0, whole, steps), (whole, length, length - whole)]
    outputs = []
    for start, stop, size in reversed(pieces) if reverse else pieces:
        if start == stop:
            continue
        piece = lax.slice_in_dim(xs, start, stop, axis=axis)
        plan = Plan(size, keep, unroll, reverse, axis)
        run = _plain if method == "autodiff" else _chunked
        carry, ys = run(cell, plan, params, piece, carry)
        outputs.append(ys)
    if not outputs:
        return carry, _empty_outputs(cell, params, xs, carry, axis)
    ordered = outputs[::-1] if reverse else outputs
    return carry, ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, axis)


def _choose_chunk(length: int) -> int:
    """The largest divisor of the length between 8 and 32, else 16 with a shorter last chunk."""
    if length <= 32:
        return max(length, 1)
    return next((size for size in range(32, 7, -1) if length % size == 0), 16)


def _one_step(xs: jax.Array, axis: int) -> jax.Array:
    """What a cell needs to know of one step's input: its shape and dtype (works for T = 0 too)."""
    return jnp.zeros((*xs.shape[:axis], *xs.shape[axis + 1 :]), xs.dtype)


def _empty_outputs(cell: Cell, params: Params, xs: jax.Array, carry: Carry, axis: int) -> jax.Array:
    one = jax.ShapeDtypeStruct((*xs.shape[:axis], 1, *xs.shape[axis + 1 :]), xs.dtype)
    plan = Plan(1, "carries", 1, False, axis)
    ys = jax.eval_shape(functools.partial(_plain, cell, plan), params, one, carry)[1]
    return jnp.zeros((*ys.shape[:axis], 0, *ys.shape[axis + 1 :]), ys.dtype)


# ---- executors: (cell, plan, params, xs, carry) -> (carry, ys), xs with at least one step


def _plain(cell: Cell, plan: Plan, params: Params, xs: jax.Array, carry: Carry) -> tuple[Carry, jax.Array]:
    """A plain ``lax.scan`` over the projected sequence: the oracle, differentiable in every mode."""
    source, recurrent, rest = split_params(params)

    def step(carry, u):
        carry, y = cell.step(rest, carry, u, _dot(cell, recurrent, xs.dtype))
        return carry, y.astype(xs.dtype)

    u = cell.project(source, jnp.moveaxis(xs, plan.axis, 0))
    carry, ys = lax.scan(step, carry, u, reverse=plan.reverse, unroll=plan.unroll)
    return carry, jnp.moveaxis(ys, 0, plan.axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked(cell: Cell, plan: Plan, params: Params, xs: jax.Array, carry: Carry) -> tuple[Carry, jax.Array]:
    return _forward(cell, plan._replace(keep="nothing"), params, xs, carry)[:2]


def _chunked_fwd(cell, plan, params, xs, carry):
    last, ys, kept = _forward(cell, plan, params, xs, carry)
    return (last, ys), (params, xs, kept)


def _forward(cell: Cell, plan: Plan, params: Params, xs: jax.Array, carry: Carry) -> tuple[Carry, jax.Array, Any]:
    """Returns the last carry, ys, and what was kept: carries ``[n, chunk, ...]`` or boundaries ``[n, ...]``."""
    source, recurrent, rest = split_params(params)
    dot = _dot(cell, _cast(recurrent, xs.dtype), xs.dtype)
    count = xs.shape[plan.axis] // plan.chunk

    def step(carry, u):
        new, y = cell.step(rest, carry, u, dot)
        return new, (y.astype(xs.dtype), carry if plan.keep == "carries" else None)

    def run_chunk(carry, x):
        return lax.scan(step, carry, cell.project(source, x), reverse=plan.reverse, unroll=plan.unroll)

    def body(state, k):
        first, ys = state
        carry, (y, carries) = run_chunk(first, _take(xs, k, plan))
        kept = {"carries": carries, "boundaries": first, "nothing": None}[plan.keep]
        return (carry, _put(ys, y, k, plan)), kept

    y = jax.eval_shape(run_chunk, carry, jax.eval_shape(lambda: _take(xs, 0, plan)))[1][0]
    buffer = jnp.zeros((*xs.shape[: plan.axis + 1], *y.shape[plan.axis + 1 :]), xs.dtype)
    (carry, ys), kept = lax.scan(body, (carry, buffer), jnp.arange(count), reverse=plan.reverse)
    return carry, ys, kept


def _chunked_bwd(cell, plan, residuals, cotangents):
    params, xs, kept = residuals
    last_carry, ys = cotangents
    source, recurrent, rest = split_params(params)
    weights = _cast(recurrent, xs.dtype)
    dot = _dot(cell, weights, xs.dtype)
    known = _known_product(cell, weights, xs.dtype)
    count = xs.shape[plan.axis] // plan.chunk

    def body(state, inputs):
        carry_gradient, sums, x_gradients = state
        k, kept = inputs
        u, project_vjp = jax.vjp(cell.project, source, _take(xs, k, plan))
        carries = kept
        if plan.keep == "boundaries":
            rerun = lambda carry, u: (cell.step(rest, carry, u, dot)[0], carry)
            carries = lax.scan(rerun, kept, u, reverse=plan.reverse, unroll=plan.unroll)[1]

        names: list[str] = []

        def linearise(carry, u):
            """One step: the states it multiplied, and the pullback of everything but the recurrent weights."""
            states, products = [], []

            def record(name, h):
                names.append(name)
                states.append(h)
                products.append(dot(name, h))
                return products[-1]

            cell.step(rest, carry, u, record)

            def step(carry, u, rest, products):
                products = iter(zip(names, products, strict=True))
                carry, y = cell.step(rest, carry, u, lambda name, h: known(*next(products), h))
                return carry, y.astype(xs.dtype)

            return states, jax.vjp(step, carry, u, rest, products)[1]

        states, pullbacks = jax.vmap(linearise)(carries, u)

        def back(state, inputs):
            carry_gradient, rest_sum = state
            pullback, y_gradient = inputs
            carry_gradient, du, drest, dproducts = pullback((carry_gradient, y_gradient))
            return (carry_gradient, _add(rest_sum, drest)), (du, dproducts)

        (carry_gradient, rest_sum), (du, dproducts) = lax.scan(
            back,
            (carry_gradient, sums["rest"]),
            (pullbacks, _take(ys, k, plan)),
            reverse=not plan.reverse,
            unroll=plan.unroll,
        )
        recurrent_sum = dict(sums["recurrent"])
        for name, h, dz in zip(names, states, dproducts, strict=True):
            gradient = _weight_gradient(cell, recurrent[name], h.astype(xs.dtype), dz)
            recurrent_sum[name] = _add(recurrent_sum[name], gradient)
        input_gradient, dx = project_vjp(du)
        sums = {"input": _add(sums["input"], input_gradient), "recurrent": recurrent_sum, "rest": rest_sum}
        return (carry_gradient, sums, _put(x_gradients, dx, k, plan)), None

    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    sums = {"input": zeros(source), "recurrent": zeros(recurrent), "rest": zeros(rest)}
    (carry_gradient, sums, x_gradients), _ = lax.scan(
        body, (last_carry, sums, jnp.zeros_like(xs)), (jnp.arange(count), kept), reverse=not plan.reverse
    )
    gradients = {**sums["rest"], "input": sums["input"], "recurrent": sums["recurrent"]}
    return gradients, x_gradients, carry_gradient


_chunked.defvjp(_chunked_fwd, _chunked_bwd)


# ---- products


def _dot(cell: Cell, recurrent: Params, dtype: jnp.dtype):
    return lambda name, h: cell.product(recurrent[name], h.astype(dtype))


def _known_product(cell: Cell, weights: Params, dtype: jnp.dtype):
    """``known(name, z, h)`` is z, the product of h with the weight ``name``, and differentiates to both z and h."""
    if cell.product is matmul:
        # Transposed once here, outside the loops: a quarter of the time on a CPU.
        transposed = jax.tree.map(lambda w: lax.optimization_barrier(w.T), weights)
        state_gradient = lambda name, h, dz: matmul(transposed[name], dz.astype(dtype))
    else:

        def state_gradient(name, h, dz):
            z, pullback = jax.vjp(lambda h: cell.product(weights[name], h.astype(dtype)), h)
            return pullback(dz.astype(z.dtype))[0]

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def known(name, z, h):
        return z

    def known_bwd(name, h, dz):
        return dz, state_gradient(name, h, dz).astype(jnp.promote_types(dtype, jnp.float32))

    # A matrix product's gradient needs only the shape of h: zeros of no cost instead of a kept state.
    keep = (lambda h: None) if cell.product is matmul else (lambda h: h)
    known.defvjp(lambda name, z, h: (z, keep(h)), known_bwd)
    return known


def _weight_gradient(cell: Cell, weight: Any, h: jax.Array, dz: jax.Array) -> Any:
    """Of one recurrent weight over a chunk, as one large product; h ``[chunk, ...]``."""
    if cell.product is matmul:  # time and batch joined: XLA's contraction over two axes is slow on a CPU
        h, dz = h.reshape(-1, h.shape[-1]), dz.reshape(-1, dz.shape[-1])
        return jax.vjp(lambda w: matmul(w, h), weight)[1](dz)[0]
    joined = lambda w: jax.vmap(functools.partial(cell.product, _cast(w, h.dtype)))(h)
    z, pullback = jax.vjp(joined, weight)
    return pullback(dz.astype(z.dtype))[0]


# ---- pytrees and chunks


def _take(xs: jax.Array, k: Any, plan: Plan) -> jax.Array:
    """Chunk k of a sequence, time first."""
    return jnp.moveaxis(lax.dynamic_slice_in_dim(xs, k * plan.chunk, plan.chunk, plan.axis), plan.axis, 0)


def _put(buffer: jax.Array, chunk: jax.Array, k: Any, plan: Plan) -> jax.Array:
    """Writes chunk k, time first, into a sequence."""
    return lax.dynamic_update_slice_in_dim(buffer, jnp.moveaxis(chunk, 0, plan.axis), k * plan.chunk, plan.axis)


def _cast(tree: Any, dtype: jnp.dtype) -> Any:
    return jax.tree.map(lambda a: a.astype(dtype), tree)


def _add(left: Any, right: Any) -> Any:
    return jax.tree.map(lambda a, b: a + b.astype(a.dtype), left, right)


# ---- what a user gets wrong


def _check(params: Params, xs: jax.Array, chunk: int | None, keep: str, unroll: int, method: str) -> None:
    if xs.ndim < 2:
        raise ValueError(f"xs: a sequence has at least the axes [T, D]; given shape {xs.shape}")
    if not jnp.issubdtype(xs.dtype, jnp.floating):
        raise ValueError(f"xs: floating point expected; given {xs.dtype} (embed integer tokens first)")
    if not {"input", "recurrent"} <= set(params):
        raise ValueError(f'params: "input" and "recurrent" expected, as cell.init makes them; given {sorted(params)}')
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: at least 1, or None to choose; given {chunk}")
    if unroll < 1:
        raise ValueError(f"unroll: at least 1; given {unroll}")
    for name, value, allowed in (
        ("keep", keep, ("carries", "boundaries")),
        ("method", method, ("sequential", "autodiff")),
    ):
        if value not in allowed:
            raise ValueError(f"{name}: one of {', '.join(allowed)}; given {value!r}")
    kernel = params["input"].get("kernel") if isinstance(params["input"], dict) else None
    if kernel is not None and kernel.ndim == 2 and kernel.shape[0] != xs.shape[-1]:
        raise ValueError(f"xs: the parameters were made for {kernel.shape[0]} features; given shape {xs.shape}")


def _check_carry(cell: Cell, params: Params, x: jax.Array, carry: Carry) -> None:
    expected = jax.eval_shape(cell.carry, params, x)
    shapes = lambda tree: jax.tree.map(lambda a: tuple(a.shape), tree)
    different = jax.tree.structure(expected) != jax.tree.structure(carry)  # type: ignore[operator]
    if different or jax.tree.leaves(shapes(expected)) != jax.tree.leaves(shapes(carry)):
        raise ValueError(f"carry: shapes {shapes(expected)} expected for this batch; given {shapes(carry)}")
