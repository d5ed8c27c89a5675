"""Records of checkpoints: step, run, metrics, score and digests, with a digest of the record itself."""

from typing import Any

from jaxnets.training.checkpointing.file_digests import sha256

TYPES: dict[str, Any] = {
    "step": int,
    "run": str | None,
    "data": dict,
    "metrics": dict | None,
    "score": float | int | None,
    "digests": dict,
}


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record with its digest."""
    return {**record, "sha256": sha256(record)}


def unseal(record: Any, step: int, run: str | None) -> dict[str, Any]:
    """Returns a record without its digest.

    Args:
        record: The stored record.
        step: The expected step.
        run: The identifier of the expected run.

    Raises:
        ValueError: The record is damaged or belongs to another step or run.
    """
    if not isinstance(record, dict) or record.pop("sha256", None) != sha256(record):
        raise ValueError("its record is damaged")
    for name, kind in TYPES.items():
        if name not in record or not isinstance(record[name], kind):
            raise ValueError(f"its record has a {name} of a wrong type: {record.get(name)!r}")
    for name, value in (record["metrics"] or {}).items():
        if type(value) not in (int, float):
            raise ValueError(f"{name} in its record must be a number, got {value!r}")
    if record["step"] != step:
        raise ValueError(f"it belongs to step {record['step']}")
    if record["run"] != run:
        raise ValueError("it belongs to another run")
    return record
