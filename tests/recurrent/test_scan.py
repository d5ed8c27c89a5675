"""``scan`` against Python loops, autodiff and finite differences."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from all_cells import CELLS as EVERY_CELL
from all_cells import D, H, gradient, objective, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import recurrent

CELLS = {  # cells that differ for the executor; test_ragged.py tests every cell
    "gru": recurrent.gru(H),
    "lstm": recurrent.lstm(H),
    # Custom products and further parameters of the step.
    "weight_norm": recurrent.elman(H)._replace(
        product=lambda w, h: h.astype(w.dtype) @ (w / jnp.linalg.norm(w, axis=0, keepdims=True))
    ),
    "scaled": recurrent.elman(H)._replace(
        init=lambda key, features: {**recurrent.elman(H).init(key, features), "scale": jnp.ones(H) * 0.7},
        step=lambda rest, h, u, dot: (lambda new: (new, new * jnp.broadcast_to(rest["scale"], h.shape)))(
            jnp.tanh(u[0] * jnp.broadcast_to(rest["scale"], h.shape) + dot("kernel", h * h))
        ),
    ),
}
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def check_against_loop(cell, length):
    params, xs, carry = problem(cell, length)
    last, ys = recurrent.scan(cell, params, xs, carry, method=recurrent.Sequential(8))
    step = jax.jit(functools.partial(recurrent.step, cell))
    expected = []
    for t in range(length):
        carry, y = step(params, carry, jax.tree.map(lambda a, t=t: a[:, t], xs))
        expected.append(y)
    chex.assert_trees_all_close(ys, jnp.stack(expected, axis=1), atol=1e-6)
    chex.assert_trees_all_close(last, carry, atol=1e-6)


@each_cell
@pytest.mark.parametrize("length", [1, 7, 33])
def test_scan_matches_a_python_loop(cell, length):
    check_against_loop(cell, length)


@pytest.mark.parametrize("cell", EVERY_CELL.values(), ids=EVERY_CELL)
def test_scan_matches_a_python_loop_for_every_cell(cell):
    check_against_loop(cell, 9)


@pytest.mark.parametrize("cell", EVERY_CELL.values(), ids=EVERY_CELL)
def test_empty_batch_has_zero_gradients(cell):
    params, xs, carry = problem(cell, 5, batch=(0,))
    total = lambda params: recurrent.scan(
        cell, params, xs, carry, lengths=jnp.zeros(0, int), method=recurrent.Sequential(2)
    )[1].sum()
    chex.assert_trees_all_equal(jax.jit(jax.grad(total))(params), jax.tree.map(jnp.zeros_like, params))


@pytest.mark.parametrize("method", ["associative", "newton"])
def test_empty_batch_with_parallel_methods(method):
    cell = recurrent.min_gru(H)
    _, ys = recurrent.scan(cell, cell.init(jax.random.key(0), D), jnp.zeros((0, 5, D)), method=method)
    assert ys.shape == (0, 5, H)


def test_step_matches_scan_and_rejects_integers():
    cell = EVERY_CELL["zoneout"]
    params, (xs, masks), _carry = problem(cell, 1)
    for inputs in (xs, (xs, masks)):
        last, ys = recurrent.scan(cell, params, inputs)
        carry, y = recurrent.step(cell, params, None, jax.tree.map(lambda a: a[:, 0], inputs))
        chex.assert_trees_all_close((carry, y), (last, ys[:, 0]), atol=1e-6)
    with pytest.raises(ValueError, match="`x` must have a floating point dtype, got int32"):
        recurrent.step(cell, params, None, jnp.ones((3, D), jnp.int32))


@each_cell
@pytest.mark.parametrize(
    "length, chunk, keep, reverse",
    [
        (1, None, "carries", False),
        (7, 3, "boundaries", True),
        (16, 4, "boundaries", False),
        (33, None, "carries", True),
        (8, 100, "carries", False),
    ],
)
def test_gradients_match_autodiff_in_float64(float64, cell, length, chunk, keep, reverse):
    arguments = problem(cell, length, dtype=jnp.float64)
    expected_gradients = gradient(cell, reverse=reverse, method="autodiff")(*arguments)
    gradients_found = gradient(cell, reverse=reverse, method=recurrent.Sequential(chunk, keep))(*arguments)
    chex.assert_trees_all_close(gradients_found, expected_gradients, atol=1e-12, rtol=1e-11)


@each_cell
def test_gradients_match_finite_differences(float64, cell):
    arguments = problem(cell, 9, dtype=jnp.float64)
    f = jax.jit(objective(cell, method=recurrent.Sequential(4)))
    gradients = gradient(cell, method=recurrent.Sequential(4))(*arguments)
    leaves, tree = jax.tree.flatten(arguments)
    for i, (leaf, found) in enumerate(zip(leaves, jax.tree.leaves(gradients), strict=True)):
        direction = jnp.sin(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)
        moved = lambda by, i=i, leaf=leaf, d=direction: jax.tree.unflatten(
            tree, [*leaves[:i], leaf + by * d, *leaves[i + 1 :]]
        )
        slope = (f(*moved(1e-6)) - f(*moved(-1e-6))) / 2e-6
        assert abs(slope - jnp.sum(found * direction)) < 1e-6 * (1 + abs(slope))


@each_cell
def test_every_parameter_has_a_gradient(cell):
    gradients = gradient(cell)(*problem(cell, 12))
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert jnp.all(jnp.max(jnp.abs(leaf), axis=-1) > 0), jax.tree_util.keystr(path)


@each_cell
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=str)
def test_batch_axes_and_time_major(cell, batch):
    params, xs, carry = problem(cell, 11, batch)
    last, ys = recurrent.scan(cell, params, xs, carry, method=recurrent.Sequential(4))
    flat = xs.reshape(-1, 11, D)
    for i, index in enumerate(np.ndindex(*batch)):
        one = jax.tree.map(lambda a, index=index: a[index], carry)
        alone, y = recurrent.scan(cell, params, flat[i], one)
        chex.assert_trees_all_close(ys[index], y, atol=1e-6)
        chex.assert_trees_all_close(jax.tree.map(lambda a, index=index: a[index], last), alone, atol=1e-6)
    time_first = jnp.moveaxis(xs, -2, 0)
    chex.assert_trees_all_close(
        recurrent.scan(cell, params, time_first, carry, time_major=True)[1], jnp.moveaxis(ys, -2, 0), atol=1e-6
    )
    expected_gradients = gradient(cell, method="autodiff")(params, xs, carry)
    chex.assert_trees_all_close(
        gradient(cell, method=recurrent.Sequential(4))(params, xs, carry), expected_gradients, atol=2e-5
    )


@each_cell
def test_empty_sequence_keeps_the_carry(cell):
    params, xs, carry = problem(cell, 0)
    last, ys = recurrent.scan(cell, params, xs, carry)
    chex.assert_shape(ys, (3, 0, H))
    chex.assert_trees_all_equal(last, carry)
    gradients = jax.grad(lambda *a: objective(cell)(*a), 2)(params, xs, carry)
    chex.assert_trees_all_close(gradients, jax.tree.map(jnp.cos, carry), atol=1e-6)


@each_cell
def test_carry_continues_a_sequence(cell):
    params, xs, carry = problem(cell, 20)
    last, ys = recurrent.scan(cell, params, xs, carry)
    middle, first = recurrent.scan(cell, params, xs[:, :13], carry)
    end, second = recurrent.scan(cell, params, xs[:, 13:], middle)
    chex.assert_trees_all_close(jnp.concatenate([first, second], 1), ys, atol=1e-6)
    chex.assert_trees_all_close(end, last, atol=1e-6)


@each_cell
def test_reverse_matches_the_flipped_sequence(cell):
    params, xs, carry = problem(cell, 10)
    last, ys = recurrent.scan(cell, params, xs, carry, reverse=True, method=recurrent.Sequential(4))
    flipped, expected = recurrent.scan(cell, params, xs[:, ::-1], carry)
    chex.assert_trees_all_close(ys, expected[:, ::-1], atol=1e-6)
    chex.assert_trees_all_close(last, flipped, atol=1e-6)


@each_cell
def test_vmap_and_checkpoint_match(cell):
    params, xs, carry = problem(cell, 10, (4,))
    whole = gradient(cell, method=recurrent.Sequential(4))(params, xs, carry)
    checkpointed = jax.jit(jax.grad(jax.checkpoint(objective(cell, method=recurrent.Sequential(4))), (0, 1, 2)))(
        params, xs, carry
    )
    chex.assert_trees_all_close(checkpointed, whole, atol=1e-5)
    rows = jax.jit(jax.vmap(lambda x, c: recurrent.scan(cell, params, x, c, method=recurrent.Sequential(4))))(xs, carry)
    chex.assert_trees_all_close(rows, recurrent.scan(cell, params, xs, carry), atol=1e-6)


@each_cell
def test_autodiff_supports_forward_mode_and_second_derivatives(float64, cell):
    arguments = problem(cell, 6, dtype=jnp.float64)
    f = jax.jit(objective(cell, method="autodiff"))
    tangents = jax.tree.map(jnp.ones_like, arguments)
    slope = jax.jvp(f, arguments, tangents)[1]
    inner = lambda g: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(g))
    assert jnp.allclose(slope, inner(jax.grad(f, (0, 1, 2))(*arguments)))
    second = jax.jit(lambda *a: jax.jvp(lambda *b: inner(jax.grad(f, (0, 1, 2))(*b)), a, tangents)[1])
    curvature = second(*arguments)
    step = 1e-5
    moved = lambda by: f(*jax.tree.map(lambda a: a + by, arguments))
    assert jnp.allclose(curvature, (moved(step) - 2 * f(*arguments) + moved(-step)) / step**2, rtol=1e-3, atol=1e-3)


@each_cell
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_keeps_float32_carries_and_gradients(cell, dtype):
    params, xs, carry = problem(cell, 24)
    last, ys = recurrent.scan(cell, params, xs.astype(dtype), carry, method=recurrent.Sequential(8))
    exact_last, exact = recurrent.scan(cell, params, xs, carry)
    assert ys.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(last)} == {jnp.dtype(jnp.float32)}
    chex.assert_trees_all_close(ys.astype(jnp.float32), exact, atol=0.03)
    chex.assert_trees_all_close(last, exact_last, atol=0.03)
    gradients = gradient(cell, method=recurrent.Sequential(8))(params, xs.astype(dtype), carry)[0]
    expected_gradients = gradient(cell)(params, xs, carry)[0]
    for gradients_found, true in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        assert gradients_found.dtype == jnp.float32
        assert jnp.linalg.norm(gradients_found - true) < 0.03 * jnp.linalg.norm(true) + 0.03


@each_cell
def test_huge_inputs_stay_finite(cell):
    params, xs, carry = problem(cell, 9)
    last, ys = recurrent.scan(cell, params, xs * 1e30, carry)
    chex.assert_tree_all_finite((last, ys))
    chex.assert_tree_all_finite(gradient(cell)(params, xs * 1e15, carry))


@settings(max_examples=12, deadline=None)
@given(
    length=st.integers(0, 40),
    chunk=st.integers(1, 45),
    batch=st.integers(1, 3),
    reverse=st.booleans(),
    keep=st.sampled_from(["carries", "boundaries", "products"]),
)
def test_any_length_and_chunk_size(length, chunk, batch, reverse, keep):
    cell = CELLS["lstm"]
    arguments = problem(cell, length, (batch,))
    gradients_found = gradient(cell, reverse=reverse, method=recurrent.Sequential(chunk, keep))(*arguments)
    expected_gradients = gradient(cell, reverse=reverse, method="autodiff")(*arguments)
    chex.assert_trees_all_close(gradients_found, expected_gradients, atol=2e-5, rtol=2e-5)


def test_compiles_once_for_one_shape():
    cell = CELLS["gru"]
    params, xs, carry = problem(cell, 12)
    run = jax.jit(chex.assert_max_traces(lambda *arguments: recurrent.scan(cell, *arguments), n=1))
    run(params, xs, carry)
    run(params, xs + 1, carry)


BAD = {
    "integers": (dict(xs=jnp.zeros((2, 4, 5), jnp.int32)), "`xs` must have a floating point dtype, got int32"),
    "no time axis": (dict(xs=jnp.zeros(5)), r"`xs` must have at least the axes \[T, D\], got shape \(5,\)"),
    "features": (dict(xs=jnp.zeros((2, 4, 7))), "must have 5 features, as the parameters, got shape"),
    "carry of another batch": (dict(carry=jnp.zeros((3, 6))), r"`carry` must have the shapes \(2, 6\).*got \(3, 6\)"),
    "carry of another kind": (dict(carry=(jnp.zeros((2, 6)),) * 2), "`carry` must have the shapes"),
    "method": (
        dict(method="magic"),
        "`method` must be one of auto, sequential, associative, newton, cudnn, persistent, autodiff.*got 'magic'",
    ),
    "associative": (
        dict(method="associative"),
        '`cell` of method "associative" must be linear in its state, such as',
    ),
    "params": (dict(params={"kernel": jnp.zeros(3)}), '`params` must have the keys "input" and "recurrent"'),
}


def compiled_gradient(cell, batch, length, **options):
    f = jax.grad(lambda params, xs: jnp.sum(recurrent.scan(cell, params, xs, **options)[1] ** 2), (0, 1))
    shapes = jax.eval_shape(lambda: (cell.init(jax.random.key(0), 8), jnp.zeros((batch, length, 8))))
    return jax.jit(f).lower(*shapes).compile()


@pytest.mark.parametrize("batch, length, chosen", [(128, 16, "products"), (64, 16, "carries"), (128, 4096, "carries")])
def test_products_are_saved_if_large_and_few(batch, length, chosen):
    memory = lambda keep: compiled_gradient(
        recurrent.lstm(128), batch, length, method=recurrent.Sequential(keep=keep)
    ).memory_analysis()
    by_keep = {keep: memory(keep).temp_size_in_bytes for keep in ("carries", "products", None)}
    assert by_keep["carries"] < by_keep["products"]
    assert by_keep[None] == by_keep[chosen]


def test_products_are_not_recomputed_if_outputs_suffice():
    """The derivative of tanh is a function of its value; JAX recomputes the products for that of relu."""
    flops = [compiled_gradient(recurrent.elman(64, a), 8, 16).cost_analysis()["flops"] for a in (jnp.tanh, jax.nn.relu)]
    assert flops[1] - flops[0] > 2 * 8 * 16 * 64 * 64


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_wrong_arguments_are_rejected(arguments, message):
    cell = CELLS["gru"]
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(ValueError, match=message):
        recurrent.scan(cell, **{"params": params, "xs": jnp.zeros((2, 4, 5)), "carry": None, **arguments})
