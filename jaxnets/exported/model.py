"""``Model``: an exported model that is called with arrays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import NUMBERS, REST, array_of, check_array, check_names, checked, in_float32


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
        given = checked({"token": token}, {"token": like}, self.about["limits"], known)["token"]
        return self.functions["step"](self.weights, checked(carry, expected, {}, known, "carry "), given)

    def _called(self, name: str, given: Mapping[str, Any]) -> Any:
        (expected,) = self._reads(name)
        return self.functions[name](self.weights, checked(given, expected, self.about["limits"], {}))

    def _raw(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arrays that ``forward`` reads, of raw ones."""
        about, (expected,) = self.about.get("inputs"), self._reads("forward")
        if about is None:
            return given
        inputs, shape = array_of(given["inputs"]), expected["inputs"]["shape"]
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
            check_array("inputs", inputs.astype(np.float32), expected["inputs"], self.about["limits"], {})  # an error
        rows, steps = inputs.shape[:2]  # of a table: rows and features, and neither of the following
        for name, default in (("lengths", np.full(rows, steps)), ("members", np.ones((rows, steps), bool))):
            if name in expected:
                given.setdefault(name, default)
        check_names(given, expected.keys() - {REST})
        return {**given, **in_float32(inputs)} if REST in expected else {**given, "inputs": inputs.astype(np.float32)}

    def _reads(self, name: str) -> list[Any]:
        if name not in self.functions:
            raise ValueError(f"{name}: this model does not write token by token; it answers, as model(inputs)")
        return self.about["functions"][name]["reads"]
