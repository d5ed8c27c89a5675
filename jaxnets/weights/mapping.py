"""Mapping between variables of Linen models and state dicts of torch, shared by the formats of torch libraries.

A convolutional ``kernel [height, width, in, out]`` is ``weight [out, in, height, width]`` in torch, a dense kernel is
transposed, and the ``scale`` of a norm and the ``embedding`` of a table are ``weight``.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxnets.weights.check import as_array, compare, listed, rename_keys
from jaxnets.weights.state_dicts import missing_hint, read_state_dict, select_prefix

# Regular-expression substitutions in module paths, applied in order; remaining slashes become dots.
Rules = list[tuple[str, str | Callable[[re.Match], str]]]
ParameterPath = tuple[str, ...]  # its first entry is the collection

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "layer_scale": "layer_scale",
}


class TorchForm(NamedTuple):
    """The form of a Linen model in a torch library.

    Attributes:
        library: Name of the library, for error messages.
        kind: Name of the model's class, for error messages.
        names: Names of the parameters in torch.
        shapes: Parameters of the Linen model, with their shapes.
        pointwise: Names of dense layers that are 1 x 1 convolutions in torch.
    """

    library: str
    kind: str
    names: Mapping[ParameterPath, str]
    shapes: Mapping[ParameterPath, jax.ShapeDtypeStruct]
    pointwise: Collection[str]


def torch_form(
    library: str,
    kind: str,
    rules: Rules,
    variables: Mapping[str, Any],
    pointwise: Collection[str] = (),
) -> TorchForm:
    """Returns the form of a model in a torch library.

    Args:
        library, kind, pointwise: As in ``TorchForm``.
        rules: The names of modules in torch.
        variables: The model's variables, or their shapes.

    Raises:
        ValueError: If several parameters would have the same name: torch has no such model.
    """
    shapes = flatten_dict(dict(variables))
    names = {path: torch_name(rules, path) for path in shapes}
    if len(set(names.values())) < len(names):
        duplicates = sorted(name for name, count in Counter(names.values()).items() if count > 1)
        raise ValueError(
            f"{library} has no {kind} with these attributes: several parameters would be named {listed(duplicates)}"
        )
    return TorchForm(library, kind, names, shapes, pointwise)


def minus_one(template: str) -> Callable[[re.Match], str]:
    """Returns a replacement in which ``{0}``, ``{1}`` ... are the numbers in the groups of the pattern, minus one."""
    return lambda match: template.format(*(int(group) - 1 for group in match.groups()))


def torch_name(rules: Rules, path: ParameterPath) -> str:
    """Returns the torch name of a parameter."""
    module = "/".join(path[1:-1])
    for pattern, replacement in rules:
        module = re.sub(pattern, replacement, module)
    return f"{module.replace('/', '.')}.{LEAVES[path[-1]]}"


def torch_shapes(form: TorchForm) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the parameters in torch by their names there."""
    empty = {path: np.empty(leaf.shape, np.bool_) for path, leaf in form.shapes.items()}
    return {form.names[path]: to_torch_axes(path, value, form.pointwise).shape for path, value in empty.items()}


def from_state_dict(
    form: TorchForm,
    state_dict: Mapping[str, Any] | str | PathLike[str],
    prefix: str,
    rename: Callable[[str], str],
    is_unused: Callable[[str], bool] = lambda name: False,
) -> dict[str, Any]:
    """Converts a state dict to variables, float32.

    Args:
        form: The model.
        state_dict: See ``read_state_dict``.
        prefix: Prefix of the module's keys in the state dict of a larger module.
        rename: Maps former names in the library to the current ones.
        is_unused: Whether the model ignores a parameter.

    Raises:
        ValueError: If the state dict cannot be read, or if names or shapes are not those of the model.
    """
    state = read_state_dict(state_dict)
    source = f"weights of {form.library} for {form.kind}"
    selected = {name: value for name, value in select_prefix(state, prefix).items() if not is_unused(name)}
    found = rename_keys(selected, rename, source)
    expected = torch_shapes(form)
    compare(found, expected, source, missing_hint(state, expected))
    arrays = {path: as_array(found[name], name).astype(np.float32) for path, name in form.names.items()}
    return unflatten_dict(
        {path: from_torch_axes(path, arrays[path]).reshape(leaf.shape) for path, leaf in form.shapes.items()}
    )


def to_state_dict(form: TorchForm, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Converts variables to a state dict of NumPy arrays, the inverse of ``from_state_dict``.

    Args:
        form: The model.
        variables: Of the model. Their shapes are not compared, as they may depend on the images.

    Raises:
        ValueError: If the variables have other names than those of the model.
    """
    if not isinstance(variables, Mapping):
        raise ValueError(f"`variables` must be a nested dict of arrays, got {type(variables).__name__}")
    leaves = flatten_dict(dict(variables))
    differences = sorted("/".join(map(str, path)) for path in leaves.keys() ^ form.shapes.keys())
    if differences:
        raise ValueError(f"`variables` must match this {form.kind}; missing or extra: {listed(differences)}")
    arrays: Iterable = ((path, as_array(leaf, "/".join(path))) for path, leaf in leaves.items())
    return {
        form.names[path]: np.ascontiguousarray(to_torch_axes(path, array, form.pointwise)) for path, array in arrays
    }


def to_torch_axes(path: ParameterPath, value: np.ndarray, pointwise: Collection[str] = ()) -> np.ndarray:
    """Returns a parameter with the axes of torch; ``pointwise`` as in ``TorchForm``."""
    if path[-1] == "layer_scale":
        return value.reshape(-1, 1, 1)
    if path[-1] != "kernel":
        return value
    if path[-2] in pointwise:
        value = value[None, None]
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def from_torch_axes(path: ParameterPath, value: np.ndarray) -> np.ndarray:
    """Returns a parameter of torch with the axes of Linen, but for axes of size 1 of pointwise convolutions."""
    if path[-1] == "layer_scale":
        return value.reshape(-1)
    if path[-1] != "kernel":
        return value
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
