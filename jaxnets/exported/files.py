"""Files of an exported model, checked against the checksums in ``model.json``. Nothing is unpickled."""

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

MAX_JSON_BYTES = 2**26  # maximum size of model.json in bytes

# NumPy dtypes by their names in safetensors files.
KINDS = {"F": ("float", (16, 32, 64)), "I": ("int", (8, 16, 32, 64)), "U": ("uint", (8, 16, 32, 64))}
TYPES = {f"{letter}{bits}": np.dtype(f"{kind}{bits}") for letter, (kind, sizes) in KINDS.items() for bits in sizes}
TYPES |= {"BF16": np.dtype(jnp.bfloat16), "BOOL": np.dtype(bool)}


def read_safetensors(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Parses the content of a safetensors file: the length of a JSON header, the header, and raw numbers.

    Args:
        path: The path of the file, for error messages.
        content: The bytes of the file.

    Returns:
        The arrays by name.

    Raises:
        ValueError: The content is not in the safetensors format.
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
    """Raises a ``ValueError`` if ``about`` is not valid content of ``model.json``."""

    def check(condition: bool, message: str) -> None:
        if not condition:
            raise ValueError(message)

    is_dict = lambda value: isinstance(value, dict)
    check(is_dict(about), f"it must be an object, got {about!r}")
    for name in ("functions", "limits", "files"):
        check(is_dict(about.get(name)), f"{name} must be an object, got {about.get(name)!r}")
    check(isinstance(about.get("jax"), str), f"jax must be a version, got {about.get('jax')!r}")
    check(all(type(limit) is int for limit in about["limits"].values()), "limits must be integers")
    check("forward" in about["functions"], "functions must include forward")
    for name, function in about["functions"].items():
        reads: Any = function.get("reads") if is_dict(function) else None
        expected = {"step": 2}.get(name, 1)  # a carry and a token
        check(
            isinstance(reads, list) and len(reads) == expected,
            f"reads of {name} must be a list of length {expected}, got {reads!r}",
        )
        for arrays in reads if name != "step" else [reads[0], {"token": reads[1]}]:
            check(is_dict(arrays), f"reads of {name} must be objects, got {arrays!r}")
            for array, like in arrays.items():
                check(_is_array(like), f"{array} of {name} must have a shape and a dtype, got {like!r}")
    weights = about.get("weights")
    check(isinstance(weights, list), f"weights must be a list, got {weights!r}")
    for weight in weights:
        check(
            _is_array(weight) and isinstance(weight.get("name"), str),
            f"a weight must have a name, a shape and a dtype, got {weight!r}",
        )
    for name, entry in about["files"].items():
        valid = is_dict(entry) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
        check(valid, f"{name} of files must have bytes and sha256, got {entry!r}")


def _is_array(like: Any) -> bool:
    if not (isinstance(like, dict) and isinstance(like.get("shape"), list)):
        return False
    sizes = all(isinstance(size, str) or (type(size) is int and size >= 0) for size in like["shape"])
    return sizes and like.get("dtype") in [str(dtype) for dtype in TYPES.values()]


def short(message: object) -> str:
    """Shortens an error or a name to one line without control characters."""
    text = " ".join(str(message).split())
    text = text if len(text) <= 150 else f"{text[:150]}..."
    return text.encode("unicode_escape").decode()


def read(path: Path, max_bytes: int) -> bytes:
    """Reads a regular file of at most ``max_bytes`` bytes."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # reading from a pipe may block, and a device may have no end
            raise ValueError(f"{path} must be a regular file")
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ValueError(f"{path} is damaged: it must have at most {max_bytes:,} bytes, got more")
    return content


def read_verified(path: Path, about: dict[str, Any]) -> bytes:
    """Reads a file and checks its size and SHA-256 against ``model.json``."""
    entry = about["files"].get(path.name, {"bytes": 0})
    content = read(path, max(entry["bytes"], 0))
    if len(content) != entry.get("bytes") or hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise ValueError(f"{path} is damaged: it does not match its checksum in model.json")
    return content


def read_function(path: Path, about: dict[str, Any]) -> Callable:
    """Reads and deserializes an exported function."""
    content = read_verified(path, about)
    try:
        return jax.export.deserialize(bytearray(content)).call
    except ImportError as error:
        raise ImportError(
            f"{error}: copy it from the exported folder, where it is next to load, or install it with pip"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path} was written by jax {about['jax']} and cannot be read by jax {jax.__version__}, because jax "
            f"guarantees compatibility for six months only: {short(error)}. Export the run again"
        ) from error
