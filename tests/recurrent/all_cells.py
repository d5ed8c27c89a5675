"""Cells, wrappers and small problems for the tests of this folder."""

import jax
import jax.numpy as jnp

from jaxnets import recurrent

D, H = 5, 6

CELLS = {
    "elman": recurrent.elman(H),
    "elman, identity": recurrent.elman(H, jax.nn.relu, identity=True),
    "gru": recurrent.gru(H),
    "gru, after": recurrent.gru(H, "after"),
    "gru, none": recurrent.gru(H, "none"),
    "mgu": recurrent.mgu(H),
    "lstm": recurrent.lstm(H),
    "lstm, projection": recurrent.lstm(H, proj_size=4),
    "lstm, coupled": recurrent.lstm(H, coupled=True),
    "peephole": recurrent.peephole_lstm(H),
    "layer norm lstm": recurrent.layer_norm_lstm(H),
    "layer norm gru": recurrent.layer_norm_gru(H),
    "conv lstm 1-D": recurrent.conv_lstm(3, (3,)),
    "conv lstm 2-D": recurrent.conv_lstm(2, (3, 2)),
    "min gru": recurrent.min_gru(H),
    "min lstm": recurrent.min_lstm(H),
    "lru": recurrent.lru(H, 4),
    "zoneout": recurrent.zoneout(recurrent.lstm(H), (0.1, 0.4)),
    "residual": recurrent.residual(recurrent.gru(D)),
    "learned carry": recurrent.learned_carry(recurrent.lstm(H)),
    "recurrent dropout": recurrent.recurrent_dropout(recurrent.gru(H)),
}


def problem(cell, length, batch=(3,), dtype=jnp.float32):
    """Returns noisy parameters, sequences and a carry that is not zero.

    The sequences of the zoneout cell and the parameters of the recurrent dropout cell include masks.
    """
    params = cell.init(jax.random.key(0), D)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf.astype(dtype) + 0.1 * jax.random.normal(k, leaf.shape, dtype) for k, leaf in zip(keys, leaves, strict=True)
    ]
    params = jax.tree.unflatten(tree, noisy)
    space = {1: (), 2: (4,), 3: (3, 4)}[cell.axes]
    xs = jax.random.normal(jax.random.key(2), (*batch, length, *space, D), dtype)
    if cell is CELLS["recurrent dropout"]:
        params["dropout_masks"] = recurrent.recurrent_dropout_masks(jax.random.key(3), cell, params, xs, 0.2)
    one = jnp.zeros((*batch, *space, D), dtype)
    carry = jax.tree.map(lambda a: a + 0.3, cell.carry(params, one))
    if cell is CELLS["zoneout"]:
        xs = (xs, recurrent.zoneout_masks(jax.random.key(4), cell, params, xs, (0.1, 0.4)))
    return params, xs, carry


def wide(ys):
    """Returns the dtype for sums of ``ys``."""
    return jnp.float64 if ys.dtype == jnp.float64 else jnp.float32


def objective(cell, **options):
    """Returns ``f(params, xs, carry)``, a scalar that depends on every output and on the last carry."""

    def f(params, xs, carry):
        carry, ys = recurrent.scan(cell, params, xs, carry, **options)
        weights = jnp.cos(jnp.arange(ys.size, dtype=wide(ys))).reshape(ys.shape)
        return jnp.sum(weights * (ys**2).astype(weights.dtype)) + sum(
            jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry)
        )

    return f


def gradient(cell, **options):
    """Returns the compiled gradient of ``objective`` by params, xs and carry; zoneout masks have no gradient."""

    def f(params, x, others, carry):
        return objective(cell, **options)(params, x if others is None else (x, others), carry)

    compiled = jax.jit(jax.grad(f, (0, 1, 3)))

    def run(params, xs, carry):
        x, others = xs if isinstance(xs, tuple) else (xs, None)
        return compiled(params, x, others, carry)

    return run


def rows(tree, index):
    return jax.tree.map(lambda a: a[index], tree)
