"""Probes of memorax: sequence models of Linen with a mask of episode starts. ``RNN`` runs the cells of flax."""

import jax
import jax.numpy as jnp
import memorax
import numpy as np
from flax import linen
from memorax import networks
from memorax.networks import sequence_models

from benchmarks.features.cell_probes import elman_probes, is_mgu, linear_recurrence, reset_place
from benchmarks.features.layer import FEATURES, H0, HIDDEN, KEY, X0, XS, Layer, Library, array, close
from benchmarks.features.layer_probes import (
    bfloat16,
    calls_cudnn,
    continues,
    general_probes,
    memory_probes,
    resets_are_right,
)
from benchmarks.features.libraries.flax import linen_kernels

CELLS = "cell of flax"


def libraries() -> list[Library]:
    layer = lstm()
    elmans = elman_probes(elman)
    general = general_probes(layer)
    probes = {
        **general,
        **memory_probes(lstm, "remat", remat=True),
        "elman": lambda: elmans["elman"]() and CELLS,
        "elman_relu": lambda: elmans["elman_relu"]() and CELLS,
        "gru_before": lambda: gru() == "before" and CELLS,
        "gru_after": lambda: gru() == "after" and CELLS,
        "mgu": mgu,
        "lstm": lambda: general["lstm"]() and CELLS,
        "min_rnn": lambda: min_gru() and "minGRU",
        "lru": lru,
        # The mask marks the starts of episodes; no argument marks padding.
        **dict.fromkeys(("last_carry", "empty_row", "reverse", "bidirectional", "zeros", "nan"), lambda: False),
        "resets": lambda: resets_are_right(lambda xs, starts: value(rnn(), xs, starts)[1]),
        "residual": residual,
        "stacked": lambda: continues(lambda xs, carry: value(stack(), xs, carry=carry)),
        "layer_dropout": lambda: False,  # no block drops activations
        "bfloat16": lambda: bfloat16(lstm(dtype=jnp.bfloat16)),
        "cudnn": lambda: calls_cudnn("memorax.networks.sequence_models.rnn"),
    }
    return [Library([networks, sequence_models, memorax], probes)]


def rnn(cell=None):
    return sequence_models.RNN(linen.LSTMCell(HIDDEN) if cell is None else cell)


def apply(module, w, xs, starts=None, carry=None):
    starts = jnp.zeros(xs.shape[:-1], bool) if starts is None else jnp.asarray(starts)
    return module.apply(w, jnp.asarray(xs), starts, initial_carry=carry)


def init(module, xs=XS):
    return module.init(KEY, jnp.asarray(xs), jnp.zeros(np.shape(xs)[:-1], bool))


def value(module, xs, starts=None, carry=None):
    return apply(module, init(module, xs), xs, starts, carry)


def lstm(features=FEATURES, hidden_size=HIDDEN, remat=False, dtype=None) -> Layer:
    kind = linen.remat(linen.LSTMCell) if remat else linen.LSTMCell
    module = rnn(kind(hidden_size, dtype=dtype))

    def run(w, xs, carry=None):
        last, ys = apply(module, w, xs, carry=carry and tuple(carry[::-1]))
        return last[::-1], ys

    return Layer(init(module, jnp.zeros((1, 1, features))), run, lambda w, x, carry: run(w, x[:, None], carry)[0])


def new_state(cell):
    """State after one step from (H0, X0), with the parameters of ``KEY``."""
    w = {"params": {"cell": cell.init(KEY, jnp.asarray(H0), jnp.asarray(X0))["params"]}}
    return apply(rnn(cell), w, X0[:, None], carry=jnp.asarray(H0))[0]


def elman(activation, xs):
    return value(rnn(linen.SimpleCell(HIDDEN, activation_fn=getattr(linen, activation))), xs)[1]


def gru():
    cell = linen.GRUCell(HIDDEN)
    return reset_place(new_state(cell), *linen_kernels(cell, "rzn"))


def mgu():
    cell = linen.MGUCell(HIDDEN)
    return is_mgu(new_state(cell), linen_kernels(cell, "fn"), bias=1.0)


def min_gru() -> bool:
    """Compares the outputs with h = (1 - z) h + z g of Feng et al. (2024), computed step by step."""
    module = sequence_models.Memoroid(sequence_models.MinGRUCell(HIDDEN))
    w = init(module)
    kernels = w["params"]["cell"]
    z, g = (array(XS @ kernels[name]["kernel"]) for name in "zh")
    z, g = array(jax.nn.sigmoid(z)), np.where(g >= 0, g + 0.5, array(jax.nn.sigmoid(g)))
    return close(apply(module, w, XS)[1], linear_recurrence(1 - z, z * g), 1e-4)


def lru() -> bool:
    """Compares the outputs with a recurrence that is computed step by step."""
    module = sequence_models.Memoroid(sequence_models.LRUCell(FEATURES, HIDDEN))
    w = init(module)
    p = {name: array(a) for name, a in w["params"]["cell"].items()}
    decay = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    kernel = (p["B_real"] + 1j * p["B_imag"]) * np.exp(p["gamma_log"])[:, None]
    states = linear_recurrence(decay, XS @ kernel.T)
    outputs = (states @ (p["C_real"] + 1j * p["C_imag"]).T).real + p["D"] * XS
    return close(apply(module, w, XS)[1], outputs, 1e-4)


def residual() -> bool:
    plain = rnn(linen.GRUCell(FEATURES))
    w = init(plain)
    added = networks.Residual(module=plain)
    ys = apply(added, {"params": {"module": w["params"]}}, XS)[1]
    return close(ys, apply(plain, w, XS)[1] + XS)


def stack():
    return networks.Stack(blocks=(rnn(), rnn(linen.GRUCell(2))))
