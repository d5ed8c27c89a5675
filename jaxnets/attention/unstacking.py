"""Stacked parameters of layers as parameters of each layer."""

from typing import Any

import jax


def unstack(model: Any, variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The same model with its layers apart, to write with: twice as fast or more on a CPU where B is 1.

    Args:
        model: A ``DecoderLM`` or ``Transformer``.
        variables: Its variables.

    Returns:
        The model with ``stacked=False``, and its variables: copies of the layers.

    Raises:
        ValueError: It is another model, or the variables are not its own.
    """
    if not hasattr(type(model), "depths"):
        raise ValueError(f"`model` must be a DecoderLM or a Transformer, got {type(model).__name__}")
    if not model.scan_layers:
        return model, variables
    params = dict(variables.get("params", {}))
    if missing := [name for name in model.depths if name not in params]:
        raise ValueError(
            f"`variables` must be those of the model, with {', '.join(missing)} in params, got {', '.join(params)}"
        )
    for name in model.depths:
        params[name] = {
            f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], params[name]) for i in range(model.num_layers)
        }
    return model.clone(scan_layers=False), {**variables, "params": params}
