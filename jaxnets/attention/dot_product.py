"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762), right under every mask."""

import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxnets.attention.chunked import chunked, in_blocks
from jaxnets.attention.cudnn import cudnn
from jaxnets.attention.masking import Bias, Limits, Pattern, dropped, grouped, product, scores, softmax
from jaxnets.attention.ring import Ring, in_ring
from jaxnets.ops.checks import check_choice, check_floating, check_probability, checked_integers, describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.ops.meshes import call_auto_sharded, spec_of

IMPLEMENTATIONS = ("auto", "xla", "chunked", "cudnn")
# Numbers of one head's matrix of weights from which on blocks of it are faster, and need less memory.
LARGE = 512**2


@jax.named_scope("dot_product")
def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | Bias | None = None,
    causal: bool = False,
    window: int | tuple[int, int] | None = None,
    lengths: jax.Array | None = None,
    offset: int | jax.Array = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    rng: jax.Array | None = None,
    implementation: str | Ring = "auto",
    blocks: tuple[int, int] | None = None,
) -> jax.Array:
    r"""Attention of every query to the keys that it may see:

    .. math::
        y_t = \sum_s a_{ts} v_s, \quad a_t = \mathrm{softmax}_s(\alpha\, q_t \cdot k_s + b_{ts})

    A query that sees no key gives zeros, with gradients of zero.

    Args:
        query: ``[*batch, T, N, D]``, N heads.
        key: ``[*batch, S, K, D]``. N is a multiple of K: each key head serves N / K neighboring query heads (grouped
            heads, Ainslie et al. 2023, arXiv:2305.13245; K = 1: multi-query, Shazeer 2019, arXiv:1911.02150).
        value: ``[*batch, S, K, E]``.
        mask: bool, what broadcasts to ``[*batch, N, T, S]``: True where a query may see a key.
        bias: b, floating point, what broadcasts to the same, differentiated; or a function of the positions of queries
            ``[*batch, T]`` and keys ``[S]`` to that, without parameters, such as ``alibi(N)``.
        causal: Whether a query sees no key after its own position.
        window: A query sees this many keys before and after its own position; (before, after) where they differ.
        lengths: Integers ``[*batch]`` from 0 to S: how many keys are real, from the first on. What is not real has no
            effect, whatever is in it.
        offset: The position of the first query where that of the first key is 0; one integer or ``[*batch]``.
        scale: :math:`\alpha`; None: :math:`D^{-1/2}`.
        dropout: Probability of dropping a weight; the others grow to make up for it.
        rng: A ``jax.random.key``, for dropout.
        implementation: ``"xla"``: all weights at once; ``"chunked"``: blocks of them, memory linear in T and S, its own
            gradient; ``"cudnn"``: NVIDIA's, through ``jax.nn.dot_product_attention``, in half precision, without
            dropout and functions of positions; ``"auto"``: what ``choose_implementation`` says. Or a ``Ring(...)`` of
            devices that T and S are divided over.
        blocks: Queries and keys of a block of ``"chunked"`` and of a ``Ring``; None chooses.

    Returns:
        ``[*batch, T, N, E]`` in the dtype of ``query``. Products are computed in it, and accumulated in float32, in
        which the softmax is taken.

    Raises:
        ValueError: An argument has a shape, dtype or value that does not fit.
    """
    _check(query, key, value)
    batch = query.shape[:-3]
    pattern, limits, array = _masking(query, key, mask, bias, causal, window, lengths, offset, scale, dropout, rng)
    if implementation == "auto":
        implementation = choose_implementation(query.shape, key.shape)
    if isinstance(implementation, Ring):
        if mask is not None or array is not None:
            raise ValueError("`implementation` must not be a Ring with a mask or with a bias as an array")
    else:
        check_choice("implementation", implementation, IMPLEMENTATIONS)
    (t, heads, depth), (s, groups, width) = query.shape[-3:], value.shape[-3:]
    count = math.prod(batch)
    if 0 in (t, s, count, width):
        return jnp.zeros((*batch, t, heads, width), query.dtype)
    key, value = (a.reshape(count, s, groups, a.shape[-1]) for a in (key, value))
    if lengths is not None or mask is not None:  # what no query may see may be NaN, which no weight of zero removes
        seen = valid_steps(limits.lengths, s)[..., None, None]
        if limits.mask is not None:
            seen &= jnp.any(limits.mask, axis=(2, 3)).swapaxes(1, 2)[..., None]
        key, value = (jnp.where(seen, a, 0) for a in (key, value))
    if implementation == "cudnn":
        if dropout or callable(bias) or not isinstance(offset, int) or offset:
            raise ValueError('`implementation` must not be "cudnn" with dropout, a bias as a function or an offset')
        ys = cudnn(pattern, limits, array, query.reshape(count, t, heads, depth), key, value)
        return ys.reshape(*batch, t, heads, width)
    query = _by_key_head(query, groups)
    key, value = (a.transpose(0, 2, 1, 3) for a in (key, value))
    if isinstance(implementation, Ring):
        ys = in_ring(implementation, pattern, limits, query, key, value, blocks)
    elif implementation == "xla":
        ys = _whole(pattern, limits, array, query, key, value)
    else:
        run = lambda limits, bias, *given: in_blocks(
            chunked, pattern, limits, bias, given[0], given[1], given[2], blocks
        )
        divided = PartitionSpec(*spec_of(query)[:4], None)
        ys = call_auto_sharded(run, lambda _: divided, limits, array, query, key, value)
    chex.assert_shape(ys, (count, groups, heads // groups, t, width))
    return ys.transpose(0, 3, 1, 2, 4).reshape(*batch, t, heads, width).astype(query.dtype)


def attention_weights(query: jax.Array, key: jax.Array, **masking: Any) -> jax.Array:
    """The weights of ``attention``, to be looked at: ``[*batch, N, T, S]``, zeros for a query that sees nothing.

    Args:
        query, key: As in ``attention``.
        **masking: Its ``mask``, ``bias``, ``causal``, ``window``, ``lengths``, ``offset`` and ``scale``.
    """
    names = ("mask", "bias", "causal", "window", "lengths", "offset", "scale")
    for name in masking:
        if name not in names:
            raise ValueError(f"attention_weights has no argument {name!r}; it has {', '.join(names)}")
    _check(query, key, key)
    given: dict[str, Any] = {**dict.fromkeys(names), "causal": False, "offset": 0, **masking}
    pattern, limits, array = _masking(query, key, **given, dropout=0.0, rng=None)
    *batch, t, heads, depth = query.shape
    s, groups = key.shape[-3:-1]
    key = key.reshape(math.prod(batch), s, groups, depth).transpose(0, 2, 1, 3)
    if 0 in (t, s, math.prod(batch)):
        return jnp.zeros((*batch, heads, t, s), at_least_float32(query.dtype))
    logits = scores(pattern, limits, array, _by_key_head(query, groups), key, 0, 0)
    return softmax(logits).reshape(*batch, heads, t, s)


def _by_key_head(query: jax.Array, groups: int) -> jax.Array:
    """``[*batch, T, N, D]`` as ``[B, K, G, T, D]``."""
    *batch, t, heads, depth = query.shape
    return query.reshape(math.prod(batch), t, groups, heads // groups, depth).transpose(0, 2, 3, 1, 4)


def choose_implementation(query: tuple[int, ...], key: tuple[int, ...]) -> str:
    """What ``"auto"`` means for a query and key of these shapes.

    Args:
        query: ``[*batch, T, N, D]``.
        key: ``[*batch, S, K, D]``.

    Returns:
        ``"chunked"`` where a head's weights are 512 x 512 or more, else ``"xla"``, also for lengths that are only
        names, as ``jax.export`` may trace them. (For forward-mode and second derivatives, which blocks do not have, ask
        for ``"xla"``.)
    """
    numbers = query[-3] * key[-3]
    return "chunked" if isinstance(numbers, int) and numbers >= LARGE else "xla"


def _whole(pattern, limits, bias, query, key, value):
    logits = scores(pattern, limits, bias, query, key, 0, 0)
    weights = dropped(pattern, limits, softmax(logits), 0, 0).astype(value.dtype)
    # A query that sees nothing gives zeros even where a value is not finite.
    nothing = jnp.all(jnp.isneginf(logits), axis=-1, keepdims=True)
    return jnp.where(nothing, 0, product("rs,se->re", weights, value)).reshape(*query.shape[:-1], value.shape[-1])


# ---- what a user gets wrong


def _masking(query, key, mask, bias, causal, window, lengths, offset, scale, dropout, rng):
    """The arguments of ``attention`` as its executors read them: pattern, limits, bias array."""
    *batch, t, heads, depth = query.shape
    s, groups = key.shape[-3:-1]
    count, whole = math.prod(batch), (*batch, heads, t, s)
    for name, array, kind, text in (("mask", mask, jnp.bool_, "bool"), ("bias", bias, jnp.floating, "floating point")):
        if array is None or callable(array):
            continue
        fits = array.ndim <= len(whole) and all(
            given in (1, size) for given, size in zip(array.shape[::-1], whole[::-1], strict=False)
        )
        if not fits or not jnp.issubdtype(array.dtype, kind):
            raise ValueError(
                f"`{name}` must be {text} that broadcasts to [*batch, N, T, S], {whole}, got {describe_value(array)}"
            )
    check_probability("dropout", dropout)
    if dropout and rng is None:
        raise ValueError("`rng` must be a jax.random.key where there is dropout, got None")
    if window is not None:
        if not np.issubdtype(np.asarray(window).dtype, np.integer):
            raise ValueError(f"`window` must be an integer, or (before, after), got {window!r}")
        window = (int(window), int(window)) if np.ndim(window) == 0 else tuple(window)
        if len(window) != 2 or min(window) < 0:
            raise ValueError(f"`window` must be numbers of keys before and after, at least 0, got {window}")
    if isinstance(scale, jax.Array):
        raise ValueError("`scale` must be a number, got an array; multiply the query by it instead")
    pattern = Pattern(
        causal,
        window,
        bias if callable(bias) else None,
        max(depth, 1) ** -0.5 if scale is None else float(scale),
        dropout,
    )
    lengths = jnp.full(batch, s, jnp.int32) if lengths is None else lengths
    limits = Limits(
        None if mask is None else grouped(mask, tuple(batch), groups),
        checked_integers("lengths", lengths, tuple(batch), s).reshape(count),
        checked_integers("offset", offset, tuple(batch), None).reshape(count),
        rng,
    )
    return pattern, limits, None if bias is None or callable(bias) else grouped(bias, tuple(batch), groups)


def _check(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    for name, array in (("query", query), ("key", key), ("value", value)):
        check_floating(name, array, "[*batch, length, heads, features]", 3)
    if key.shape[:-1] != value.shape[:-1] or query.shape[:-3] != key.shape[:-3] or query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "`query`, `key` and `value` must be [*batch, T, N, D], [*batch, S, K, D] and [*batch, S, K, E], "
            f"got {query.shape}, {key.shape} and {value.shape}"
        )
    if not key.shape[-2]:
        raise ValueError(f"`key` must have at least one head, got shape {key.shape}")
    if query.shape[-2] % key.shape[-2]:
        raise ValueError(
            f"`query` must have heads that are a multiple of the key's {key.shape[-2]}, got {query.shape[-2]}"
        )
