"""Samples of the program ``generate``: keys, labels and interpolation, and files of images or arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets.data.formats.npz import npz_of
from jaxnets.ops.host.files import write_atomically
from jaxnets.ops.host.printable import printable
from jaxnets.reports import ImageGrid
from jaxnets.tasks import Endpoint
from jaxnets.training.config import nearest
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.reporting import artifacts

SUFFIXES = (".png", ".npz")


class Request(NamedTuple):
    """Flags of the program.

    Attributes:
        size: Number of samples.
        seed: Random seed.
        labels: Names of classes; None: all of them.
        interpolate: Whether to interpolate between two samples.
    """

    size: int
    seed: int
    labels: Sequence[str] | None
    interpolate: bool


def inputs(spec: Any, generate: Endpoint, request: Request) -> dict[str, Any]:
    """Returns the inputs of the endpoint ``generate`` of a model without prompts.

    Args:
        spec: Spec of the data, with the names of the classes.
        generate: The endpoint. With the input ``labels`` the model is conditional; with ``end_key`` and ``weight`` it
            interpolates between the samples of ``key`` and of ``end_key``.
        request: The flags.

    Raises:
        UsageError: The model has no labels, or other labels, or does not interpolate.
    """
    keys = jax.random.split(jax.random.key(request.seed), 2 if request.interpolate else request.size)
    found: dict[str, Any] = {"key": keys}
    if request.interpolate:
        if "weight" not in generate.inputs:
            raise UsageError("--interpolate needs a run of a model that interpolates between its samples")
        rows = np.zeros(request.size, np.int32)
        weights = np.linspace(0, 1, request.size, dtype=np.float32)
        found = {"key": keys[rows], "end_key": keys[rows + 1], "weight": weights}
    if "labels" not in generate.inputs:
        if request.labels is not None:
            raise UsageError("--labels must be left out: the model was trained without labels")
        return found
    known = list(spec.names)
    indices = [_index(name, known) for name in (known if request.labels is None else request.labels)]
    if not indices:
        raise UsageError(f"--labels must be one of {', '.join(map(printable, known))}, got none")
    if request.interpolate:
        indices = indices[:1]
    return {**found, "labels": np.resize(np.asarray(indices, np.int32), request.size)}


def options(generate: Endpoint, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of the endpoint ``generate`` that were given.

    Args:
        generate: The endpoint.
        flags: Values of flags; None: not given.

    Raises:
        UsageError: The endpoint has no such option.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in generate.options:
            raise UsageError(f"--{name} must be left out for this run, which has no such option")
    return given


def _index(name: str, known: list[str]) -> int:
    if name not in known:
        names = ", ".join(map(printable, known))
        raise UsageError(f"--labels must be labels of the training data, {names}; got {name}{nearest(name, known)}")
    return known.index(name)


def write_file(path: Path, outputs: Any, presented: dict[str, Any]) -> None:
    """Writes samples to one file: the image grid as PNG, or the arrays as npz.

    Raises:
        UsageError: The samples are not images.
        RunError: The file cannot be written.
    """
    if path.suffix == ".png":
        image = next((found for found in presented.values() if isinstance(found, ImageGrid)), None)
        if image is None:
            raise UsageError(f"--output must be a folder or an .npz file for samples other than images, got {path}")
        content = artifacts.png(artifacts.grid(image))
    else:
        arrays = outputs if isinstance(outputs, dict) else {"samples": outputs}
        content = npz_of({name: np.asarray(values) for name, values in arrays.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
