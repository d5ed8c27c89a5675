"""Errors of recurrent and decoding functions for wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import decoding, recurrent

KEY = jax.random.key(0)
GRU, LSTM = recurrent.gru(4), recurrent.lstm(4)
PARAMS = GRU.init(KEY, 3)
LSTM_PARAMS = LSTM.init(KEY, 3)
XS = jnp.ones((2, 5, 3))
TOKENS = jnp.zeros((1, 4), jnp.int32)


def scan(cell=GRU, params=PARAMS, xs=XS, *arguments, **options):
    return recurrent.scan(cell, params, xs, *arguments, **options)


def step(cell=GRU, params=PARAMS, carry=None, x=XS[:, 0]):
    return recurrent.step(cell, params, carry, x)


def init(module, *arguments, **options):
    return jax.eval_shape(lambda: module.init(KEY, *arguments, **options))


FUNCTION_MESSAGE = (
    r"`cell` must be a Cell, got the function gru; call it with the number of hidden units.*recurrent.gru\(128"
)
NOT_A_CELL_MESSAGE = r"`cell` must be a Cell, such as recurrent.gru\(128\), got 128"
CALLS_WITH_A_CELL = {
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


@pytest.mark.parametrize("call", CALLS_WITH_A_CELL.values(), ids=CALLS_WITH_A_CELL)
def test_cell_function_without_size_is_rejected(call):
    with pytest.raises(ValueError, match=FUNCTION_MESSAGE):
        call(recurrent.gru)
    with pytest.raises(ValueError, match=NOT_A_CELL_MESSAGE):
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
def test_wrong_hidden_size_is_rejected(make, size):
    with pytest.raises(
        ValueError, match=r"`hidden_size` must be an integer of at least 1, got|must be numbers, strings"
    ):
        make(size)


def cell_pairs():
    made = {name: make(4) for name, make in CELLS.items() if name != "conv_lstm"}
    for name, cell in made.items():
        for other, other_cell in made.items():
            a, b = (jax.eval_shape(lambda c=c: c.init(KEY, 3)) for c in (cell, other_cell))
            missing = jax.tree.map(jnp.shape, a) != jax.tree.map(jnp.shape, b)
            if missing and not _has_all(b, a):
                yield pytest.param(cell, other_cell, id=f"{name} with params of {other}")


def _has_all(larger, smaller):
    """Returns whether a tree of parameters contains all arrays of a smaller one; a step may use further parameters."""
    if not isinstance(smaller, dict):
        return not isinstance(larger, dict) and larger.shape == smaller.shape
    return isinstance(larger, dict) and all(k in larger and _has_all(larger[k], v) for k, v in smaller.items())


@pytest.mark.parametrize("cell, other", list(cell_pairs()))
def test_parameters_of_another_cell_are_rejected(cell, other):
    params = other.init(KEY, 3)
    for call in (lambda: recurrent.scan(cell, params, XS), lambda: recurrent.step(cell, params, None, XS[:, 0])):
        with pytest.raises(ValueError, match=r"`params` must have the arrays that cell.init returns: .*another cell"):
            jax.eval_shape(call)


def test_parameters_of_another_size_are_rejected():
    with pytest.raises(ValueError, match=r"recurrent/gates \(4, 8\), got \(6, 12\)"):
        scan(params=recurrent.gru(6).init(KEY, 3))
    with pytest.raises(ValueError, match=r"peephole \(3, 4\), got none"):
        scan(recurrent.peephole_lstm(4), LSTM_PARAMS)


def cell_with_unknown_product(name="kernal"):
    def wrong(rest, h, u, dot):
        h = jnp.tanh(u[0] + dot(name, h))
        return h, h

    return recurrent.elman(4)._replace(step=wrong)


def cell_with_jitted_dot():
    def inside(rest, h, u, dot):
        h = jnp.tanh(u[0] + jax.jit(lambda h: dot("kernel", h))(h))
        return h, h

    return recurrent.elman(4)._replace(step=inside)


@pytest.mark.parametrize("method", ["sequential", "newton", "autodiff"])
def test_unknown_product_is_rejected(method):
    params = recurrent.elman(4).init(KEY, 3)
    message = r"""`name` of dot must be a key of params\["recurrent"\] \('kernel'\), got 'kernal'"""
    for run in (
        lambda p: recurrent.scan(cell_with_unknown_product(), p, XS, method=method)[1].sum(),
        lambda p: recurrent.step(cell_with_unknown_product(), p, None, XS[:, 0])[1].sum(),
        lambda p: recurrent.scan(cell_with_unknown_product(), p, XS[:, :0])[1].sum(),
    ):
        for call in (run, jax.grad(run)):
            with pytest.raises(ValueError, match=message):
                call(params)


@pytest.mark.parametrize("keep", ["carries", "boundaries", "products"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_product_in_jit_under_grad(keep, transform):
    """The gradient equals that of autodiff, or a clear error is raised."""
    params = recurrent.elman(4).init(KEY, 3)
    loss = lambda p, **options: jnp.sum(recurrent.scan(cell_with_jitted_dot(), p, XS, **options)[1] ** 2)
    wanted = transform(jax.grad(lambda p: loss(p, method="autodiff")))(params)
    jax.tree.map(
        np.testing.assert_allclose, recurrent.scan(cell_with_jitted_dot(), params, XS), scan(recurrent.elman(4), params)
    )
    try:
        found = transform(jax.grad(lambda p: loss(p, method=recurrent.Sequential(keep=keep))))(params)
    except ValueError as error:
        assert "call dot inside a transformation such as jit" in str(error)
    else:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, wanted)


def cell_returning(result):
    return recurrent.elman(4)._replace(step=lambda rest, h, u, dot: result(h + dot("kernel", h)))


ELMAN_PARAMS = recurrent.elman(4).init(KEY, 3)
WRONG = {
    "variables of a module": (
        lambda: scan(params={"params": {"cell": PARAMS}}),
        r'"input" and "recurrent".*variables\["params"\]\["cell"\]',
    ),
    "params as None": (lambda: scan(params=None), "`params` must be a dict, as returned by cell.init, got None"),
    "params as an array": (lambda: scan(params=XS), r"`params` must be a dict.*got float32 of shape \(2, 5, 3\)"),
    "params of strings": (
        lambda: scan(params={"input": "a", "recurrent": {}}),
        "`params` must be an array or a tree of arrays, got 'a'",
    ),
    "xs of strings": (lambda: scan(xs="text"), "`xs` must be an array or a tree of arrays, got 'text'"),
    "xs as None": (lambda: scan(xs=None), "`xs` must have a floating point dtype, got no array"),
    "xs as a list": (lambda: scan(xs=[[1.0]]), r"at least the axes \[T, D\], got shape \(\)"),
    "one step to scan": (lambda: scan(xs=XS[0, 0]), r"`xs` must have at least the axes \[T, D\], got shape \(3,\)"),
    "other features": (lambda: scan(xs=jnp.ones((2, 5, 7))), "must have 3 features, as the parameters, got shape"),
    "other features of a step": (lambda: step(x=jnp.ones((2, 7))), "`x` must have 3 features"),
    "no features of a step": (lambda: step(x=jnp.float32(1)), r"`x` must have at least 1 axes, got shape \(\)"),
    "a step's carry of another cell": (
        lambda: step(carry=(jnp.zeros((2, 4)),) * 2),
        r"`carry` must have the shapes \(2, 4\) for this batch, got \(\(2, 4\), \(2, 4\)\)",
    ),
    "a step's carry of another batch": (
        lambda: step(carry=jnp.zeros((3, 4))),
        r"`carry` must have the shapes \(2, 4\)",
    ),
    "a carry of strings": (lambda: scan(carry="zeros"), "`carry` must be an array or a tree of arrays, got 'zeros'"),
    "a complex carry": (
        lambda: scan(carry=jnp.zeros((2, 4), jnp.complex64)),
        "`carry` must be float32, got complex64",
    ),
    "a carry of an LSTM": (lambda: scan(carry=(jnp.zeros((2, 4)),) * 2), "`carry` must have the shapes"),
    "lengths as strings": (lambda: scan(lengths="5"), "`lengths` must be an array or a tree of arrays, got '5'"),
    "lengths as a number": (
        lambda: scan(lengths=5),
        r"`lengths` must be integers of shape \(2,\), got int32 of shape \(\)",
    ),
    "lengths of a column": (
        lambda: scan(lengths=jnp.ones((2, 1), int)),
        r"`lengths` must be integers of shape \(2,\), got int32 of shape \(2, 1\)",
    ),
    "lengths as a mask": (
        lambda: scan(lengths=jnp.ones((2, 5), bool)),
        "`lengths` must be integers.*got bool of shape",
    ),
    "resets as strings": (lambda: scan(resets="no"), "`resets` must be an array or a tree of arrays, got 'no'"),
    "resets of a row": (lambda: scan(resets=jnp.ones(5, bool)), r"`resets` must be bool of shape \(2, 5\)"),
    "method as None": (lambda: scan(method=None), "`method` must be one of auto, sequential.*got None"),
    "method as a number": (lambda: scan(method=3), "`method` must be one of auto, sequential.*got 3"),
    "method as a function": (
        lambda: scan(method=print),
        "`method` must be one of auto, sequential.*got <built-in function",
    ),
    "step with one result": (
        lambda: scan(cell_returning(lambda h: h), ELMAN_PARAMS),
        r"`step` of a cell must return \(carry, y\)",
    ),
    "step with three results": (
        lambda: scan(cell_returning(lambda h: (h, h, h)), ELMAN_PARAMS),
        r"`step` of a cell must return \(carry, y\)",
    ),
    "step with another carry": (
        lambda: scan(cell_returning(lambda h: (h[..., :2], h)), ELMAN_PARAMS),
        r"must return a carry of the shapes \(2, 4\), got \(2, 2\)",
    ),
    "kernel_size as a number": (
        lambda: recurrent.conv_lstm(2, 3),
        "`kernel_size` must be a tuple of one or two integers",
    ),
    "kernel_size as a list": (lambda: recurrent.conv_lstm(2, [3, 3]), r"arguments of conv_lstm must be numbers"),
    "kernel_size of three": (
        lambda: recurrent.conv_lstm(2, (3, 3, 3)),
        "`kernel_size` must be a tuple of one or two integers",
    ),
    "unknown reset": (
        lambda: recurrent.gru(4, "always"),
        "`reset` must be before, after or none, got 'always'",
    ),
    "activation as a string": (lambda: recurrent.elman(4, "relu"), "`activation` must be a function.*got 'relu'"),
    "negative proj_size": (lambda: recurrent.lstm(4, proj_size=-1), "`proj_size` must be an integer of at least 0"),
    "chrono_init of 1": (
        lambda: recurrent.gru(4, chrono_init=1).init(KEY, 3),
        "`chrono_init` must be 0 or a number of at least 2, got 1",
    ),
    "zoneout rate above 1": (lambda: recurrent.zoneout(GRU, 1.5), "`rate` must be a number from 0 to 1, got 1.5"),
    "zoneout rate as a string": (
        lambda: recurrent.zoneout(GRU, "0.1"),
        "`rate` must be a number from 0 to 1, got '0.1'",
    ),
    "zoneout of three rates": (
        lambda: scan(recurrent.zoneout(LSTM, (0.1,) * 3), LSTM_PARAMS),
        "`rate` must be one number or a tuple of 2",
    ),
    "dropout rate of 1": (
        lambda: recurrent.recurrent_dropout_masks(KEY, GRU, PARAMS, XS, 1.0),
        r"`rate` must be a number in \[0, 1\), got 1.0",
    ),
    "masks for params of a module": (
        lambda: recurrent.recurrent_dropout_masks(KEY, GRU, {"params": PARAMS}, XS, 0.1),
        '`params` must have the keys "input" and "recurrent"',
    ),
    "residual of another width": (
        lambda: scan(recurrent.residual(GRU)),
        r"residual: the shapes of input and output must be equal, got \(2, 3\) and \(2, 4\)",
    ),
    "learned carry of images": (
        lambda: recurrent.learned_carry(recurrent.conv_lstm(2)),
        "`cell` of learned_carry must have inputs",
    ),
    "bidirectional with one cell": (lambda: recurrent.bidirectional(GRU, PARAMS, XS), "`cells` must be a pair"),
    "bidirectional with params of one cell": (
        lambda: recurrent.bidirectional((GRU, GRU), PARAMS, XS),
        "`params` must be a pair",
    ),
    "bidirectional with one carry": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, jnp.zeros((2, 4))),
        r"`carry` must be a pair.*got float32 of shape \(2, 4\)",
    ),
    "merge": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, merge="product"),
        "`merge` must be one of concat, sum, mean, max, got 'product'",
    ),
    "bidirectional with one reset": (
        lambda: recurrent.bidirectional((GRU, GRU), (PARAMS, PARAMS), XS, resets=True),
        "`resets` must be bool of shape",
    ),
    "cells as layers": (lambda: recurrent.stacked([GRU], XS), r"`layers` must be one or more functions \(xs, carry\)"),
    "one layer": (lambda: recurrent.stacked(scan, XS), r"`layers` must be one or more functions \(xs, carry\)"),
    "no layer": (lambda: recurrent.stacked([], XS), r"`layers` must be one or more functions.*got \[\]"),
    "carry of one layer": (
        lambda: recurrent.stacked([scan, scan], XS, jnp.zeros((2, 4))),
        r"`carry` must have one item per layer \(2\), got float32 of shape \(2, 4\)",
    ),
    "method of a layer": (
        lambda: init(recurrent.RNN(GRU, method={"name": "autodiff"}), XS),
        "`method` must be one of auto, sequential.*got",
    ),
    "xs of one row to RNN": (lambda: init(recurrent.RNN(GRU), XS[0, 0]), r"`xs` must have at least the axes \[T, D\]"),
    "tokens to RNN": (lambda: init(recurrent.RNN(GRU), TOKENS), "`xs` must have a floating point dtype, got int32"),
    "layers of StackedRNN": (
        lambda: init(recurrent.StackedRNN(GRU, num_layers=0), XS),
        "`num_layers` must be an integer of at least 1, got 0",
    ),
    "fractional num_layers": (
        lambda: init(recurrent.StackedRNN(GRU, num_layers=1.5), XS),
        "`num_layers` must be an integer of at most 1000",
    ),
    "connect": (
        lambda: init(recurrent.StackedRNN(GRU, connect="dense"), XS),
        "`connect` must be one of plain, residual, skip",
    ),
    "dropout of a layer": (
        lambda: init(recurrent.StackedRNN(GRU, dropout=1.5), XS),
        r"`dropout` must be a number in \[0, 1\)",
    ),
    "cell instead of a function": (
        lambda: init(recurrent.SequenceModel(num_outputs=2, cell=GRU), XS),
        "`cell` must be a function from hidden_size to a cell, such as recurrent.gru",
    ),
    "outputs as a string": (
        lambda: init(recurrent.SequenceModel(num_outputs="2"), XS),
        "`num_outputs` must be an integer of at least 1, got '2'",
    ),
    "pooling": (
        lambda: init(recurrent.SequenceModel(num_outputs=2, pooling="sum"), XS),
        "`pooling` must be last, max, mean",
    ),
    "function that makes no cell": (
        lambda: init(recurrent.SequenceModel(num_outputs=2, cell=lambda hidden: hidden), XS),
        "`cell` must be a Cell, such as",
    ),
    "pool of one row": (
        lambda: recurrent.pool(jnp.ones(3), "max"),
        r"`ys` must be floating point of shape \[\*batch, T, D",
    ),
    "pool of integers": (
        lambda: recurrent.pool(jnp.ones((2, 5, 3), int), "mean"),
        "`ys` must be floating point.*got int32",
    ),
    "pool of too many steps": (
        lambda: recurrent.pool(XS, "mean", jnp.array([6, 1])),
        "`lengths` must be from 0 to T = 5, got 6",
    ),
    "pool with a mask": (
        lambda: recurrent.pool(XS, "max", jnp.ones((2, 5), bool)),
        "`lengths` must be integers of shape",
    ),
    "scores of another shape": (
        lambda: recurrent.attention_pool(XS, XS),
        r"`scores` must be floating point of shape \(2, 5\), got float32 of shape \(2, 5, 3\)",
    ),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_wrong_recurrent_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def constant(carry, token):
    return carry, jnp.zeros(5)


def growing(carry, token):
    return jnp.append(carry, 1.0), jnp.zeros(5)


DECODERS = {
    "sample": lambda step=constant, carry=0.0, start=0, **o: decoding.sample(
        step, carry, start, KEY, **{"max_length": 3, **o}
    ),
    "greedy": lambda step=constant, carry=0.0, start=0, **o: decoding.greedy(
        step, carry, start, **{"max_length": 3, **o}
    ),
    "beam_search": lambda step=constant, carry=0.0, start=0, **o: decoding.beam_search(
        step, carry, start, **{"end_token": 1, "num_beams": 2, "max_length": 3, **o}
    ),
    "stream": lambda step=constant, carry=0.0, start=0, **o: next(decoding.stream(step, carry, [start], KEY, **o)),
    "tree": lambda step=constant, carry=0.0, start=0, **o: decoding.tree(step, carry, [start], **o),
}
ALL, LOOPS, SAMPLERS = tuple(DECODERS), ("sample", "greedy", "beam_search"), ("sample", "stream")
WRONG_DECODING = {
    "step as a number": (
        ALL,
        dict(step=5),
        r"`step` must be a function \(carry, token\) -> \(carry, logits\), got 5",
    ),
    "step without a carry": (ALL, dict(step=lambda c, t: jnp.zeros(5)), r"`step` must return \(carry, logits\)"),
    "logits of a batch": (ALL, dict(step=lambda c, t: (c, jnp.zeros((1, 5)))), r"logits \[V\].*got shape \(1, 5\)"),
    "no token": (ALL, dict(step=lambda c, t: (c, jnp.zeros(0))), r"logits \[V\] with V at least 1.*\(0,\)"),
    "carry of another type": (
        LOOPS,
        dict(carry=None, step=lambda c, t: (1.0, jnp.zeros(5))),
        "`carry` must have the structure",
    ),
    "growing carry": (LOOPS, dict(carry=jnp.ones(2), step=growing), r"shape \(3,\), got float32 of shape \(2,\)"),
    "start as a float": (LOOPS, dict(start=1.5), "`start_token` must be one integer, got 1.5"),
    "batch of starts": (
        LOOPS,
        dict(start=jnp.zeros(3, int)),
        r"`start_token` must be one integer.*\(3,\); use jax.vmap",
    ),
    "start as a string": (LOOPS, dict(start="a"), "`start_token` must be one integer, got 'a'"),
    "negative length": (
        ("sample", "greedy"),
        dict(max_length=-1),
        "`max_length` must be an integer of at least 0, got -1",
    ),
    "fractional length": (LOOPS, dict(max_length=2.5), "`max_length` must be an integer of at least"),
    "no beams": (("beam_search",), dict(num_beams=0), "`num_beams` must be an integer of at least 1, got 0"),
    "fractional beams": (
        ("beam_search",),
        dict(num_beams=1.5),
        "`num_beams` must be an integer of at least 1, got 1.5",
    ),
    "no end": (("beam_search",), dict(end_token=None), "`end_token` must be a token id, got None"),
    "temperature below 0": (SAMPLERS, dict(temperature=-1.0), "`temperature` must be a number of at least 0, got -1.0"),
    "temperature as a string": (
        SAMPLERS,
        dict(temperature="1"),
        "`temperature` must be a number of at least 0, got '1'",
    ),
    "top_k below 0": (SAMPLERS, dict(top_k=-1), "`top_k` must be a number of at least 0, got -1"),
    "top_p None": (SAMPLERS, dict(top_p=None), "`top_p` must be a number of at least 0, got None"),
    "no branches": (("tree",), dict(num_branches=0), "`num_branches` must be an integer of at least 1, got 0"),
    "no depth": (("tree",), dict(depth=0), "`depth` must be an integer of at least 1, got 0"),
}


@pytest.mark.parametrize("names, options, message", WRONG_DECODING.values(), ids=WRONG_DECODING)
def test_wrong_decoding_arguments_are_rejected(names, options, message):
    for name in names:
        with pytest.raises(ValueError, match=message):
            DECODERS[name](**options)


@pytest.mark.parametrize("prompt", [[], "text", [0.5], [[1, 2]], 3, np.zeros(0, int)], ids=str)
def test_wrong_prompt_is_rejected(prompt):
    message = r"`prompt` must be token ids, integers of shape \[T\] with T at least 1, got"
    with pytest.raises(ValueError, match=message):
        decoding.stream(constant, 0.0, prompt, KEY)
    with pytest.raises(ValueError, match=message):
        decoding.tree(constant, 0.0, prompt)
