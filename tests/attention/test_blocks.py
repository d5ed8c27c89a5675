"""Transformer layers: outputs and all gradients compared with torch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.attention.blocks import Block, MultiHeadAttention
from jaxnets.attention.depth import stack

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "attention.npz")
WIDTH, HEADS, HIDDEN = 8, 2, 12
LENGTHS = jnp.array([5, 3])
NAMES = {
    "encoder": {"self_attn": "attention", "norm1": "attention_norm", "norm2": "network_norm"},
    "decoder": {
        "self_attn": "attention",
        "multihead_attn": "cross",
        "norm1": "attention_norm",
        "norm2": "cross_norm",
        "norm3": "network_norm",
    },
}


def params_of(case, kind):
    """Returns torch's weights or their gradients in the layout of ``Block``."""
    weights = {k.split(f"{kind}/")[1]: GOLDEN[k] for k in GOLDEN if k.startswith(f"{case}/{kind}/")}
    params = {}
    for theirs, ours in NAMES[case.split("/")[0]].items():
        if "norm" in theirs:
            params[ours] = {"scale": weights[f"{theirs}.weight"], "bias": weights[f"{theirs}.bias"]}
            continue
        kernels = np.split(weights[f"{theirs}.in_proj_weight"], 3)
        biases = np.split(weights[f"{theirs}.in_proj_bias"], 3)
        params[ours] = {
            name: {"kernel": kernel.T.reshape(WIDTH, HEADS, -1), "bias": bias.reshape(HEADS, -1)}
            for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
        }
        out = weights[f"{theirs}.out_proj.weight"].T.reshape(HEADS, -1, WIDTH)
        params[ours]["out"] = {"kernel": out, "bias": weights[f"{theirs}.out_proj.bias"]}
    for theirs, ours in (("linear1", "inner"), ("linear2", "outer")):
        params[ours] = {"kernel": weights[f"{theirs}.weight"].T, "bias": weights[f"{theirs}.bias"]}
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)


def close(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), left, right)


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
@pytest.mark.parametrize("case", ["encoder/after", "encoder/before", "decoder/after", "decoder/before"])
def test_block_equals_torch(case, implementation):
    cross_attention = case.startswith("decoder")
    block = Block(
        WIDTH,
        HEADS,
        HIDDEN,
        activation="relu",
        norm_first=case.endswith("before"),
        cross_attention=cross_attention,
        causal=cross_attention,
        implementation=implementation,
    )
    params = params_of(case, "weight")
    given = [
        jnp.asarray(GOLDEN[f"{case}/{name}"], jnp.float32) for name in (("x", "memory") if cross_attention else ("x",))
    ]

    def f(params, x, memory=None):
        variables = {"params": params}
        keys = None if memory is None else block.apply(variables, memory, method="memory")[1]
        return block.apply(variables, x, None, keys, LENGTHS, None)[0]

    def objective(*arguments):
        output = f(*arguments)
        valid = (jnp.arange(output.shape[1])[None] < LENGTHS[:, None])[..., None]
        weights = jnp.cos(jnp.arange(output.size)).reshape(output.shape)
        return jnp.sum(weights * jnp.where(valid, output, 0) ** 2)

    valid = np.arange(6) < np.asarray(LENGTHS)[:, None]
    close(f(params, *given)[valid], GOLDEN[f"{case}/output"][valid])
    gradients = jax.jit(jax.grad(objective, tuple(range(1 + len(given)))))(params, *given)
    close(gradients[1], GOLDEN[f"{case}/gradient/x"])
    if cross_attention:
        close(gradients[2], GOLDEN[f"{case}/gradient/memory"])
    close(gradients[0], params_of(case, "gradient/weight"))


@pytest.mark.parametrize("remat", ["none", "products", "blocks"])
def test_stack_equals_a_chain_of_blocks(remat, float64):
    options = dict(embed_dim=8, num_heads=2, mlp_dim=12, norm="rms", activation="swiglu", use_bias=False, rotary=True)
    options["dtype"] = jnp.float64  # float32 rounding of small gradients exceeds 1e-5
    network, xs = stack(3, remat, **options), jax.random.normal(jax.random.key(0), (2, 5, 8))
    variables = network.init(jax.random.key(1), xs, None, None, None, None)
    assert not np.allclose(*np.asarray(variables["params"]["inner"]["kernel"][:2]))

    def chain(params, xs):
        for layer in range(3):
            layer_params = jax.tree.map(lambda leaf, layer=layer: leaf[layer], params)
            xs, _ = Block(**options).apply({"params": layer_params}, xs)
        return xs

    whole = lambda params, xs: network.apply({"params": params}, xs, None, None, None, None)[0]
    close(whole(variables["params"], xs), chain(variables["params"], xs))
    loss = lambda f: jax.jit(jax.grad(lambda params, xs: jnp.sum(f(params, xs) ** 3), (0, 1)))(variables["params"], xs)
    close(loss(whole), loss(chain))


def test_every_parameter_has_a_gradient():
    block = Block(8, 4, 12, num_kv_heads=2, norm="rms", activation="swiglu", cross_attention=True, rotary=True)
    xs, memory = jax.random.normal(jax.random.key(0), (2, 2, 5, 8))

    def f(variables):
        return block.apply(variables, xs, None, block.apply(variables, memory, method="memory")[1])[0]

    variables = _init_with_memory(block, xs, memory)
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(f(v)))))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        # A bias of keys shifts all logits of a query equally, which the softmax cancels, unless rotary is applied.
        if "'cross'" in str(path) and "'key'" in str(path) and "'bias'" in str(path):
            continue
        assert jnp.abs(leaf).max() > 1e-6, path


def _init_with_memory(block, xs, memory):
    """Initializes a block, including its projections of the memory."""

    def init(block, xs, memory):
        return block(xs, None, block.memory(memory)[1])

    return block.init(jax.random.key(1), xs, memory, method=init)


def test_dropout_is_applied_only_in_training():
    xs = jax.random.normal(jax.random.key(0), (2, 5, 8))
    network = stack(2, "none", embed_dim=8, num_heads=2, mlp_dim=12, dropout=0.5)
    variables = network.init(jax.random.key(1), xs, None, None, None, None)
    run = lambda train, key: stack(2, "none", embed_dim=8, num_heads=2, mlp_dim=12, dropout=0.5, train=train).apply(
        variables, xs, None, None, None, None, rngs={"dropout": jax.random.key(key)}
    )[0]
    assert (run(False, 0) == run(False, 1)).all()
    assert (run(True, 0) != run(True, 1)).any() and (run(True, 0) == run(True, 0)).all()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(num_heads=3), "`num_heads` must be a divisor of `embed_dim`, 8, got 3"),
        (dict(num_heads=4, num_kv_heads=3), "`num_kv_heads` must be a divisor of `num_heads`, 4, got 3"),
    ],
)
def test_invalid_head_counts_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(8, **options).init(jax.random.key(0), jnp.ones((2, 3, 8)))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: stack(0, "none"), "`num_layers` must be an integer of at least 1, got 0"),
        (lambda: stack(1, "all"), "`remat` must be one of none, products, blocks, got 'all'"),
        (lambda: _init(activation="elu"), "`activation` must be one of relu, gelu, swiglu, got 'elu'"),
        (lambda: _init(norm="batch"), "`norm` must be one of layer, rms, got 'batch'"),
    ],
)
def test_invalid_options_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _init(**options):
    Block(8, 2, 12, **options).init(jax.random.key(0), jnp.ones((2, 3, 8)))
