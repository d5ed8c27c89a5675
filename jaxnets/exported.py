"""Runs a model that ``jaxnets.export`` wrote, with jax alone: this file needs no other of jaxnets.

    from load import load

    model = load("FOLDER")
    answers = model(inputs)  # or model(inputs, lengths=lengths), ...: what model.about says it reads

and, where it writes token by token:

    carry = model.begin(batch=1)  # a translator: model.begin(source, lengths=lengths)
    carry, logits = model.step(carry, token)

jax reads functions with the ``flatbuffers`` package, which lies beside this file. Nothing is unpickled.
"""

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FUNCTIONS = ("forward", "begin", "step")
LARGEST = 2**26  # bytes of model.json

NUMBERS = (jnp.bool_, jnp.integer, jnp.floating)

# What float32 "inputs" leave of raw numbers that are to be standardized: two more float32 of each.
REST = "inputs_rest"

# What safetensors calls the types of numbers.
KINDS = {"F": ("float", (16, 32, 64)), "I": ("int", (8, 16, 32, 64)), "U": ("uint", (8, 16, 32, 64))}
TYPES = {f"{letter}{bits}": np.dtype(f"{kind}{bits}") for letter, (kind, sizes) in KINDS.items() for bits in sizes}
TYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(bool)}


@dataclasses.dataclass
class Model:
    """An exported model.

    Attributes:
        about: What ``model.json`` says: what it reads and answers, what becomes of raw inputs, and what its targets
            mean.
        weights: By name; others of the same names, shapes and types may be put in their place.
        functions: ``forward (weights, inputs) -> answers``, and, where it writes token by token, ``begin (weights,
            inputs) -> carry`` and ``step (weights, carry, token) -> (carry, logits)``; jitted.
    """

    about: dict[str, Any]
    weights: dict[str, jax.Array]
    functions: dict[str, Callable]

    def __call__(self, inputs: Any, **others: Any) -> Any:
        """What the model answers: an array, or a dict of them.

        Args:
            inputs: The raw array of this name: numbers as they are in the data's files, of any type, before they are
                standardized or divided. float64 and integers keep all their digits.
            **others: The other arrays that it reads, such as ``lengths`` ``[batch]`` or ``members`` ``[batch, N]``;
                where raw rows may end in NaN, these may be left out.

        Raises:
            ValueError: An array is missing, too much, or of another shape or type.
        """
        return self._called("forward", self._raw({"inputs": inputs, **others}))

    def begin(self, inputs: Any = None, *, batch: int = 1, **others: Any) -> dict[str, jax.Array]:
        """The carry before the first token.

        Args:
            inputs: What is to be translated; None for a model that begins from nothing.
            batch: How many texts such a model writes at once.
            **others: As above.

        Raises:
            ValueError: As above, or the model does not write token by token.
        """
        given = others if inputs is None else {"inputs": inputs, **others}
        carry = self._called("begin", given)
        if given:
            return carry
        if batch < 1:
            raise ValueError(f"batch: at least 1 expected; given {batch}")
        rows = {name for name, like in self._reads("step")[0].items() if like["shape"][:1] == ["batch"]}
        return {name: jnp.repeat(a[None], batch, axis=0) if name in rows else a for name, a in carry.items()}

    def step(self, carry: Mapping[str, Any], token: Any) -> tuple[dict[str, jax.Array], jax.Array]:
        """The carry after one token more of each row, integers ``[batch]``, and logits ``[batch, V]`` of the next.

        Raises:
            ValueError: As above; or the carry is not one of this model and batch.
        """
        expected, like = self._reads("step")
        known: dict[str, int] = {}
        given = _checked({"token": token}, {"token": like}, self.about["limits"], known)["token"]
        return self.functions["step"](self.weights, _checked(carry, expected, {}, known, "carry "), given)

    def _called(self, name: str, given: Mapping[str, Any]) -> Any:
        (expected,) = self._reads(name)
        return self.functions[name](self.weights, _checked(given, expected, self.about["limits"], {}))

    def _raw(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arrays that ``forward`` reads, of raw ones."""
        about, (expected,) = self.about.get("inputs"), self._reads("forward")
        if about is None:
            return given
        inputs, shape = _array_of(given["inputs"]), expected["inputs"]["shape"]
        if not any(jnp.issubdtype(inputs.dtype, kind) for kind in NUMBERS):
            raise ValueError(f"inputs must be numbers, got {inputs.dtype}")
        if inputs.ndim + 1 == len(shape) and shape[-1] == 1:  # one feature, or one channel
            inputs = inputs[..., None]
        if about["kind"] == "Images":
            return {**given, "inputs": inputs}
        if about["kind"] == "Pixels":
            width = about["width"]
            if width is not None and inputs.ndim == 3 and inputs.shape[2] == 1 != width and not inputs.shape[1] % width:
                inputs = inputs.reshape(len(inputs), -1, width)  # an image's pixels in one row
            return {**given, "inputs": inputs.astype(np.float32)}
        if inputs.ndim != len(shape):
            _array("inputs", inputs.astype(np.float32), expected["inputs"], self.about["limits"], {})  # an error
        rows, steps = inputs.shape[:2]
        for name, default in (("lengths", np.full(rows, steps)), ("members", np.ones((rows, steps), bool))):
            if name in expected:
                given.setdefault(name, default)
        _check_names(given, expected.keys() - {REST})
        return {**given, **_in_float32(inputs)} if REST in expected else {**given, "inputs": inputs.astype(np.float32)}

    def _reads(self, name: str) -> list[Any]:
        if name not in self.functions:
            raise ValueError(f"{name}: this model does not write token by token; it answers, as model(inputs)")
        return self.about["functions"][name]["reads"]


def load(folder: str | Path) -> Model:
    """The model in a folder that ``python -m jaxnets.export`` wrote.

    Raises:
        ValueError: There is none, a file of it is missing or damaged, or this jax cannot read its functions.
        ImportError: This file was copied without ``flatbuffers``, and that is not installed.
    """
    folder = Path(folder)
    if not os.path.lexists(folder / "model.json"):
        raise ValueError(f"no exported model in {folder}: no model.json there")
    content = _read(folder / "model.json", LARGEST)
    try:
        about = json.loads(content)
        _check_about(about)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / 'model.json'} is damaged: {_short(error)}") from error
    names = [name for name in FUNCTIONS if name in about["functions"]]
    expected = {weight["name"]: weight for weight in about["weights"]}
    path = folder / "weights.safetensors"
    weights = read_safetensors(path, _whole(path, about))
    found = {name: {"name": name, "shape": list(a.shape), "dtype": str(a.dtype)} for name, a in weights.items()}
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        raise ValueError(f"{path}: {_short(min(wrong))} is not what model.json says")
    functions: dict[str, Callable] = {name: jax.jit(_function(folder / f"{name}.jax_export", about)) for name in names}
    return Model(about, {name: jnp.asarray(weights[name]) for name in expected}, functions)


def read_safetensors(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of a safetensors file: the length of a JSON header, the header, raw numbers.

    Raises:
        ValueError: It is no safetensors file; ``path`` is named.
    """
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        found = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            if not 0 <= begin <= end <= len(content) - start:
                raise ValueError(f"{name} lies outside the file")
            flat = np.frombuffer(content[start + begin : start + end], TYPES[entry["dtype"]])
            found[name] = flat.reshape(entry["shape"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {_short(error)}") from error
    return found


def _check_about(about: Any) -> None:
    """Raises a ``ValueError`` where the content of ``model.json`` is not what an export writes."""

    def check(fits: bool, what: str) -> None:
        if not fits:
            raise ValueError(what)

    is_dict = lambda value: isinstance(value, dict)
    check(is_dict(about), "it must hold an object")
    for name in ("functions", "limits", "files"):
        check(is_dict(about.get(name)), f"{name} must be an object, got {about.get(name)!r}")
    check(isinstance(about.get("jax"), str), f"jax must be a version, got {about.get('jax')!r}")
    check(all(type(most) is int for most in about["limits"].values()), "limits must be integers")
    check("forward" in about["functions"], "functions must have forward")
    for name, function in about["functions"].items():
        reads: Any = function.get("reads") if is_dict(function) else None
        expected = {"step": 2}.get(name, 1)  # a carry and a token
        check(isinstance(reads, list) and len(reads) == expected, f"{name} must read {expected} things, got {reads!r}")
        for arrays in reads if name != "step" else [reads[0], {"token": reads[1]}]:
            check(is_dict(arrays), f"{name} must read arrays by name, got {arrays!r}")
            for array, like in arrays.items():
                check(_is_array(like), f"{array} of {name} must have a shape and a type, got {like!r}")
    weights = about.get("weights")
    check(isinstance(weights, list), f"weights must be a list, got {weights!r}")
    for weight in weights:
        check(_is_array(weight) and isinstance(weight.get("name"), str), f"a weight must be an array, got {weight!r}")
    for name, noted in about["files"].items():
        fits = is_dict(noted) and type(noted.get("bytes")) is int and isinstance(noted.get("sha256"), str)
        check(fits, f"{name} of files must have bytes and sha256, got {noted!r}")


def _is_array(like: Any) -> bool:
    if not (isinstance(like, dict) and isinstance(like.get("shape"), list)):
        return False
    sizes = all(isinstance(size, str) or (type(size) is int and size >= 0) for size in like["shape"])
    return sizes and like.get("dtype") in [str(dtype) for dtype in TYPES.values()]


def _short(told: object) -> str:
    """An error or a name in one line without control characters."""
    text = " ".join(str(told).split())
    text = text if len(text) <= 150 else f"{text[:150]}..."
    return text.encode("unicode_escape").decode()


def _read(path: Path, largest: int) -> bytes:
    """The content of a file, which must be a regular one of at most so many bytes."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # a pipe would wait for ever, a device never end
            raise ValueError(f"{path} must be a regular file")
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > largest:
        raise ValueError(f"{path} is damaged: it has more than {largest:,} bytes")
    return content


def _whole(path: Path, about: dict[str, Any]) -> bytes:
    """A file's content, if it is what was exported."""
    noted = about["files"].get(path.name, {"bytes": 0})
    content = _read(path, max(noted["bytes"], 0))
    if len(content) != noted.get("bytes") or hashlib.sha256(content).hexdigest() != noted.get("sha256"):
        raise ValueError(f"{path} is damaged: it is not what was exported")
    return content


def _function(path: Path, about: dict[str, Any]) -> Callable:
    content = _whole(path, about)
    try:
        return jax.export.deserialize(bytearray(content)).call
    except ImportError as error:
        raise ImportError(f"{error}: copy it from beside the exported load.py, or install it with pip") from error
    except Exception as error:
        raise ValueError(
            f"{path} was written by jax {about['jax']}, which promises that later ones read it for six months; "
            f"jax {jax.__version__} does not: {_short(error)}. Export the run again"
        ) from error


def _array_of(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else np.asarray(value)


def _in_float32(numbers: Any) -> dict[str, Any]:
    """Numbers as three float32 whose sum they are; two of them are the rest."""
    if numbers.dtype == bool:
        numbers = numbers.astype(np.uint8)
    if jnp.issubdtype(numbers.dtype, jnp.integer):
        width = (8 * numbers.dtype.itemsize + 2) // 3  # bits of each: at most 22, a float32 holds 24
        groups = numbers >> 2 * width, numbers >> width & 2**width - 1, numbers & 2**width - 1
        parts = [
            group.astype(np.float32) * 2.0**shift for group, shift in zip(groups, (2 * width, width, 0), strict=True)
        ]
    else:
        parts, rest = [], numbers
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(3):
                parts.append(rest.astype(np.float32))
                rest = rest - parts[-1].astype(rest.dtype)
        if isinstance(numbers, np.ndarray) and np.any(np.isinf(parts[0]) & ~np.isinf(numbers)):
            raise ValueError(f"inputs must be numbers up to {np.finfo(np.float32).max:g}, the largest float32")
    stack = jnp.stack if isinstance(numbers, jax.Array) else np.stack
    return {"inputs": parts[0], REST: stack(parts[1:], axis=-1)}


def _check_names(given: Mapping[str, Any], expected: Set[str], of: str = "") -> None:
    if given.keys() != expected:
        raise ValueError(
            f"{of}arrays {', '.join(sorted(expected)) or 'none'} expected; given {', '.join(sorted(given))}"
        )


def _checked(
    given: Mapping[str, Any],
    expected: Mapping[str, Any],
    limits: Mapping[str, int],
    known: dict[str, int],
    of: str = "",
) -> dict[str, jax.Array]:
    """The arrays as they are read; ``known`` sizes of named axes must agree, and new ones are added to it."""
    _check_names(given, expected.keys(), of)
    return {name: _array(of + name, given[name], like, limits, known) for name, like in expected.items()}


def _array(
    name: str, value: Any, like: Mapping[str, Any], limits: Mapping[str, int], known: dict[str, int]
) -> jax.Array:
    array = _array_of(value)
    shape, dtype = like["shape"], jnp.dtype(like["dtype"])
    size = lambda axis: f"{axis} <= {limits[axis]}" if axis in limits else str(axis)
    wanted = f"{name}: {dtype} [{', '.join(map(size, shape))}] expected; given {array.dtype} {list(array.shape)}"
    if array.ndim != len(shape) or not any(all(jnp.issubdtype(d, k) for d in (array.dtype, dtype)) for k in NUMBERS):
        raise ValueError(wanted)
    for axis, length in zip(shape, array.shape, strict=True):
        if isinstance(axis, int) and axis != length:
            raise ValueError(wanted)
        if isinstance(axis, str) and axis.isidentifier():
            if not 1 <= length <= limits.get(axis, length):
                raise ValueError(wanted if length else f"{wanted}, where {axis} must be at least 1")
            if known.setdefault(axis, length) != length:
                raise ValueError(f"{wanted}, where {axis} is {known[axis]}")
    if jnp.issubdtype(dtype, jnp.integer) and array.dtype != dtype:
        limit = jnp.iinfo(dtype)
        if array.size and not limit.min <= array.min() <= array.max() <= limit.max:
            raise ValueError(f"{name}: numbers from {limit.min} to {limit.max} expected; given {array.max()}")
    return jnp.asarray(array, dtype)
