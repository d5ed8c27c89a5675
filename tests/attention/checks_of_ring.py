"""Ring attention on 8 simulated devices, compared with full attention on one device."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from on_devices import assert_close, collectives, make_mesh

from jaxnets import attention as at


def problem(t, s, batch=(2,), heads=4, key_heads=2, depth=3, width=5, dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(*batch, t, heads, depth), (*batch, s, key_heads, depth), (*batch, s, key_heads, width)]
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]


def gradients_and_outputs(**options):
    """Returns a function of query, key and value that computes gradients and outputs."""

    def f(*arguments):
        ys = at.attention(*arguments, **options)
        return jnp.sum(jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys**2), ys

    return jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))


def check(arguments, count, tolerance=1e-12, blocks=None, **options):
    got = gradients_and_outputs(implementation=at.Ring(make_mesh(count), "time"), blocks=blocks, **options)(*arguments)
    assert_close(
        jax.block_until_ready(got), gradients_and_outputs(implementation="xla", **options)(*arguments), tolerance
    )


def options_of(length):
    return {
        "plain": {},
        "causal": {"causal": True},
        "lengths": {"lengths": jnp.array([length - 3, 0]), "scale": 0.3},
        "window": {"window": (5, 2), "offset": jnp.array([0, 4])},
        "all": {"causal": True, "window": 6, "lengths": jnp.array([length, 5]), "offset": 3, "bias": at.alibi(4)},
    }


def causal_and_all_options():
    jax.config.update("jax_enable_x64", True)
    check(problem(21, 29), 8, blocks=(2, 3), **options_of(29)["all"])
    check(problem(16, 16), 4, **options_of(16)["causal"])


def all_options_and_device_counts():
    jax.config.update("jax_enable_x64", True)
    for count, t, s in ((1, 21, 13), (2, 16, 16), (4, 21, 13), (8, 16, 16), (8, 21, 13)):
        for options in options_of(s).values():
            check(problem(t, s), count, blocks=(3, 2), **options)


def float32():
    for options in options_of(40).values():
        check(problem(40, 40, dtype=jnp.float32), 4, 1e-5, **options)


def short_and_empty_sequences():
    """Fewer steps than devices, no steps, zero to two batch axes, and one key head."""
    jax.config.update("jax_enable_x64", True)
    for t, s, batch in ((3, 5, (1,)), (1, 9, ()), (9, 1, (2, 3)), (0, 4, (2,)), (4, 0, (2,))):
        check(problem(t, s, batch, key_heads=1), 8, causal=True)


def bias_of_absolute_positions():
    jax.config.update("jax_enable_x64", True)
    bias = lambda query, key: jnp.sin(query[..., None] * key[None, None])[..., None, :, :]
    check(problem(16, 16), 8, bias=bias)


def nan_in_padding_has_no_effect():
    query, key, value = problem(16, 16, dtype=jnp.float32)
    lengths = jnp.array([11, 0])
    valid = (jnp.arange(16)[None] < lengths[:, None])[..., None, None]
    run = gradients_and_outputs(implementation=at.Ring(make_mesh(8), "time"), lengths=lengths)
    with_nan = jax.block_until_ready(run(query, *(jnp.where(valid, a, jnp.nan) for a in (key, value))))
    assert_close(with_nan, run(query, key, value), 0)
    assert not with_nan[1][1].any()


def half_precision():
    arguments = problem(32, 32, dtype=jnp.bfloat16)
    ys = at.attention(*arguments, causal=True, implementation=at.Ring(make_mesh(4), "time"))
    assert_close(ys, at.attention(*arguments, causal=True, implementation="chunked"), 0.02)


def dropout_rate_and_gradient():
    jax.config.update("jax_enable_x64", True)
    query, key, _ = problem(64, 64, heads=2)
    value = jnp.broadcast_to(jnp.eye(64)[:, None], (2, 64, 2, 64))  # outputs are the weights
    ring = at.Ring(make_mesh(4), "time")
    run = jax.jit(lambda *a, **o: at.attention(*a, **o, implementation=ring), static_argnames="dropout")
    weights = run(query, key, value, dropout=0.25, rng=jax.random.key(3))
    full = run(query, key, value)
    dropped = np.asarray(weights == 0)
    assert abs(dropped.mean() - 0.25) < 0.02
    assert_close(weights, jnp.where(dropped, 0, full / 0.75), 1e-12)
    shards = dropped.reshape(2, 4, 16, 2, 4, 16).transpose(1, 4, 0, 2, 3, 5).reshape(16, -1)
    assert len(np.unique(shards, axis=0)) == 16  # dropout masks of shards differ
    f = lambda value: jnp.sum(jnp.sin(run(query, key, value, dropout=0.25, rng=jax.random.key(3))))
    direction = jax.random.normal(jax.random.key(5), value.shape)
    found = (f(value + 1e-5 * direction) - f(value - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.sum(jax.grad(f)(value) * direction), found, rtol=1e-7)


def only_shards_are_sent():
    mesh = make_mesh(8)
    sharding = jax.NamedSharding(mesh, P(None, "time"))
    shapes = jax.eval_shape(lambda: problem(256, 256, dtype=jnp.float32))
    run = gradients_and_outputs(implementation=at.Ring(mesh, "time"), causal=True)
    found = collectives(run, *(jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in shapes))
    assert {kind for _, kind in found} == {"collective-permute"}, found
    assert {shape for shape, _ in found} == {"f32[2,2,32,3]", "f32[2,2,32,5]"}, found  # 32 of 256 keys and values


def memory_scales_with_the_shard():
    def temporary(length, count):
        mesh = make_mesh(count)
        shapes = jax.eval_shape(lambda: problem(length, length, (1,), 2, 2, 16, 16, dtype=jnp.float32))
        sharding = jax.NamedSharding(mesh, P(None, "time"))
        arguments = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in shapes]
        run = gradients_and_outputs(implementation=at.Ring(mesh, "time"), causal=True, blocks=(64, 64))
        return run.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert temporary(8192, 8) < 2.2 * temporary(4096, 8)
    assert temporary(8192, 8) < temporary(8192, 2) / 3


def batch_and_heads_stay_sharded():
    mesh = jax.make_mesh((2, 2, 2), ("data", "time", "model"), (AxisType.Auto,) * 3)
    arguments = problem(16, 16, key_heads=4, dtype=jnp.float32)
    sharding = jax.NamedSharding(mesh, P("data", "time", "model"))
    sharded = [jax.device_put(a, sharding) for a in arguments]
    run = gradients_and_outputs(implementation=at.Ring(mesh, "time"), causal=True)
    (gradients, ys) = jax.block_until_ready(run(*sharded))
    assert_close((gradients, ys), gradients_and_outputs(implementation="xla", causal=True)(*arguments), 1e-5)
    for array in (*gradients, ys):
        assert array.addressable_shards[0].data.shape[:3] == (1, 8, 2), array.sharding
    # Maxima of lengths and offsets are int32 messages.
    assert {kind for shape, kind in collectives(run, *sharded) if "f32" in shape} == {"collective-permute"}
    ys = at.attention(*sharded, implementation=at.Ring(mesh, "time"))  # not in jit
    assert np.isfinite(ys).all()


def language_model():
    tokens = jax.random.randint(jax.random.key(0), (2, 24), 0, 11)
    sizes = {"vocab_size": 11, "embed_dim": 16, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "max_seq_len": 24}
    plain = at.modern_lm(**sizes)
    model = plain.clone(implementation=at.Ring(make_mesh(8), "time"))
    variables = plain.init(jax.random.key(1), tokens)

    def loss(variables, model):
        return jnp.sum(jnp.sin(model.apply(variables, tokens)[1]))

    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    assert_close(jax.block_until_ready(run(variables, model)), run(variables, plain), 1e-5)
