"""Sets on a mesh as ``jax.make_mesh`` makes it, with explicit axes: values and gradients are those of one device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import P
from test_strict_sets import MODELS, D, functions

from jaxnets import sets

XS = jax.random.uniform(jax.random.key(0), (8, 16, D))
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, (8, 16)).at[2].set(False)
FLAT, IDS = XS.reshape(-1, D), jnp.arange(128) % 5


def check(f, xs, valid, axes, where):
    """With elements, and what belongs to them, divided along some of their axes."""

    def objective(xs, valid):
        ys = f(xs, valid)
        return jnp.sum(ys**2), ys

    run = jax.jit(jax.grad(objective, has_aux=True))
    wanted = run(xs, valid)
    mesh = jax.make_mesh((8,), ("devices",))
    with jax.set_mesh(mesh):
        put = lambda a, spec: jax.device_put(a, jax.NamedSharding(mesh, spec))
        divided = put(xs, P(*axes)), jax.tree.map(lambda a: put(a, P(*axes[: a.ndim])), valid)
        got = run(*divided)
    for found, right in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5, err_msg=where)
    # What has as many rows as the elements stays divided as they are.
    rows = axes[0] if got[1].shape[:1] == xs.shape[:1] else None
    assert jax.typeof(got[1]).sharding.spec[0] == rows, where


FORMS = {
    "batch": (XS, MASK, ("devices", None)),
    "batch, no mask": (XS, None, ("devices", None)),
    "elements": (XS, MASK, (None, "devices")),
    "segments": (FLAT, sets.Segments(IDS, 5), ("devices",)),
}


def of_models():
    found = {}
    for name in ("DeepSets", "EquivariantDeepSets", "HistNetQ"):
        variables = MODELS[name].init(jax.random.key(0), XS)
        found[name] = lambda xs, valid, name=name, variables=variables: MODELS[name].apply(variables, xs, valid)
    return found


def a_few():
    for name in ("linear", "median"):
        check(functions()[name], *FORMS["batch, no mask"], name)
    check(functions()["max"], *FORMS["segments"], "max")
    check(of_models()["HistNetQ"], *FORMS["batch"], "HistNetQ")


def everything():
    for form, given in FORMS.items():
        for name, f in functions().items():
            check(f, *given, f"{name}, {form}")
    for name, f in of_models().items():
        for form in ("batch", "batch, no mask", "segments"):
            check(f, *FORMS[form], f"{name}, {form}")
