"""``Predictor``: an endpoint of a run or of an export as a function of raw rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets import exported
from jaxnets.data import Vocabulary, preprocess
from jaxnets.data.inputs import Inputs
from jaxnets.tasks import Endpoint
from jaxnets.training import build, descriptions, restore, rundir
from jaxnets.training.config import nearest
from jaxnets.training.errors import RunError, UsageError

LENGTH = 256  # tokens of a window, of an export that does not say


class Predictor(NamedTuple):
    """Attributes:
    call: ``raw arrays -> outputs``, jitted; rows come first in all arrays.
    reads: The names of the arrays, and of their first axes.
    inputs: What becomes of raw inputs; None: nothing does.
    spec: The meaning of the numbers in the data.
    shapes: Of the arrays of a training batch, where they are known.
    read: ``text -> raw arrays``, where the endpoint reads text.
    present: ``outputs -> {name: artifact}``; None: outputs are arrays.
    identity: Says what is computed: the model, its step and the endpoint.
    """

    call: Callable[[dict[str, Any]], Any]
    reads: Mapping[str, tuple[str, ...]]
    inputs: Inputs | None
    spec: Any
    shapes: Mapping[str, jax.ShapeDtypeStruct]
    read: Callable[[str], dict[str, Any]] | None
    present: Callable[[Any], dict[str, Any]] | None
    identity: dict[str, Any]


def of_run(run: restore.Run, name: str) -> Predictor:
    """The endpoint of a run; ``""`` is ``score`` where there is one, else ``predict``.

    Raises:
        UsageError: The task has no such endpoint, or it reads no rows.
    """
    endpoint, name = _endpoint(run, name)
    shapes = rundir.data(run.workdir)[1]
    inputs = None if endpoint.read is not None else run.inputs()
    reads = [array for array in endpoint.inputs if array in shapes or inputs is None]
    compute = jax.jit(endpoint.function)

    def call(raw: dict[str, Any]) -> Any:
        given = preprocess(inputs, raw, shapes)
        return compute(run.variables, {array: given[array] for array in reads if array in given})

    return Predictor(
        call=call,
        reads=endpoint.inputs,
        inputs=inputs,
        spec=run.spec,
        shapes=shapes,
        read=endpoint.read,
        present=endpoint.present,
        identity={"step": run.step, "endpoint": name, **rundir.described(run.workdir), "config": run.config.to_dict()},
    )


def named(outputs: Any) -> dict[str, np.ndarray]:
    """Outputs as arrays by name: their own, or ``outputs`` of one array, or ``outputs_0`` and so on of a tuple."""
    if not isinstance(outputs, dict):
        outputs = (
            {f"outputs_{i}": each for i, each in enumerate(outputs)}
            if isinstance(outputs, tuple)
            else {"outputs": outputs}
        )
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}


def unnamed(arrays: dict[str, np.ndarray]) -> Any:
    """The outputs that ``named`` was given, for the endpoint's ``present``."""
    if arrays.keys() == {"outputs"}:
        return arrays["outputs"]
    return tuple(arrays.values()) if "outputs_0" in arrays else arrays


def _endpoint(run: restore.Run, name: str) -> tuple[Endpoint, str]:
    usable = {key: each for key, each in run.task.endpoints.items() if isinstance(each, Endpoint)}
    usable = {key: each for key, each in usable.items() if "key" not in each.inputs}
    name = name or ("score" if "score" in usable else "predict")
    if name not in usable:
        listed = ", ".join(usable) or "none"
        raise UsageError(
            f"--endpoint must be one that reads rows, {listed}, got {name!r}{nearest(name, usable, '--endpoint=')}"
        )
    return usable[name], name


def of_export(folder: Path, name: str, trusted: tuple[str, ...]) -> Predictor:
    """An exported model, with the presentation of its task if that is part of jaxnets or trusted.

    Raises:
        UsageError: Another endpoint is asked for.
        RunError: It cannot be read.
    """
    if name not in ("", "predict"):
        raise UsageError(f"--endpoint must be predict, of an export, got {name!r}")
    try:
        model = exported.load(folder)
        spec, inputs = descriptions.targets(model.about["targets"]), descriptions.inputs(model.about.get("inputs"))
    except (ValueError, KeyError, ImportError) as error:
        raise RunError(str(error)) from error
    (expected,) = model.about["functions"]["forward"]["reads"]
    reads = {name: tuple(filter(lambda axis: isinstance(axis, str), like["shape"])) for name, like in expected.items()}
    try:
        present = build.described(rundir.load(folder), spec, trusted)[1].endpoints["predict"].present
    except (UsageError, RunError):  # a package that is not trusted: then predictions are arrays
        present = None
    windows = (1, min(model.about["limits"].get("length", LENGTH), LENGTH))
    tokens = {"inputs": jax.ShapeDtypeStruct(windows, np.dtype(np.int32))}
    return Predictor(
        call=lambda given: model(**{name: array for name, array in given.items() if name in reads}),
        reads={name: axes for name, axes in reads.items() if name != exported.REST},
        inputs=inputs,
        spec=spec,
        shapes=tokens if isinstance(spec, Vocabulary) else {},
        read=None,
        present=present,
        identity={"endpoint": "predict", "files": model.about["files"]},
    )
