"""FLOPs of traced programs against formulas."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxnets import recurrent
from jaxnets.attention import DecoderLM
from jaxnets.training import build, config
from jaxnets.training.reporting import flops


def total(function, *arguments):
    return sum(flops.flops(function, *arguments).values())


def test_a_multiply_add_counts_as_two():
    assert total(lambda a, b: a @ b, jnp.ones((3, 5)), jnp.ones((5, 7))) == 2 * 3 * 5 * 7
    assert (
        total(jax.jit(lambda a, b: jnp.einsum("bij,bjk->bik", a, b)), jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5))) == 240
    )


def test_the_body_of_a_scan_counts_once_per_iteration():
    f = lambda h, w: jax.lax.scan(lambda h, _: (h @ w, None), h, None, length=11)[0]
    assert total(f, jnp.ones((2, 3)), jnp.ones((3, 3))) == 11 * 2 * 2 * 3 * 3


def test_cond_counts_its_most_expensive_branch():
    f = lambda p, a: jax.lax.cond(p, lambda a: a @ a, lambda a: a @ a @ a, a)
    assert total(f, True, jnp.ones((4, 4))) == 2 * 2 * 64


def test_convolutions_count_the_kernel_once_per_output():
    conv = nn.Conv(8, (3, 3), feature_group_count=2, use_bias=False)
    image = jax.ShapeDtypeStruct((1, 10, 10, 6), jnp.float32)
    variables = jax.eval_shape(conv.init, jax.random.key(0), image)
    assert total(conv.apply, variables, image) == 2 * (10 * 10 * 8) * (3 * 3 * 3)


def test_costs_of_a_character_model_by_module():
    model = recurrent.CharRNN(65, hidden_size=512, num_layers=3, embed_dim=256)
    costs = flops.count(model, jax.ShapeDtypeStruct((2, 64), jnp.int32))
    assert [cost.name for cost in costs] == ["embed", "layer_0", "layer_1", "layer_2", "head"]
    assert sum(cost.parameters for cost in costs) == 5_823_297
    tokens = 2 * 64
    assert [cost.flops for cost in costs] == [
        0,
        2 * tokens * (256 + 512) * 2048,
        2 * tokens * (512 + 512) * 2048,
        2 * tokens * (512 + 512) * 2048,
        2 * tokens * 512 * 65,
    ]


def test_activation_bytes_are_those_of_products_and_convolutions():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            features = nn.relu(nn.Conv(5, (3, 3), dtype=jnp.bfloat16, name="a")(x)).mean((1, 2))
            return nn.Dense(7, dtype=jnp.float32, name="b")(features)

    costs = flops.count(Two(), jax.ShapeDtypeStruct((2, 6, 6, 3), jnp.float32))
    assert [cost.activation_bytes for cost in costs] == [2 * 6 * 6 * 5 * 2, 2 * 7 * 4]
    loop = lambda h, w: jax.lax.scan(lambda h, _: (h @ w, None), h, None, length=11)[0]
    assert sum(flops.activation_bytes(loop, jnp.ones((2, 3)), jnp.ones((3, 3))).values()) == 11 * 2 * 3 * 4


def test_blockwise_attention_counts_as_full_attention():
    """The two T x T products per head and layer must not be hidden by the loop over blocks."""
    model = DecoderLM(7, embed_dim=8, num_layers=2, num_heads=2, max_seq_len=1024)
    tokens = lambda length: jax.ShapeDtypeStruct((1, length), jnp.int32)
    total_flops = lambda length: sum(cost.flops for cost in flops.count(model, tokens(length)))
    quadratic = total_flops(1024) - 2 * total_flops(512)
    assert quadratic == 2 * 2 * 2 * 8 * (1024**2 - 2 * 512**2)


# The published counts of parameters of these configs, and the FLOPs of dense layers: 2 for each weight.
COUNTED = {
    "a classifier": ("digits", 14_666, None),
    "autoencoder, encoder and decoder": ("autoencoder", 67_872, 2),
    "variational autoencoder": ("vae", 30_880, 2),
    "adversarial networks": ("gan", 67_203, 2),
    "convolutional ones, a critic of five steps": ("gan:wgan_gp", 18_017, None),
    "language model": ("char_lm", 410_880, None),
}


@pytest.mark.parametrize("name, parameters, per_weight", COUNTED.values(), ids=list(COUNTED))
def test_tasks_are_counted_with_all_modules_of_the_model(name, parameters, per_weight):
    settings = config.load(name)
    dataset = build.dataset(settings, trusted=None)
    _, task = build.model_and_task(settings, dataset.spec, trusted=None)
    costs = flops.count_task(task, dataset.train[0])
    assert sum(cost.parameters for cost in costs) == parameters
    assert all(cost.flops for cost in costs if cost.name not in ("embed", "other"))
    if per_weight:
        shapes = jax.eval_shape(lambda: task.learner.variables(task.learner.init(jax.random.key(0), dataset.train[0])))
        weights = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 2)
        assert sum(cost.flops for cost in costs) == per_weight * weights
