"""Empty batches and empty sequences for every public function of recurrent networks, decoding and dense layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import decoding, recurrent
from jaxnets.modules import dense
from jaxnets.ops import products

KEY = jax.random.key(0)
D, H = 3, 4
GRU, LINEAR = recurrent.gru(H), recurrent.min_gru(H)
CELLS = {
    "elman": recurrent.elman(H),
    "gru": GRU,
    "mgu": recurrent.mgu(H),
    "lstm": recurrent.lstm(H),
    "peephole_lstm": recurrent.peephole_lstm(H),
    "layer_norm_lstm": recurrent.layer_norm_lstm(H),
    "layer_norm_gru": recurrent.layer_norm_gru(H),
    "conv_lstm": recurrent.conv_lstm(H, (3,)),
    "min_gru": LINEAR,
    "min_lstm": recurrent.min_lstm(H),
    "lru": recurrent.lru(H, 2),
    "zoneout": recurrent.zoneout(recurrent.lstm(H), 0.1),
    "recurrent_dropout": recurrent.recurrent_dropout(GRU),
    "residual": recurrent.residual(recurrent.gru(D)),
    "learned_carry": recurrent.learned_carry(GRU),
}
WIDTH = {"residual": D}


def spatial_shape(cell):
    return (5,) * (cell.axes - 1)


def sequence(batch, length, cell=GRU):
    return jnp.ones((batch, length, *spatial_shape(cell), D))


def lengths(batch, length):
    return jnp.full(batch, length, jnp.int32)


def scan_case(cell, method="auto", width=H):
    """Returns a case of a scan with lengths and resets: a function, its arguments and the shape of its outputs."""

    def case(batch, length):
        def f(params, xs):
            resets = jnp.zeros((batch, length), bool)
            options = {} if method == "cudnn" else dict(lengths=lengths(batch, length), resets=resets)
            last, ys = recurrent.scan(cell, params, xs, method=method, **options)
            return ys, last

        shape = (batch, length, *spatial_shape(cell), width)
        return f, (cell.init(KEY, D), sequence(batch, length, cell)), shape

    return case


def step_case(batch, length):
    f = lambda params, x: recurrent.step(GRU, params, None, x)[::-1]
    return f, (GRU.init(KEY, D), jnp.ones((batch, D))), (batch, H)


def bidirectional_case(batch, length):
    def f(params, xs):
        resets = jnp.zeros((batch, length), bool)
        options = dict(lengths=lengths(batch, length), resets=resets)
        return recurrent.bidirectional((GRU, GRU), (params, params), xs, **options)[::-1]

    return f, (GRU.init(KEY, D), sequence(batch, length)), (batch, length, 2 * H)


def stacked_case(batch, length):
    def f(params, xs):
        layer = lambda xs, carry: recurrent.scan(GRU, params, xs, carry)
        skip = lambda xs, carry: recurrent.scan(recurrent.elman(2), recurrent.elman(2).init(KEY, D + H), xs, carry)
        return recurrent.stacked([layer, skip], xs, connect="skip", dropout=0.5, key=KEY)[::-1]

    return f, (GRU.init(KEY, D), sequence(batch, length)), (batch, length, H + 2)


def over_devices_case(batch, length):
    mesh = jax.make_mesh((1,), ("time",), (jax.sharding.AxisType.Auto,))
    f = lambda params, xs: recurrent.scan_over_devices(LINEAR, params, xs, mesh=mesh, axis="time")[::-1]
    return f, (LINEAR.init(KEY, D), sequence(batch, length)), (batch, length, H)


def masks_case(sample, *last):
    def case(batch, length):
        f = lambda params, xs: (sample(params, xs), ())
        return f, (GRU.init(KEY, D), sequence(batch, length)), (batch, *(length,) * len(last), H)

    return case


def pool_case(pooling):
    def case(batch, length):
        return (
            lambda ys: (recurrent.pool(ys, pooling, lengths(batch, length)), ()),
            (sequence(batch, length),),
            (batch, D),
        )

    return case


def attention_pool_case(batch, length):
    f = lambda ys, scores: (recurrent.attention_pool(ys, scores, lengths(batch, length)), ())
    return f, (sequence(batch, length), jnp.ones((batch, length))), (batch, D)


def module_case(module, inputs, shape, output=lambda result: result[::-1], **options):
    def case(batch, length):
        arrays = inputs(batch, length)
        variables = module.init(KEY, *inputs(2, 2))
        if jnp.issubdtype(arrays[0].dtype, jnp.floating):
            f = lambda variables, xs: output(module.apply(variables, xs, **options))
            return f, (variables, *arrays), shape(batch, length)
        return lambda variables: output(module.apply(variables, *arrays)), (variables,), shape(batch, length)

    return case


token_ids = lambda batch, length: jnp.zeros((batch, length), jnp.int32)
only_xs = lambda batch, length: (sequence(batch, length),)
without_carry = lambda result: (result, ())
CASES = {
    **{name: [scan_case(cell, width=WIDTH.get(name, H))] for name, cell in CELLS.items()},
    "scan": [scan_case(GRU, method) for method in ("sequential", "newton", "autodiff")]
    + [scan_case(LINEAR, method) for method in ("sequential", "newton", "autodiff", "associative")],
    "step": [step_case],
    "bidirectional": [bidirectional_case],
    "stacked": [stacked_case],
    "scan_over_devices": [over_devices_case],
    "zoneout_masks": [masks_case(lambda p, xs: recurrent.zoneout_masks(KEY, GRU, p, xs, 0.5), "time")],
    "recurrent_dropout_masks": [
        masks_case(lambda p, xs: recurrent.recurrent_dropout_masks(KEY, GRU, p, xs, 0.5)["candidate"])
    ],
    "pool": [pool_case(pooling) for pooling in ("last", "max", "mean")],
    "attention_pool": [attention_pool_case],
    "matmul": [lambda b, t: (lambda w, x: (recurrent.matmul(w, x), ()), (jnp.ones((D, H)), sequence(b, t)), (b, t, H))],
    "RNN": [module_case(recurrent.RNN(GRU), only_xs, lambda b, t: (b, t, H))],
    "BidirectionalRNN": [module_case(recurrent.BidirectionalRNN(GRU), only_xs, lambda b, t: (b, t, 2 * H))],
    "StackedRNN": [module_case(recurrent.StackedRNN(GRU, 2, bidirectional=True), only_xs, lambda b, t: (b, t, 2 * H))],
    "SequenceModel": [
        module_case(
            recurrent.SequenceModel(2, hidden_size=H, bidirectional=True, pooling=pooling),
            only_xs,
            (lambda b, t: (b, t, 2)) if pooling == "none" else (lambda b, t: (b, 2)),
            without_carry,
        )
        for pooling in ("last", "max", "mean", "attention", "none")
    ],
    "CharRNN": [
        module_case(
            recurrent.CharRNN(5, hidden_size=H, embed_dim=width, tie_embeddings=width == H),
            lambda b, t: (token_ids(b, t),),
            lambda b, t: (b, t, 5),
        )
        for width in (0, H)
    ],
    "EncoderDecoder": [
        module_case(
            recurrent.EncoderDecoder(5, hidden_size=H, embed_dim=H, attention=kind),
            lambda b, t: (token_ids(b, t), token_ids(b, 3), lengths(b, t)),
            lambda b, t: (b, 3, 5),
            without_carry,
        )
        for kind in ("none", "additive", "multiplicative")
    ]
    + [
        module_case(
            recurrent.EncoderDecoder(5, hidden_size=H, embed_dim=H),
            lambda b, t: (token_ids(b, 3), token_ids(b, t)),
            lambda b, t: (b, t, 5),
            without_carry,
        )
    ],
    "dense.Dense": [module_case(dense.Dense(H), only_xs, lambda b, t: (b, t, H), without_carry)],
    "dense.DenseGeneral": [module_case(dense.DenseGeneral((2, 3)), only_xs, lambda b, t: (b, t, 2, 3), without_carry)],
    "products.linear": [
        lambda b, t: (lambda w, x: (products.linear(x, w), ()), (jnp.ones((D, H)), sequence(b, t)), (b, t, H))
    ],
    "products.matmul": [
        lambda b, t: (
            lambda w, x: (products.matmul(w, x.reshape(-1, D)).reshape(b, t, H), ()),
            (jnp.ones((D, H)), sequence(b, t)),
            (b, t, H),
        )
    ],
    "products.dot_general": [
        lambda b, t: (
            lambda w, x: (products.dot_general(x, w, (((2,), (0,)), ((), ()))), ()),
            (jnp.ones((D, H)), sequence(b, t)),
            (b, t, H),
        )
    ],
    "decoding.truncate": [
        lambda b, t: (lambda x: (decoding.truncate(x, 0.5, 2, 0.9)[..., :1], ()), (sequence(b, t),), (b, t, 1))
    ],
}
EXEMPT = {
    "Cell": "a tuple of functions; every cell is tested",
    "LinearStep": "the step of linear cells, which are tested",
    **dict.fromkeys(
        ("Associative", "Autodiff", "CuDNN", "Newton", "Persistent", "Sequential"),
        "options of methods, which are tested under scan",
    ),
    "Method": "a protocol",
    "wrap": "composes wrappers, which are tested",
    "Encoded": "a tuple that EncoderDecoder returns",
    "choose_method": "has no array argument",
    "newton_solution": "rejects empty sequences, tested below",
    "decoding.Hypotheses": "a tuple that beam_search returns",
    "decoding.length_penalty": "has no batch or sequence argument",
    "decoding.beam_search": "starts from one token; a length below 1 is rejected, tested below",
    "decoding.greedy": "starts from one token; a length of 0 is tested below",
    "decoding.sample": "starts from one token; a length of 0 is tested below",
    "decoding.stream": "an empty prompt is rejected, tested below",
    "decoding.tree": "an empty prompt is rejected, tested below",
}


def public_names():
    of_products = [
        name for name in vars(products) if getattr(vars(products)[name], "__module__", "") == products.__name__
    ]
    return {
        *recurrent.__all__,
        *(f"decoding.{name}" for name in decoding.__all__),
        *(f"products.{name}" for name in of_products if not name.startswith("_")),
        "dense.Dense",
        "dense.DenseGeneral",
    }


def test_every_public_name_is_tested_or_exempt():
    assert public_names() == {*CASES, *EXEMPT}
    assert not set(CASES) & set(EXEMPT)


ALL_CASES = [(name, index) for name, cases in CASES.items() for index in range(len(cases))]


# Cases that compile slowly or are similar to others.
SLOW = {
    *((name, index) for name in ("EncoderDecoder", "SequenceModel", "CharRNN", "scan") for index in range(1, 8)),
    *((name, 0) for name in ("stacked", "scan_over_devices")),
    *((name, 0) for name in ("StackedRNN", "mgu", "peephole_lstm", "layer_norm_gru", "min_lstm", "zoneout")),
}


@pytest.mark.parametrize(
    "name, index",
    [pytest.param(*case, id=f"{case[0]}-{case[1]}", marks=[pytest.mark.slow] * (case in SLOW)) for case in ALL_CASES],
)
def test_empty_batch_and_empty_sequence(name, index):
    for batch, length in ((0, 2), (2, 0), (0, 0)):
        f, arguments, shape = CASES[name][index](batch, length)

        @jax.jit
        def results(*arguments, f=f):
            """Returns the results of f and the gradients of all arguments."""
            if name.endswith("_masks"):  # sampled, without gradients
                return f(*arguments), None
            (found, rest), pull = jax.vjp(f, *arguments)
            return (found, rest), pull((jax.tree.map(jnp.ones_like, found), jax.tree.map(jnp.zeros_like, rest)))

        (found, rest), gradients = results(*arguments)
        leaves = jax.tree.leaves(found)
        assert all(leaf.shape == shape for leaf in leaves), (batch, length)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found, rest))), (batch, length)
        if gradients is not None:
            assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, arguments)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)), (batch, length)
            if 0 in shape:  # all gradients of an empty result are zero
                assert not any(leaf.any() for leaf in jax.tree.leaves(gradients)), (batch, length)


def test_empty_input_is_rejected_where_meaningless():
    params = GRU.init(KEY, D)
    with pytest.raises(ValueError, match="`xs` must have at least one step"):
        recurrent.newton_solution(GRU, params, sequence(2, 0))
    assert recurrent.newton_solution(GRU, params, sequence(0, 2)).converged
    step = lambda carry, token: (carry, jnp.zeros(5))
    assert decoding.sample(step, 0.0, 0, KEY, max_length=0).shape == (0,)
    assert decoding.greedy(step, 0.0, 0, max_length=0).shape == (0,)
    with pytest.raises(ValueError, match="`max_length` must be an integer of at least 1, got 0"):
        decoding.beam_search(step, 0.0, 0, end_token=1, num_beams=2, max_length=0)
    for call in (decoding.tree, lambda *arguments: decoding.stream(*arguments, KEY)):
        with pytest.raises(ValueError, match="with T at least 1"):
            call(step, 0.0, [])


def test_decoding_an_empty_batch():
    step = lambda carry, token: (carry, jnp.zeros(5))
    tokens = jax.vmap(lambda start: decoding.sample(step, 0.0, start, KEY, max_length=3))(jnp.zeros(0, jnp.int32))
    assert tokens.shape == (0, 3)
    best = jax.vmap(lambda start: decoding.beam_search(step, 0.0, start, end_token=1, num_beams=2, max_length=3))(
        jnp.zeros(0, jnp.int32)
    )
    assert best.tokens.shape == (0, 2, 3)
