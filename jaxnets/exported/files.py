"""The files of an exported model, read and compared with what ``model.json`` says; nothing is unpickled."""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 2**26  # bytes of model.json

# What safetensors calls the types of numbers.
KINDS = {"F": ("float", (16, 32, 64)), "I": ("int", (8, 16, 32, 64)), "U": ("uint", (8, 16, 32, 64))}
TYPES = {f"{letter}{bits}": np.dtype(f"{kind}{bits}") for letter, (kind, sizes) in KINDS.items() for bits in sizes}
TYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(bool)}


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
        raise ValueError(f"{path} is damaged: {short(error)}") from error
    return found


def check_about(about: Any) -> None:
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


def short(told: object) -> str:
    """An error or a name in one line without control characters."""
    text = " ".join(str(told).split())
    text = text if len(text) <= 150 else f"{text[:150]}..."
    return text.encode("unicode_escape").decode()


def read(path: Path, largest: int) -> bytes:
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


def whole(path: Path, about: dict[str, Any]) -> bytes:
    """A file's content, if it is what was exported."""
    noted = about["files"].get(path.name, {"bytes": 0})
    content = read(path, max(noted["bytes"], 0))
    if len(content) != noted.get("bytes") or hashlib.sha256(content).hexdigest() != noted.get("sha256"):
        raise ValueError(f"{path} is damaged: it is not what was exported")
    return content


def function(path: Path, about: dict[str, Any]) -> Callable:
    content = whole(path, about)
    try:
        return jax.export.deserialize(bytearray(content)).call
    except ImportError as error:
        raise ImportError(f"{error}: copy it from beside the exported package load, or install it with pip") from error
    except Exception as error:
        raise ValueError(
            f"{path} was written by jax {about['jax']}, which promises that later ones read it for six months; "
            f"jax {jax.__version__} does not: {short(error)}. Export the run again"
        ) from error
