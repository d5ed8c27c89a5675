"""Recurrent functions with the batch sharded along an explicit mesh axis, against one device."""

import jax
import jax.numpy as jnp
import numpy as np
from all_cells import CELLS, D, gradient, problem

from jaxnets import recurrent

LENGTHS = np.array([6, 2, 0, 1, 5, 6, 3, 4])
RESETS = jnp.zeros((8, 6), bool).at[:, 3].set(True)
FURTHER = {"gru, after": ("autodiff",), "lru": ("associative",), "lstm": ("newton", "autodiff")}


def on_mesh():
    return jax.make_mesh((8,), ("rows",))


def divided(tree):
    return jax.tree.map(lambda a: jax.device_put(a, jax.NamedSharding(on_mesh(), jax.P("rows"))), tree)


def close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), found, wanted)


def rows_of(tree):
    return all(jax.typeof(leaf).sharding.spec[0] == "rows" for leaf in jax.tree.leaves(tree))


def every_cell():
    for name, cell in CELLS.items():
        params, xs, carry = problem(cell, 6, (8,))
        for method in ("sequential", *FURTHER.get(name, ())):
            options = dict(lengths=LENGTHS, resets=RESETS, method=method)
            run = jax.jit(lambda *a, cell=cell, options=options: recurrent.scan(cell, *a, **options))
            wanted = run(params, xs, carry), gradient(cell, **options)(params, xs, carry)
            with jax.set_mesh(on_mesh()):
                given = (params, *divided((xs, carry)))
                found = run(*given), gradient(cell, **options)(*given)
                assert rows_of(found[0]), name
                one = jax.tree.map(lambda a: a[:, 0], given[1])
                assert rows_of(jax.jit(lambda p, x, cell=cell: recurrent.step(cell, p, None, x))(params, one)), name
            close(found, wanted)


def layers():
    xs = jax.random.normal(jax.random.key(0), (8, 6, D))
    modules = {
        "RNN": (recurrent.RNN(CELLS["lstm"], reverse=True), (xs,), {"lengths": LENGTHS}),
        "stacked": (recurrent.StackedRNN(CELLS["gru"], 2, bidirectional=True, connect="residual"), (xs,), {}),
        **{
            pooling: (
                recurrent.SequenceModel(2, hidden_size=4, bidirectional=True, pooling=pooling, dropout=0.5),
                (xs,),
                {"lengths": LENGTHS, "train": True, "rngs": {"dropout": jax.random.key(1)}},
            )
            for pooling in ("last", "max", "mean", "attention", "none")
        },
    }
    for module, inputs, options in modules.values():
        variables = module.init(jax.random.key(0), *inputs)
        loss = lambda v, *a, m=module, o=options: sum(jnp.sum(y**2) for y in jax.tree.leaves(m.apply(v, *a, **o)))
        f = jax.jit(jax.value_and_grad(loss))
        wanted = f(variables, *inputs)
        with jax.set_mesh(on_mesh()):
            found = f(variables, *divided(inputs))
        close(found, wanted)
