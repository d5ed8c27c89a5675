"""Probes of jaxnets."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.features.cell_probes import elman_probes, gru_probes, is_affine, is_convolution, is_mgu, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, X0, XS, Layer, Library, close
from benchmarks.features.layer_probes import (
    bfloat16,
    calls_cudnn,
    continues,
    drops_between_layers,
    forward_mode,
    general_probes,
    is_one_mask,
    memory_probes,
    merge_modes,
    ragged_probes,
    resets_are_right,
    time_major,
)
from jaxnets import recurrent, weights


def libraries() -> list[Library]:
    layer, plain, square = lstm(), recurrent.lstm(HIDDEN), recurrent.lstm(FEATURES)
    outputs = lambda xs, layer=layer, **options: layer.run(layer.weights, xs, **options)[1]
    linear = lambda *cells: all(map(is_linear, cells)) and not is_linear(plain)
    activations = {"tanh": jnp.tanh, "relu": jax.nn.relu}
    probes = {
        **general_probes(layer),
        **ragged_probes(layer, lstm(bidirectional=True)),
        **memory_probes(lstm, 'Sequential(keep="boundaries")', method=recurrent.Sequential(keep="boundaries")),
        **elman_probes(lambda activation, xs: run(recurrent.elman(HIDDEN, activations[activation]), xs)[1]),
        **gru_probes(lambda: [gru("before"), gru("after")]),
        "mgu": mgu,
        "projection": lambda: [a.shape[-1] for a in run(recurrent.lstm(HIDDEN, proj_size=2))[0]] == [2, HIDDEN],
        "coupled": lambda: is_bounded(recurrent.lstm(HIDDEN, coupled=True)) and not is_bounded(plain),
        "peephole": peephole,
        "norm_lstm": lambda: is_normed(recurrent.layer_norm_lstm(HIDDEN)) and not is_normed(plain),
        "norm_gru": lambda: is_normed(recurrent.layer_norm_gru(HIDDEN)) and not is_normed(recurrent.gru(HIDDEN)),
        "conv_lstm": lambda: is_convolution(lambda rank, xs: run(recurrent.conv_lstm(HIDDEN, (3,) * rank), xs)[1]),
        "min_rnn": lambda: linear(recurrent.min_gru(HIDDEN), recurrent.min_lstm(HIDDEN)),
        "lru": lambda: linear(recurrent.lru(HIDDEN)),
        "resets": lambda: resets_are_right(lambda xs, at: outputs(xs, resets=jnp.asarray(at))),
        "learned_carry": learned_carry,
        "zoneout": zoneout,
        "recurrent_dropout": recurrent_dropout,
        "residual": lambda: close(run(recurrent.residual(square))[1], run(square)[1] + XS),
        "stacked": lambda: continues(stacked),
        "layer_dropout": lambda: drops_between_layers(lambda seed: stacked(XS, seed=seed, dropout=0.5)[0]),
        "skip": skip,
        "merge": lambda: merge_modes(merged, {name: name for name in ("concat", "sum", "mean", "max")}),
        "time_major": lambda: time_major(lambda xs, flag: outputs(xs, time_major=flag)),
        "forward_mode": lambda: forward_mode(layer) or (forward_mode(lstm(method="autodiff")) and 'method="autodiff"'),
        "bfloat16": lambda: bfloat16(layer, XS.astype(jnp.bfloat16)),
        "convert": lambda: " and ".join(name for name, converts in CONVERTED.items() if converts()),
        "cudnn": lambda: calls_cudnn("jaxnets.recurrent.executors.cudnn") and "LSTM, not ragged",
    }
    return [Library([recurrent, weights], probes)]


def lstm(features=FEATURES, hidden_size=HIDDEN, bidirectional=False, **options) -> Layer:
    cell = recurrent.lstm(hidden_size)
    run_both = lambda w, xs, **call: recurrent.bidirectional((cell, cell), (w, w), jnp.asarray(xs), **call)
    run_one = lambda w, xs, **call: recurrent.scan(cell, w, jnp.asarray(xs), **{**options, **call})
    step = lambda w, x, carry: recurrent.step(cell, w, carry, x)[0]
    return Layer(cell.init(KEY, features), run_both if bidirectional else run_one, step)


def run(cell, xs=XS):
    return recurrent.scan(cell, cell.init(KEY, FEATURES), jnp.asarray(xs))


def step(cell, carry, params=None):
    return recurrent.step(cell, params or cell.init(KEY, FEATURES), carry, jnp.asarray(X0))[0]


# ---- cells


def kernels(cell):
    w = cell.init(KEY, FEATURES)
    return w["input"]["kernel"], np.concatenate(list(w["recurrent"].values()), axis=-1)


def gru(place):
    cell = recurrent.gru(HIDDEN, place)
    wx, wh = kernels(cell)
    return reset_place(step(cell, H0), wx, wh, "zrn")


def mgu():
    cell = recurrent.mgu(HIDDEN)
    return is_mgu(step(cell, H0), kernels(cell))


def peephole():
    plain, cell = recurrent.lstm(HIDDEN), recurrent.peephole_lstm(HIDDEN)
    w = {**cell.init(KEY, FEATURES), "peephole": jnp.ones((3, HIDDEN))}
    state = lambda cell, w: lambda c: step(cell, (jnp.asarray(H0), c + 0 * H0), w)[1]
    return is_affine(state(plain, None)) and not is_affine(state(cell, w))


def is_bounded(cell):
    """Checks that c is bounded by 1, as a weighted mean of candidates is, with large forget gates."""
    return bool(abs(run(cell, np.abs(XS).repeat(20, axis=1))[0][1]).max() <= 1)


def is_normed(cell):
    """Checks that the outputs do not depend on the scale of the inputs."""
    return close(run(cell)[1], run(cell, 10 * XS)[1], 1e-3)


def is_linear(cell):
    """Checks that the new state is affine in the old state."""
    state = run(cell)[0]
    again = lambda h: step(cell, jax.tree.map(lambda a: h + 0 * a, state))
    return is_affine(lambda h: jnp.stack(jax.tree.leaves(again(h))))


# ---- wrappers of cells


def learned_carry():
    cell = recurrent.learned_carry(recurrent.lstm(HIDDEN))
    gradient = jax.grad(lambda w: recurrent.scan(cell, w, jnp.asarray(XS))[1].sum())(cell.init(KEY, FEATURES))
    return all(bool(jnp.all(a != 0)) for a in jax.tree.leaves(gradient["carry"]))


def zoneout():
    """Checks that every unit keeps its value at rate 1."""
    cell = recurrent.zoneout(recurrent.lstm(HIDDEN), 1.0)
    w, carry = cell.init(KEY, FEATURES), (jnp.ones((4, HIDDEN)),) * 2
    masks = recurrent.zoneout_masks(KEY, cell, w, jnp.asarray(XS), 1.0)
    return close(recurrent.scan(cell, w, (jnp.asarray(XS), masks), carry)[0], carry)


def recurrent_dropout():
    cell = recurrent.recurrent_dropout(recurrent.elman(32, lambda a: a, identity=True))
    w, xs = cell.init(KEY, FEATURES), jnp.zeros_like(XS)
    w["dropout_masks"] = recurrent.recurrent_dropout_masks(KEY, cell, w, xs, 0.5)
    return is_one_mask(recurrent.scan(cell, w, xs, jnp.ones((4, 32)))[0])


def stacked(xs, carry=None, seed=0, **options):
    network = recurrent.StackedRNN(recurrent.lstm(HIDDEN), num_layers=2, **options)
    rngs = {"dropout": jax.random.key(seed)}
    return network.apply(network.init(KEY, XS), jnp.asarray(xs), carry, train=True, rngs=rngs)


def skip():
    network = recurrent.StackedRNN(recurrent.lstm(HIDDEN), num_layers=2, connect="skip")
    (_, ys), w = network.init_with_output(KEY, XS)
    width = w["params"]["layer_1"]["cell"]["input"]["kernel"].shape[0]
    return (ys.shape[-1], width) == (2 * HIDDEN, FEATURES + HIDDEN)


def merged(merge):
    layer = lstm(bidirectional=True)
    return layer.run(layer.weights, XS, merge=merge)[1]


# ---- conversion of weights


def applied(params):
    return recurrent.StackedRNN(recurrent.lstm(HIDDEN)).apply({"params": params}, jnp.asarray(XS))[1]


def torch_weights() -> bool:
    """Compares the outputs of an LSTM of torch with those after a conversion to jaxnets and back."""
    th = importlib.import_module("torch")
    module, restored = (th.nn.LSTM(FEATURES, HIDDEN, batch_first=True) for _ in range(2))
    params = weights.from_torch(module.state_dict())
    restored.load_state_dict({name: th.as_tensor(np.array(a)) for name, a in weights.to_torch(params).items()})
    expected = module(th.as_tensor(XS))[0]
    return close([applied(params), restored(th.as_tensor(XS))[0]], [expected, expected])


def keras_weights() -> bool:
    layers = importlib.import_module("keras.layers")
    layer, restored = (layers.LSTM(HIDDEN, return_sequences=True) for _ in range(2))
    expected, _ = layer(XS), restored(XS)
    names = ("kernel", "recurrent_kernel", "bias")
    params = weights.from_keras([{name: getattr(layer.cell, name).numpy() for name in names}])
    back = weights.to_keras(params)[0]
    restored.set_weights([back[name] for name in names])
    return close([applied(params), restored(XS)], [expected, expected])


CONVERTED = {"torch": torch_weights, "Keras": keras_weights}
