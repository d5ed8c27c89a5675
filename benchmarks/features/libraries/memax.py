"""Probes of memax on equinox: layers over one sequence, which take a flag for each step that starts a new sequence."""

import importlib
import pkgutil

import equinox as eqx
import jax
import jax.numpy as jnp
import memax
import numpy as np
from memax.equinox import scans, semigroups, set_actions, train_utils
from memax.equinox.models.residual import ResidualModel
from memax.equinox.semigroups.lru import LRU
from memax.equinox.set_actions.elman import Elman
from memax.equinox.set_actions.gru import GRU
from memax.equinox.set_actions.lstm import LSTM
from memax.equinox.set_actions.mgu import MGU

from benchmarks.features.cell_probes import elman_probes, gru_probes, is_mgu, linear_recurrence, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, X0, XS, Layer, Library, array, close, supported
from benchmarks.features.layer_probes import (
    batch_axes,
    bfloat16,
    calls_cudnn,
    continues,
    general_probes,
    memory_probes,
    resets_are_right,
)
from benchmarks.features.libraries.equinox import mapped


def libraries() -> list[Library]:
    layer, activations = lstm(), {"tanh": jax.nn.tanh, "relu": jax.nn.relu}
    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for package in (semigroups, set_actions)
        for module in pkgutil.iter_modules(package.__path__)
    ]
    probes = {
        **general_probes(layer),
        **memory_probes(lstm, "filter_checkpoint", remat=True),
        **elman_probes(lambda activation, xs: elman(activations[activation], xs)),
        **gru_probes(lambda: [gru()]),
        "lstm": lstm_step,
        "mgu": mgu,
        "lru": lru,
        "resets": lambda: resets_are_right(lambda xs, starts: call(LSTM(HIDDEN, KEY), pad(xs), starts=starts)[1]),
        "residual": residual,
        "stacked": lambda: continues(stacked),
        "batch_axes": lambda: supported(lambda: batch_axes(layer)) or (batch_axes(mapped(layer)) and "by vmap"),
        "bfloat16": lambda: supported(lambda: bfloat16(layer, XS.astype(jnp.bfloat16))),
        "cudnn": lambda: calls_cudnn("memax.equinox.set_actions.lstm", "memax.equinox.scans"),
    }
    return [Library([memax, train_utils, *modules], probes)]


def pad(xs, size=HIDDEN):
    """Appends zeros to the features: the gated layers require as many features as hidden units."""
    return jnp.pad(jnp.asarray(xs), [(0, 0)] * (jnp.ndim(xs) - 1) + [(0, size - jnp.shape(xs)[-1])])


def call(model, xs, carry=None, starts=None):
    """Runs the layer over a batch; returns the states of all steps and the outputs."""
    carry = train_utils.add_batch_dim(model.initialize_carry(), len(xs)) if carry is None else carry
    starts = jnp.zeros(xs.shape[:2], bool) if starts is None else jnp.asarray(starts)
    return eqx.filter_vmap(model)(carry, (jnp.asarray(xs), starts))


def lstm(features=FEATURES, hidden_size=HIDDEN, remat=False) -> Layer:
    model = LSTM(hidden_size, KEY)
    if remat:
        scan = lambda op, *args: scans.set_action_scan(eqx.filter_checkpoint(op), *args)
        model = eqx.tree_at(lambda model: model.scan, model, scan)
    weights, static = eqx.partition(model, eqx.is_array)

    def run(w, xs, carry=None):
        carry = carry and (tuple(carry[::-1]), jnp.zeros(len(xs), bool))
        (states, _), ys = call(eqx.combine(w, static), pad(xs, hidden_size), carry)
        return tuple(a[:, -1] for a in states[::-1]), ys

    return Layer(weights, run, lambda w, x, carry: run(w, x[:, None], carry)[0])


def new_state(cell, carry):
    return jax.vmap(cell)(carry, pad(X0))


def kernels(cell, gates):
    """Input and recurrent kernels of the gates, without the rows of the padded features."""
    return [
        np.concatenate([getattr(cell, f"{side}_{gate}").weight.T[:rows] for gate in gates], axis=-1)
        for side, rows in (("W", FEATURES), ("U", HIDDEN))
    ]


def without_bias(cell):
    return jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_array(a) and a.ndim == 1 else a, cell)


def lstm_step() -> bool | str:
    """Compares one step from (H0, 1) with the equations of an LSTM, with and without tanh of c."""
    cell = without_bias(LSTM(HIDDEN, KEY).algebra.algebra)
    wx, wh = kernels(cell, "fioc")
    f, i, o, g = np.split(X0 @ wx + H0 @ wh, 4, axis=-1)
    sigmoid = lambda a: array(jax.nn.sigmoid(a))
    c = sigmoid(f) + sigmoid(i) * np.tanh(g)
    ones = jnp.ones((4, HIDDEN))
    new = jax.vmap(cell)((ones, jnp.asarray(H0)), (pad(X0), ones))
    return close(new, (c, sigmoid(o) * np.tanh(c))) or (close(new, (c, sigmoid(o) * c)) and "h = o c, without tanh")


def elman(activation, xs):
    (states, _), _ = call(Elman(HIDDEN, FEATURES, activation, key=KEY), xs)
    return states


def gru():
    cell = without_bias(GRU(HIDDEN, KEY).algebra.algebra)
    return reset_place(new_state(cell, jnp.asarray(H0)), *kernels(cell, "rzh"))


def mgu():
    cell = without_bias(MGU(HIDDEN, KEY).algebra.algebra)
    return is_mgu(new_state(cell, jnp.asarray(H0)), kernels(cell, "fh"))


def lru() -> bool:
    """Compares the states and the outputs with a recurrence that is computed step by step."""
    model = LRU(HIDDEN, HIDDEN, KEY)
    xs = pad(XS)
    ((_, states), _), ys = call(model, xs)
    scale = np.exp(array(model.gamma_log))[:, None]
    expected = linear_recurrence(model.diag_lambda(), xs @ (scale * array(model.B_re + 1j * model.B_im)).T)
    outputs = (expected @ array(model.C_re + 1j * model.C_im).T).real + model.D * xs
    return close(states, expected, 1e-4) and close(ys, outputs, 1e-4)


def residual_model(num_layers):
    make = lambda recurrent_size, key: GRU(recurrent_size, key)
    return ResidualModel(make, FEATURES, HIDDEN, HIDDEN, num_layers, key=KEY)


def residual() -> bool:
    """Checks that inputs reach the outputs of ``ResidualModel`` when the branch of its layer is zero."""
    model = eqx.tree_at(lambda model: model.ff[0].layers[0], residual_model(1), replace_fn=zeros)
    starts = jnp.zeros(XS.shape[:2], bool)
    carry = train_utils.add_batch_dim(model.initialize_carry(), len(XS))
    ys = [eqx.filter_vmap(model)(carry, (jnp.asarray(xs), starts))[1] for xs in (XS, 2 * XS)]
    return not close(*ys)


def zeros(tree):
    return jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_array(a) else a, tree)


def stacked(xs, carry):
    model = residual_model(2)
    states, ys = call(model, xs, carry)
    return jax.tree.map(lambda a: a[:, -1], states), ys
