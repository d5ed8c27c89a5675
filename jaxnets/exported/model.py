"""``Model``: an exported model that is called with arrays."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .arrays import checked, raw_arrays


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
        """The outputs of the model, an array or a dict of arrays.

        Args:
            inputs: The raw array of this name: numbers as they are in the data's files, of any type, before they are
                standardized or divided. float64 and integers keep all their digits.
            **others: The other arrays that it reads, such as ``lengths`` ``[batch]`` or ``valid`` ``[batch, N]``;
                where raw rows may end in NaN, these may be left out.

        Raises:
            ValueError: An array is missing, too much, or of another shape or type.
        """
        (expected,) = self._reads("forward")
        given = raw_arrays({"inputs": inputs, **others}, self.about.get("inputs"), expected, self.about["limits"])
        return self._called("forward", given)

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

    def _reads(self, name: str) -> list[Any]:
        if name not in self.functions:
            raise ValueError(f"{name}: this model does not write token by token; it answers, as model(inputs)")
        return self.about["functions"][name]["reads"]
