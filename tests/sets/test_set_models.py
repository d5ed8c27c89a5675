"""Set attention compared with torch, and invariance of models to order, padding and segments."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import sets

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "sets.npz")
WIDTH = 8
weighted_sum = lambda ys: jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys**2)
PUBLISHED = {
    "SAB": lambda **o: sets.SAB(WIDTH, 2, **o),
    "ISAB": lambda **o: sets.ISAB(WIDTH, 4, 2, **o),
    "PMA": lambda **o: sets.PMA(WIDTH, 3, 2, **o),
}


def params_from_golden(prefix):
    """Returns torch's parameters in our layout."""
    names = {"weight": "kernel", "norms.0": "norm_x", "norms.1": "norm_out"}
    params = {}
    for key in GOLDEN.files:
        if key.startswith(prefix):
            path, array = key[len(prefix) :], GOLDEN[key]
            for theirs, ours in list(names.items())[1:]:
                path = path.replace(theirs, ours)
            *scopes, leaf = path.split(".")
            if leaf == "weight":
                leaf, array = ("scale", array) if array.ndim == 1 else ("kernel", array.T)
            place = params
            for scope in scopes:
                place = place.setdefault(scope, {})
            place[leaf] = jnp.array(array)
    return params


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_blocks_equal_the_published_code(float64, name, norm):
    case = f"{name}/{norm}"
    module = PUBLISHED[name](norm=norm, dtype=jnp.float64)
    params, x = params_from_golden(f"{case}/weight/"), jnp.array(GOLDEN[f"{case}/x"])
    run = jax.jit(lambda params, x: module.apply({"params": params}, x))
    np.testing.assert_allclose(run(params, x), GOLDEN[f"{case}/output"], atol=1e-10)
    dparams, dx = jax.jit(jax.grad(lambda *given: weighted_sum(run(*given)), (0, 1)))(params, x)
    np.testing.assert_allclose(dx, GOLDEN[f"{case}/gradient/x"], atol=1e-9)
    expected = params_from_golden(f"{case}/gradient/weight/")
    assert jax.tree.structure(dparams) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), dparams, expected)


SMALL = dict(embed_dim=8, num_heads=2)
MODELS = {
    "deep sets": sets.DeepSets(2, (6, 5), (4,)),
    "deep sets median": sets.DeepSets(2, (6, 5), (4,), pooling="median", activation="tanh"),
    "equivariant": sets.EquivariantLayer(4),
    "equivariant mean": sets.EquivariantDeepSets(2, (5, 4)),
    "set transformer elements": sets.SetTransformer(
        2, num_seeds=0, num_inducing_points=3, num_encoder_blocks=1, **SMALL
    ),
    "set transformer": sets.SetTransformer(2, num_inducing_points=3, **SMALL),
    "set transformer SAB": sets.SetTransformer(2, num_seeds=3, num_inducing_points=0, norm="layer", **SMALL),
    "set transformer clean": sets.SetTransformer(2, num_inducing_points=3, norm="set", clean_residual=True, **SMALL),
    "set transformer chunked": sets.SetTransformer(2, num_inducing_points=3, implementation="chunked", **SMALL),
    "hist net": sets.HistNetQ(3, (6, 4), (5,), num_bins=5),
    "hist net hard": sets.HistNetQ(3, (), (5,), num_bins=5, kind="hard", softmax=False),
}
EQUIVARIANT = ("equivariant", "equivariant mean", "set transformer elements")
each = pytest.mark.parametrize("name", MODELS)
# Models that test_set_properties.py covers more thoroughly, or that resemble others, are slow tests here.
COVERED = ("deep sets", "equivariant mean", "set transformer", "hist net", "set transformer clean")
SIMILAR = ("set transformer chunked",)
each_uncovered = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in (*COVERED, *SIMILAR))) for name in MODELS]
)
MASK = jnp.array([[True] * 6, [True, False, True, True, False, True], [False] * 6])


def problem(name):
    model = MODELS[name]
    xs = jax.random.uniform(jax.random.key(0), (3, 6, 3))
    variables = jax.jit(model.init)(jax.random.key(1), xs)

    def perturb(path, a):
        noise = 0.2 * jax.random.normal(jax.random.fold_in(jax.random.key(2), len(str(path))), a.shape)
        return a.astype(noise.dtype) + noise

    if not name.startswith("hist"):
        variables = jax.tree_util.tree_map_with_path(perturb, variables)
    return model, variables, xs


@each_uncovered
def test_order_padding_and_segments_have_no_effect(float64, name):
    model, variables, xs = problem(name)
    variables, xs = jax.tree.map(lambda a: a.astype(jnp.float64), (variables, xs))
    model = model.clone(dtype=jnp.float64)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    equivariant = name in EQUIVARIANT

    @jax.jit
    def run(xs, variables, valid):
        ys = model.apply(variables, xs, valid)
        outputs = ys if not equivariant else sets.sum_pool(ys, valid)
        return weighted_sum(outputs), outputs

    gradient = jax.jit(jax.value_and_grad(run, has_aux=True), static_argnums=())
    ((_, expected), dx) = gradient(xs, variables, MASK)
    with_nan = jnp.where(MASK[..., None], xs, jnp.nan)[:, order]
    ((_, permuted), dpermuted) = gradient(with_nan, variables, MASK[:, order])
    np.testing.assert_allclose(permuted, expected, atol=1e-12)
    np.testing.assert_allclose(dpermuted, dx[:, order], atol=1e-12)
    assert not np.asarray(dx)[~np.asarray(MASK)].any() and np.isfinite(np.asarray(dx)).all()
    longer = jnp.pad(xs, [(0, 0), (0, 3), (0, 0)], constant_values=jnp.inf), jnp.pad(MASK, [(0, 0), (0, 3)])
    np.testing.assert_allclose(run(longer[0], variables, longer[1])[1], expected, atol=1e-12)
    if name.startswith("set transformer chunked"):
        return
    segments = lambda ids: sets.Segments(ids, 3)
    flat_order = jax.random.permutation(jax.random.key(7), 18)
    ids = jnp.where(MASK, jnp.arange(3)[:, None], -1).reshape(-1)[flat_order]
    flat = jnp.where(MASK[..., None], xs, jnp.nan).reshape(-1, 3)[flat_order]
    run_flat = lambda xs: run.__wrapped__(xs, variables, segments(ids))
    ((_, flat_outputs), dflat) = jax.jit(jax.value_and_grad(run_flat, has_aux=True))(flat)
    np.testing.assert_allclose(flat_outputs, expected, atol=1e-12)
    np.testing.assert_allclose(dflat, dx.reshape(-1, 3)[flat_order], atol=1e-12)


@each_uncovered
def test_outputs_do_not_depend_on_the_batch_in_float32(name):
    model, variables, xs = problem(name)
    run = jax.jit(lambda xs, mask: model.apply(variables, xs, mask))
    batched = run(xs, MASK)
    single = jax.jit(model.apply)(variables, xs[1][MASK[1]][None])
    expected = batched[1:2][:, MASK[1]] if name in EQUIVARIANT else batched[1:2]
    np.testing.assert_allclose(expected, single, rtol=1e-5, atol=1e-6)


@each
def test_models_lower_for_tpu_and_cuda(name):
    model, variables, xs = problem(name)
    loss = jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, xs, MASK) ** 2)))
    assert "stablehlo" in loss.trace(variables).lower(lowering_platforms=("tpu", "cuda")).as_text()


def test_bfloat16_models_return_float32():
    xs = jax.random.uniform(jax.random.key(0), (2, 6, 3), jnp.bfloat16)
    for model in (
        sets.SetTransformer(2, num_inducing_points=3, dtype=jnp.bfloat16, **SMALL),
        sets.HistNetQ(3, (4,), dtype=jnp.bfloat16),
    ):
        ys = model.apply(model.init(jax.random.key(0), xs), xs)
        assert ys.dtype == jnp.float32 and bool(jnp.isfinite(ys).all())


def test_weights_of_inducing_points_reproduce_the_block():
    module, xs = sets.ISAB(WIDTH, 4, 2), jax.random.normal(jax.random.key(0), (2, 7, WIDTH))
    valid = jnp.arange(7)[None] < jnp.array([[7], [3]])
    variables = module.init(jax.random.key(1), xs)
    weights = module.apply(variables, xs, valid, method="weights")
    assert weights.shape == (2, 2, 4, 7)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    assert not np.asarray(weights)[~np.broadcast_to(valid[:, None, None], weights.shape)].any()
    # The first MAB computes X + A V, followed by its feed-forward layer.
    first = variables["params"]["first"]
    dense = lambda name, a: a @ first[name]["kernel"] + first[name]["bias"].reshape((1,) * (a.ndim - 1) + (-1,))
    value = dense("value", xs).reshape(2, 7, 2, WIDTH // 2)
    attended = jnp.einsum("bhmn,bnhd->bmhd", weights, value).reshape(2, 4, WIDTH)
    hs = dense("query", variables["params"]["inducing"])[None] + attended
    state = module.apply(variables, None, xs, valid, method="update")
    found = module.apply(variables, state, method="finalize")
    np.testing.assert_allclose(hs + jax.nn.relu(dense("out", hs)), found, rtol=1e-5, atol=1e-6)


def test_softmax_option_applies_a_softmax():
    xs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    for model in (
        sets.DeepSets(4, (8,), ()),
        sets.SetTransformer(4, embed_dim=8, num_heads=2, num_encoder_blocks=1, num_decoder_blocks=0),
    ):
        variables = model.init(jax.random.key(1), xs)
        logits, probabilities = model.apply(variables, xs), model.clone(softmax=True).apply(variables, xs)
        np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), rtol=1e-6)


def test_embedded_tokens_are_order_invariant():
    model = sets.DeepSets(1, (5, 4), (), vocab_size=11, activation="tanh")
    tokens = jnp.array([[1, 2, 3], [3, 2, 1]])
    variables = model.init(jax.random.key(0), tokens)
    assert variables["params"]["embed"]["embedding"].shape == (11, 5)
    ys = model.apply(variables, tokens)
    np.testing.assert_allclose(ys[0], ys[1], atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda xs: sets.SAB(9, 2).init(jax.random.key(0), xs),
            "`num_heads` must be a divisor of `embed_dim`, 9, got 2",
        ),
        (lambda xs: sets.ISAB(8, 0).init(jax.random.key(0), xs), "`inducing` must be an integer of at least 1, got 0"),
        (lambda xs: sets.SAB(8, norm="batch").init(jax.random.key(0), xs), "`norm` must be one of none, layer, set"),
        (
            lambda xs: sets.SAB(8, clean_residual=True).init(jax.random.key(0), xs),
            "`xs` must have 8 features with clean residuals",
        ),
        (
            lambda xs: sets.DeepSets(1, pooling="first").init(jax.random.key(0), xs),
            "`pooling` must be one of sum, mean",
        ),
        (lambda xs: sets.DeepSets(1, activation="sin").init(jax.random.key(0), xs), "`activation` must be one of relu"),
        (lambda xs: sets.HistNetQ(1, kind="round").init(jax.random.key(0), xs), "`kind` must be one of hard"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 4, 3)))
