"""Attention on a mesh with explicit axes, compared with attention without a mesh."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import attention as at


def batch_is_sharded():
    mesh = jax.make_mesh((8,), ("b",))
    query = jax.random.normal(jax.random.key(0), (8, 6, 2, 4))
    tokens, lengths = jax.random.randint(jax.random.key(1), (8, 6), 0, 7), jnp.array([6, 0] * 4)
    model = at.modern_lm(
        7, embed_dim=8, num_layers=2, num_heads=2, num_kv_heads=1, max_seq_len=8, implementation="chunked"
    )
    variables = jax.jit(model.init)(jax.random.key(2), tokens)

    def all_outputs(query, tokens, lengths):
        outputs = []
        for options in (dict(implementation="xla"), dict(implementation="chunked", blocks=(4, 4))):
            f = lambda q, options=options: at.attention(q, q, q, causal=True, lengths=lengths, **options)
            outputs += [f(query), jax.grad(lambda q, f=f: jnp.sum(f(q) ** 2))(query)]
        outputs += [at.attention_weights(query, query, lengths=lengths), model.apply(variables, tokens)[1]]
        outputs += [model.apply(variables, tokens, model.start((8,)))[1]]
        return outputs

    expected = jax.jit(all_outputs)(query, tokens, lengths)
    with jax.set_mesh(mesh):
        sharded = (jax.device_put(a, jax.NamedSharding(mesh, jax.P("b"))) for a in (query, tokens, lengths))
        found = jax.jit(all_outputs)(*sharded)
    for output, reference in zip(found, expected, strict=True):
        assert jax.typeof(output).sharding.spec[0] == "b", jax.typeof(output)
        np.testing.assert_allclose(output, reference, atol=1e-5)
