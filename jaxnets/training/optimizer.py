"""The optimiser of a config: clipping, warm-up and cosine, AdamW."""

import jax
import optax


def optimizer(
    steps: int,
    learning_rate: float,
    warmup: int = 0,
    final: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.0,
    clip: float = 0.0,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019) with warm-up, cosine decay and clipping by global norm.

    Args:
        steps: After so many steps the learning rate is at its end.
        learning_rate: The largest, after the warm-up.
        warmup: Steps of linear growth from 0.
        final: The last learning rate as a part of the largest.
        b1, b2: Decay of the first and second moments.
        weight_decay: On matrices only: not on biases and other vectors.
        clip: Largest global norm of the gradient (Pascanu et al. 2013); 0 leaves it.

    Raises:
        ValueError: An argument is out of range.
    """
    least = {
        "learning_rate": learning_rate,
        "warmup": warmup,
        "final": final,
        "weight_decay": weight_decay,
        "clip": clip,
    }
    for name, value in least.items():
        if not value >= 0:
            raise ValueError(f"{name}: not below 0; given {value}")
    for name, value in {"b1": b1, "b2": b2}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: from 0 to below 1; given {value}")
    warmup = min(warmup, max(steps - 1, 0))
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else learning_rate,
        peak_value=learning_rate,
        warmup_steps=warmup,
        decay_steps=max(steps, 1),
        end_value=learning_rate * final,
    )
    matrices = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    adamw = optax.adamw(rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(clip), adamw) if clip else adamw
