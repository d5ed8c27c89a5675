"""Calls of what the README shows of recurrent networks and decoding, made wrongly: each error says what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import decoding, recurrent

KEY = jax.random.key(0)
GRU, LSTM = recurrent.gru(4), recurrent.lstm(4)
PARAMS = GRU.init(KEY, 3)
OF_LSTM = LSTM.init(KEY, 3)
XS = jnp.ones((2, 5, 3))
TOKENS = jnp.zeros((1, 4), jnp.int32)


def scan(cell=GRU, params=PARAMS, xs=XS, *arguments, **options):
    return recurrent.scan(cell, params, xs, *arguments, **options)


def step(cell=GRU, params=PARAMS, carry=None, x=XS[:, 0]):
    return recurrent.step(cell, params, carry, x)


def init(module, *arguments, **options):
    return jax.eval_shape(lambda: module.init(KEY, *arguments, **options))


A_FUNCTION = (
    r"cell must be a Cell, got the function gru: call it with its number of hidden features.*recurrent.gru\(128"
)
NO_CELL = r"cell must be a Cell, such as recurrent.gru\(128\), got 128"
WITHOUT_A_SIZE = {
    "scan": lambda cell: recurrent.scan(cell, PARAMS, XS),
    "step": lambda cell: recurrent.step(cell, PARAMS, None, XS[:, 0]),
    "newton_solution": lambda cell: recurrent.newton_solution(cell, PARAMS, XS),
    "scan_over_devices": lambda cell: recurrent.scan_over_devices(cell, PARAMS, XS, mesh=None, axis="time"),
    "choose_method": lambda cell: recurrent.choose_method(cell),
    "zoneout": lambda cell: recurrent.zoneout(cell, 0.1),
    "zoneout_masks": lambda cell: recurrent.zoneout_masks(KEY, cell, PARAMS, XS, 0.1),
    "recurrent_dropout": lambda cell: recurrent.recurrent_dropout(cell),
    "recurrent_dropout_masks": lambda cell: recurrent.recurrent_dropout_masks(KEY, cell, PARAMS, XS, 0.1),
    "residual": lambda cell: recurrent.residual(cell),
    "learned_carry": lambda cell: recurrent.learned_carry(cell),
    "bidirectional": lambda cell: recurrent.bidirectional((cell, cell), (PARAMS, PARAMS), XS),
    "RNN": lambda cell: init(recurrent.RNN(cell), XS),
    "BidirectionalRNN": lambda cell: init(recurrent.BidirectionalRNN(cell), XS),
    "StackedRNN": lambda cell: init(recurrent.StackedRNN(cell), XS),
}


@pytest.mark.parametrize("call", WITHOUT_A_SIZE.values(), ids=WITHOUT_A_SIZE)
def test_a_cell_without_its_size(call):
    with pytest.raises(ValueError, match=A_FUNCTION):
        call(recurrent.gru)
    with pytest.raises(ValueError, match=NO_CELL):
        call(128)


CELLS = {
    name: getattr(recurrent, name)
    for name in (
        *("elman", "gru", "mgu", "lstm", "peephole_lstm", "layer_norm_lstm", "layer_norm_gru", "conv_lstm"),
        *("min_gru", "min_lstm", "lru"),
    )
}


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("size", [0, -1, 2.5, "128", None, [4]], ids=str)
def test_a_size_that_is_none(make, size):
    with pytest.raises(ValueError, match=r"`hidden` must be an integer of at least 1, got|arguments must be numbers"):
        make(size)


def other_cells():
    made = {name: make(4) for name, make in CELLS.items() if name != "conv_lstm"}
    for name, cell in made.items():
        for other, from_other in made.items():
            a, b = (jax.eval_shape(lambda c=c: c.init(KEY, 3)) for c in (cell, from_other))
            missing = jax.tree.map(jnp.shape, a) != jax.tree.map(jnp.shape, b)
            if missing and not _has_all(b, a):
                yield pytest.param(cell, from_other, id=f"{name} with those of {other}")


def _has_all(larger, smaller):
    """Whether parameters have all that is asked for; what more there is a step may read, made by init or not."""
    if not isinstance(smaller, dict):
        return not isinstance(larger, dict) and larger.shape == smaller.shape
    return isinstance(larger, dict) and all(k in larger and _has_all(larger[k], v) for k, v in smaller.items())


@pytest.mark.parametrize("cell, other", list(other_cells()))
def test_parameters_of_another_cell(cell, other):
    params = other.init(KEY, 3)
    for call in (lambda: recurrent.scan(cell, params, XS), lambda: recurrent.step(cell, params, None, XS[:, 0])):
        with pytest.raises(ValueError, match=r"params must be of this cell, as cell.init makes them: .*another cell"):
            jax.eval_shape(call)


def test_parameters_of_another_size():
    with pytest.raises(ValueError, match=r"recurrent/gates \(4, 8\), got \(6, 12\)"):
        scan(params=recurrent.gru(6).init(KEY, 3))
    with pytest.raises(ValueError, match=r"peephole \(3, 4\), got none"):
        scan(recurrent.peephole_lstm(4), OF_LSTM)


def unknown_product(name="kernal"):
    def wrong(rest, h, u, dot):
        h = jnp.tanh(u[0] + dot(name, h))
        return h, h

    return recurrent.elman(4)._replace(step=wrong)


def jitted_dot():
    def inside(rest, h, u, dot):
        h = jnp.tanh(u[0] + jax.jit(lambda h: dot("kernel", h))(h))
        return h, h

    return recurrent.elman(4)._replace(step=inside)


@pytest.mark.parametrize("method", ["sequential", "newton", "autodiff"])
def test_an_unknown_product(method):
    params = recurrent.elman(4).init(KEY, 3)
    message = r"""dot: the name must be that of a weight in params\["recurrent"\], 'kernel', got 'kernal'"""
    for run in (
        lambda p: recurrent.scan(unknown_product(), p, XS, method=method)[1].sum(),
        lambda p: recurrent.step(unknown_product(), p, None, XS[:, 0])[1].sum(),
        lambda p: recurrent.scan(unknown_product(), p, XS[:, :0])[1].sum(),
    ):
        for call in (run, jax.grad(run)):
            with pytest.raises(ValueError, match=message):
                call(params)


@pytest.mark.parametrize("keep", ["carries", "boundaries", "products"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_product_within_jit_under_grad(keep, transform):
    """A clear error, or the gradient that plain autodiff finds."""
    params = recurrent.elman(4).init(KEY, 3)
    loss = lambda p, **how: jnp.sum(recurrent.scan(jitted_dot(), p, XS, **how)[1] ** 2)
    wanted = transform(jax.grad(lambda p: loss(p, method="autodiff")))(params)
    jax.tree.map(np.testing.assert_allclose, recurrent.scan(jitted_dot(), params, XS), scan(recurrent.elman(4), params))
    try:
        found = transform(jax.grad(lambda p: loss(p, method=recurrent.Sequential(keep=keep))))(params)
    except ValueError as error:
        assert "wraps dot in a transformation such as jit" in str(error)
    else:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, wanted)


def returns(result):
    return recurrent.elman(4)._replace(step=lambda rest, h, u, dot: result(h + dot("kernel", h)))


OF_ELMAN = recurrent.elman(4).init(KEY, 3)
WRONG = {
    "variables of a module": (
        lambda: scan(params={"params": {"cell": PARAMS}}),
        r'"input" and "recurrent" expected.*variables\["params"\]\["cell"\]',
    ),
    "params None": (lambda: scan(params=None), "params must be a dict, as cell.init makes it, got None"),
    "params an array": (lambda: scan(params=XS), r"params must be a dict.*got float32 of shape \(2, 5, 3\)"),
    "params that are strings": (
        lambda: scan(params={"input": "a", "recurrent": {}}),
        "params must be arrays, got 'a'",
    ),
    "xs of strings": (lambda: scan(xs="text"), "xs must be arrays, got 'text'"),
    "xs None": (lambda: scan(xs=None), "xs: floating point expected; given nothing"),
    "xs a list": (lambda: scan(xs=[[1.0]]), r"at least the axes \[T, D\] expected; given shape \(\)"),
    "one step to scan": (lambda: scan(xs=XS[0, 0]), r"xs: at least the axes \[T, D\] expected; given shape \(3,\)"),
    "other features": (lambda: scan(xs=jnp.ones((2, 5, 7))), "made for 3 features; given shape"),
    "other features of a step": (lambda: step(x=jnp.ones((2, 7))), "x: the parameters were made for 3 features"),
    "no features of a step": (lambda: step(x=jnp.float32(1)), r"x must have at least 1 axes.*got shape \(\)"),
    "a step's carry of another cell": (
        lambda: step(carry=(jnp.zeros((2, 4)),) * 2),
        r"carry: shapes \(2, 4\) expected for this batch; given \(\(2, 4\), \(2, 4\)\)",
    ),
    "a step's carry of another batch": (lambda: step(carry=jnp.zeros((3, 4))), r"carry: shapes \(2, 4\) expected"),
    "a carry of strings": (lambda: scan(carry="zeros"), "carry must be arrays, got 'zeros'"),
    "a complex carry": (
        lambda: scan(carry=jnp.zeros((2, 4), jnp.complex64)),
        "carry must be of float32, got complex64",
    ),
    "a carry of an LSTM": (lambda: scan(carry=(jnp.zeros((2, 4)),) * 2), "carry: shapes"),
    "lengths as strings": (lambda: scan(lengths="5"), "lengths must be arrays, got '5'"),
    "one length": (lambda: scan(lengths=5), r"lengths: integers of shape \(2,\) expected; given int32 of shape \(\)"),
    "lengths of a column": (
        lambda: scan(lengths=jnp.ones((2, 1), int)),
        r"lengths: integers of shape \(2,\) expected; given int32 of shape \(2, 1\)",
    ),
    "lengths as a mask": (lambda: scan(lengths=jnp.ones((2, 5), bool)), "lengths: integers.*given bool of shape"),
    "resets as strings": (lambda: scan(resets="no"), "resets must be arrays, got 'no'"),
    "resets of a row": (lambda: scan(resets=jnp.ones(5, bool)), r"resets: bool of shape \(2, 5\) expected"),
    "method None": (lambda: scan(method=None), "method must be one of auto, sequential.*got None"),
    "method a number": (lambda: scan(method=3), "method must be one of auto, sequential.*got 3"),
    "method a function": (lambda: scan(method=print), "method must be one of auto, sequential.*got <built-in function"),
    "a step of one result": (lambda: scan(returns(lambda h: h), OF_ELMAN), r"`?step`? must return \(carry, y\)"),
    "a step of three": (lambda: scan(returns(lambda h: (h, h, h)), OF_ELMAN), r"`?step`? must return \(carry, y\)"),
    "a step with another carry": (
        lambda: scan(returns(lambda h: (h[..., :2], h)), OF_ELMAN),
        r"must return a carry like the one before, of shapes \(2, 4\), got \(2, 2\)",
    ),
    "kernel of a number": (lambda: recurrent.conv_lstm(2, 3), "kernel must be a tuple of one or two sizes"),
    "kernel as a list": (lambda: recurrent.conv_lstm(2, [3, 3]), r"conv_lstm: arguments must be numbers"),
    "kernel of three": (lambda: recurrent.conv_lstm(2, (3, 3, 3)), "kernel: one or two sizes expected"),
    "reset of another kind": (lambda: recurrent.gru(4, "always"), "reset: before, after or none; given 'always'"),
    "activation as a string": (lambda: recurrent.elman(4, "relu"), "activation must be a function.*got 'relu'"),
    "projection below 0": (lambda: recurrent.lstm(4, proj_size=-1), "`projection` must be an integer of at least 0"),
    "memory of one step": (lambda: recurrent.gru(4, chrono_init=1).init(KEY, 3), "memory: at least 2 steps.*given 1"),
    "zoneout beyond 1": (lambda: recurrent.zoneout(GRU, 1.5), "rate: a probability expected; given 1.5"),
    "zoneout of a string": (lambda: recurrent.zoneout(GRU, "0.1"), "rate: a probability expected; given '0.1'"),
    "zoneout of three": (lambda: scan(recurrent.zoneout(LSTM, (0.1,) * 3), OF_LSTM), "rate: one number, or 2"),
    "dropout of everything": (
        lambda: recurrent.recurrent_dropout_masks(KEY, GRU, PARAMS, XS, 1.0),
        "rate: a probability below 1 expected; given 1.0",
    ),
    "masks for params of a module": (
        lambda: recurrent.recurrent_dropout_masks(KEY, GRU, {"params": PARAMS}, XS, 0.1),
        'params: "input" and "recurrent" expected',
    ),
    "residual of another width": (
        lambda: scan(recurrent.residual(GRU)),
        r"residual: input and output of one width expected; given \(2, 3\) and \(2, 4\)",
    ),
    "learned carry of images": (
        lambda: recurrent.learned_carry(recurrent.conv_lstm(2)),
        "learned_carry: a cell over features expected",
    ),
    "one cell both ways": (lambda: recurrent.bidirectional(GRU, PARAMS, XS), "cells must be a pair"),
    "params of one way": (lambda: recurrent.bidirectional((GRU, GRU), PARAMS, XS), "params must be a pair"),
    "carry of one way": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, jnp.zeros((2, 4))),
        r"carry must be a pair.*got float32 of shape \(2, 4\)",
    ),
    "merge": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, merge="product"),
        "merge: one of concat, sum, mean, max; given 'product'",
    ),
    "resets both ways of one number": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, resets=True),
        "resets: bool of shape",
    ),
    "cells as layers": (lambda: recurrent.stacked([GRU], XS), r"layers must be functions \(xs, carry\)"),
    "one layer": (lambda: recurrent.stacked(scan, XS), r"layers must be functions \(xs, carry\)"),
    "no layer": (lambda: recurrent.stacked([], XS), r"layers must be functions.*at least one, got \[\]"),
    "carry of one layer": (
        lambda: recurrent.stacked([scan, scan], XS, jnp.zeros((2, 4))),
        r"carry: one per layer, 2, expected; given float32 of shape \(2, 4\)",
    ),
    "method of a layer": (
        lambda: init(recurrent.RNN(GRU, method={"name": "autodiff"}), XS),
        "method must be one of auto, sequential.*got",
    ),
    "xs of one row to RNN": (lambda: init(recurrent.RNN(GRU), XS[0, 0]), r"xs: at least the axes \[T, D\]"),
    "tokens to RNN": (lambda: init(recurrent.RNN(GRU), TOKENS), "xs: floating point expected; given int32"),
    "layers of StackedRNN": (lambda: init(recurrent.StackedRNN(GRU, num_layers=0), XS), "layers: at least 1; given 0"),
    "layers of a fraction": (
        lambda: init(recurrent.StackedRNN(GRU, num_layers=1.5), XS),
        "`layers` must be an integer of at most 1000",
    ),
    "connect": (lambda: init(recurrent.StackedRNN(GRU, connect="dense"), XS), "connect: plain, residual or skip"),
    "dropout of a layer": (lambda: init(recurrent.StackedRNN(GRU, dropout=1.5), XS), "dropout: a probability below 1"),
    "a cell where its function belongs": (
        lambda: init(recurrent.SequenceModel(num_outputs=2, cell=GRU), XS),
        "cell: a function from H to a cell expected, such as recurrent.gru",
    ),
    "outputs as a string": (
        lambda: init(recurrent.SequenceModel(num_outputs="2"), XS),
        "outputs: at least 1 expected; given '2'",
    ),
    "pooling": (lambda: init(recurrent.SequenceModel(num_outputs=2, pooling="sum"), XS), "pooling: last, max, mean"),
    "a cell's function that makes none": (
        lambda: init(recurrent.SequenceModel(num_outputs=2, cell=lambda hidden: hidden), XS),
        "cell must be a Cell, such as",
    ),
    "pool of one row": (
        lambda: recurrent.pool(jnp.ones(3), "max"),
        r"ys must be floating point of shape \[\*batch, T, H",
    ),
    "pool of integers": (
        lambda: recurrent.pool(jnp.ones((2, 5, 3), int), "mean"),
        "ys must be floating point.*got int32",
    ),
    "pool of too many steps": (
        lambda: recurrent.pool(XS, "mean", jnp.array([6, 1])),
        "lengths: from 0 to T = 5 expected; given 6",
    ),
    "pool with a mask": (lambda: recurrent.pool(XS, "max", jnp.ones((2, 5), bool)), "lengths: integers of shape"),
    "scores of another shape": (
        lambda: recurrent.attention_pool(XS, XS),
        r"scores must be floating point of shape \(2, 5\), got float32 of shape \(2, 5, 3\)",
    ),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_recurrent(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def flat(carry, token):
    return carry, jnp.zeros(5)


def grows(carry, token):
    return jnp.append(carry, 1.0), jnp.zeros(5)


DECODERS = {
    "sample": lambda step=flat, carry=0.0, start=0, **o: decoding.sample(
        step, carry, start, KEY, **{"max_length": 3, **o}
    ),
    "greedy": lambda step=flat, carry=0.0, start=0, **o: decoding.greedy(step, carry, start, **{"max_length": 3, **o}),
    "beam_search": lambda step=flat, carry=0.0, start=0, **o: decoding.beam_search(
        step, carry, start, **{"end_token": 1, "num_beams": 2, "max_length": 3, **o}
    ),
    "stream": lambda step=flat, carry=0.0, start=0, **o: next(decoding.stream(step, carry, [start], KEY, **o)),
    "tree": lambda step=flat, carry=0.0, start=0, **o: decoding.tree(step, carry, [start], **o),
}
ALL, LOOPS, DRAWS = tuple(DECODERS), ("sample", "greedy", "beam_search"), ("sample", "stream")
OF_DECODING = {
    "a step that is none": (
        ALL,
        dict(step=5),
        r"`step` must be a function \(carry, token\) -> \(carry, logits\), got 5",
    ),
    "a step without a carry": (ALL, dict(step=lambda c, t: jnp.zeros(5)), r"`step` must return \(carry, logits\)"),
    "logits of a batch": (ALL, dict(step=lambda c, t: (c, jnp.zeros((1, 5)))), r"logits \[V\].*got shape \(1, 5\)"),
    "no token": (ALL, dict(step=lambda c, t: (c, jnp.zeros(0))), r"logits \[V\] with V at least 1.*\(0,\)"),
    "a carry of another kind": (
        LOOPS,
        dict(carry=None, step=lambda c, t: (1.0, jnp.zeros(5))),
        "`carry` must have the structure",
    ),
    "a carry that grows": (LOOPS, dict(carry=jnp.ones(2), step=grows), r"shape \(3,\), got float32 of shape \(2,\)"),
    "a start of floats": (LOOPS, dict(start=1.5), "`start_token` must be one integer, got 1.5"),
    "a batch of starts": (
        LOOPS,
        dict(start=jnp.zeros(3, int)),
        r"`start_token` must be one integer.*\(3,\); use jax.vmap",
    ),
    "a start of text": (LOOPS, dict(start="a"), "`start_token` must be one integer, got 'a'"),
    "a length below 0": (
        ("sample", "greedy"),
        dict(max_length=-1),
        "`max_length` must be an integer of at least 0, got -1",
    ),
    "a length of a fraction": (LOOPS, dict(max_length=2.5), "`max_length` must be an integer of at least"),
    "no beams": (("beam_search",), dict(num_beams=0), "`num_beams` must be an integer of at least 1, got 0"),
    "beams of a fraction": (
        ("beam_search",),
        dict(num_beams=1.5),
        "`num_beams` must be an integer of at least 1, got 1.5",
    ),
    "no end": (("beam_search",), dict(end_token=None), "`end_token` must be a token id, got None"),
    "temperature below 0": (DRAWS, dict(temperature=-1.0), "`temperature` must be a number of at least 0, got -1.0"),
    "temperature as a string": (DRAWS, dict(temperature="1"), "`temperature` must be a number of at least 0, got '1'"),
    "top_k below 0": (DRAWS, dict(top_k=-1), "`top_k` must be a number of at least 0, got -1"),
    "top_p None": (DRAWS, dict(top_p=None), "`top_p` must be a number of at least 0, got None"),
    "no branches": (("tree",), dict(num_branches=0), "`num_branches` must be an integer of at least 1, got 0"),
    "no depth": (("tree",), dict(depth=0), "`depth` must be an integer of at least 1, got 0"),
}


@pytest.mark.parametrize("names, options, message", OF_DECODING.values(), ids=OF_DECODING)
def test_decoding(names, options, message):
    for name in names:
        with pytest.raises(ValueError, match=message):
            DECODERS[name](**options)


@pytest.mark.parametrize("prompt", [[], "text", [0.5], [[1, 2]], 3, np.zeros(0, int)], ids=str)
def test_a_prompt_that_is_none(prompt):
    message = r"`prompt` must be token ids, integers of shape \[T\] with T at least 1, got"
    with pytest.raises(ValueError, match=message):
        decoding.stream(flat, 0.0, prompt, KEY)
    with pytest.raises(ValueError, match=message):
        decoding.tree(flat, 0.0, prompt)
