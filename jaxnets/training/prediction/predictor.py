"""Predictors: endpoints of a run or an export as functions of raw rows."""

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

MAX_WINDOW = 256  # tokens per window of an export


class Predictor(NamedTuple):
    """An endpoint as a function of raw rows.

    Attributes:
        call: ``raw arrays -> outputs``, jitted. The first axis of every array is rows.
        reads: The names of the input arrays and of their first axes.
        inputs: The preprocessing of raw inputs, or None.
        spec: The spec of the data.
        shapes: The shapes of the arrays of a training batch, if they are known.
        read: ``text -> raw arrays``, or None if the inputs are not text.
        present: ``outputs -> {name: artifact}``, or None if the outputs are only arrays.
        identity: All that the outputs depend on: the model, the step and the endpoint.
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
    """Returns the predictor of an endpoint of a run.

    Args:
        run: The run.
        name: The name of the endpoint; ``""`` is ``score`` if the task has it, else ``predict``.

    Raises:
        UsageError: The task has no such endpoint, or its inputs are not rows.
    """
    endpoint, name = _endpoint(run, name)
    shapes = rundir.data(run.workdir)[1]
    inputs = None if endpoint.read is not None else run.inputs()
    reads = [array for array in endpoint.inputs if array in shapes or inputs is None]
    compute = jax.jit(endpoint.function)

    def call(raw: dict[str, Any]) -> Any:
        arrays = preprocess(inputs, raw, shapes)
        return compute(run.variables, {array: arrays[array] for array in reads if array in arrays})

    return Predictor(
        call=call,
        reads=endpoint.inputs,
        inputs=inputs,
        spec=run.spec,
        shapes=shapes,
        read=endpoint.read,
        present=endpoint.present,
        identity={
            "step": run.step,
            "endpoint": name,
            **rundir.read_description(run.workdir),
            "config": run.config.to_dict(),
        },
    )


def named(outputs: Any) -> dict[str, np.ndarray]:
    """Returns outputs as a dict of arrays: a single array is ``outputs``, and a tuple ``outputs_0``, ``outputs_1``."""
    if not isinstance(outputs, dict):
        outputs = (
            {f"outputs_{i}": each for i, each in enumerate(outputs)}
            if isinstance(outputs, tuple)
            else {"outputs": outputs}
        )
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    return {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}


def unnamed(arrays: dict[str, np.ndarray]) -> Any:
    """Inverts ``named``, for the endpoint's ``present``."""
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
            f"--endpoint must be one with rows as inputs: {listed}, got {name!r}{nearest(name, usable, '--endpoint=')}"
        )
    return usable[name], name


def of_export(folder: Path, name: str, trusted: tuple[str, ...]) -> Predictor:
    """Returns the predictor of an export.

    The outputs are presented as by the task if the config names only jaxnets and trusted packages.

    Raises:
        UsageError: The endpoint is not ``predict``.
        RunError: The export cannot be read.
    """
    if name not in ("", "predict"):
        raise UsageError(f"--endpoint must be predict for an export, got {name!r}")
    try:
        model = exported.load(folder)
        spec, inputs = descriptions.targets(model.about["targets"]), descriptions.inputs(model.about.get("inputs"))
    except (ValueError, KeyError, ImportError) as error:
        raise RunError(str(error)) from error
    (expected,) = model.about["functions"]["forward"]["reads"]
    reads = {name: tuple(filter(lambda axis: isinstance(axis, str), like["shape"])) for name, like in expected.items()}
    try:
        present = build.model_and_task(rundir.load(folder), spec, trusted)[1].endpoints["predict"].present
    except (UsageError, RunError):  # a package is not trusted: outputs are only arrays
        present = None
    shape = (1, min(model.about["limits"].get("length", MAX_WINDOW), MAX_WINDOW))
    tokens = {"inputs": jax.ShapeDtypeStruct(shape, np.dtype(np.int32))}
    return Predictor(
        call=lambda raw: model(**{name: array for name, array in raw.items() if name in reads}),
        reads={name: axes for name, axes in reads.items() if name != exported.REST},
        inputs=inputs,
        spec=spec,
        shapes=tokens if isinstance(spec, Vocabulary) else {},
        read=None,
        present=present,
        identity={"endpoint": "predict", "files": model.about["files"]},
    )
