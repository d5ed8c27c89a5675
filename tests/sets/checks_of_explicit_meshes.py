"""Set functions on a mesh with explicit axes, compared with one device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import P
from test_strict_sets import MODELS, D, functions

from jaxnets import sets

XS = jax.random.uniform(jax.random.key(0), (8, 16, D))
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, (8, 16)).at[2].set(False)
FLAT, IDS = XS.reshape(-1, D), jnp.arange(128) % 5


def check(f, xs, valid, axes, label):
    """Compares values and gradients with elements and masks sharded along ``axes``."""

    def objective(xs, valid):
        ys = f(xs, valid)
        return jnp.sum(ys**2), ys

    run = jax.jit(jax.grad(objective, has_aux=True))
    expected = run(xs, valid)
    mesh = jax.make_mesh((8,), ("devices",))
    with jax.set_mesh(mesh):
        put = lambda a, spec: jax.device_put(a, jax.NamedSharding(mesh, spec))
        sharded = put(xs, P(*axes)), jax.tree.map(lambda a: put(a, P(*axes[: a.ndim])), valid)
        got = run(*sharded)
    for found, reference in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5, err_msg=label)
    # Results with one row per element keep the sharding of the elements.
    rows = axes[0] if got[1].shape[:1] == xs.shape[:1] else None
    assert jax.typeof(got[1]).sharding.spec[0] == rows, label


FORMS = {
    "batch": (XS, MASK, ("devices", None)),
    "batch without mask": (XS, None, ("devices", None)),
    "elements": (XS, MASK, (None, "devices")),
    "segments": (FLAT, sets.Segments(IDS, 5), ("devices",)),
}


def model_functions():
    found = {}
    for name in ("DeepSets", "EquivariantDeepSets", "HistNetQ"):
        variables = MODELS[name].init(jax.random.key(0), XS)
        found[name] = lambda xs, valid, name=name, variables=variables: MODELS[name].apply(variables, xs, valid)
    return found


def some_functions():
    for name in ("linear", "median"):
        check(functions()[name], *FORMS["batch without mask"], name)
    check(functions()["max"], *FORMS["segments"], "max")
    check(model_functions()["HistNetQ"], *FORMS["batch"], "HistNetQ")


def all_functions():
    for form, given in FORMS.items():
        for name, f in functions().items():
            check(f, *given, f"{name}, {form}")
    for name, f in model_functions().items():
        for form in ("batch", "batch without mask", "segments"):
            check(f, *FORMS[form], f"{name}, {form}")
