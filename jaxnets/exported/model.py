"""Exported models as callables of arrays."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import checked, convert_raw_arrays
from .texts import encode


@dataclasses.dataclass
class Model:
    """An exported model.

    Attributes:
        about: The content of ``model.json``: inputs and outputs of the functions, the preprocessing of raw inputs, and
            the meaning of the targets.
        weights: The weights by name. They may be replaced by others of the same names, shapes and dtypes.
        functions: The jitted functions by name: ``forward (weights, inputs) -> outputs``. A model that generates token
            by token also has ``begin (weights, inputs) -> carry`` and ``step (weights, carry, token) -> (carry,
            logits)``.
    """

    about: dict[str, Any]
    weights: dict[str, jax.Array]
    functions: dict[str, Callable]

    def __call__(self, inputs: Any, **others: Any) -> Any:
        """Applies the model.

        Args:
            inputs: Raw inputs of any numeric dtype, with numbers as in the data files, before standardization. float64
                and integers keep their full precision.
            **others: The other inputs, such as ``lengths`` ``[batch]`` or ``valid`` ``[batch, N]``. They may be omitted
                if raw rows are padded with NaN.

        Returns:
            The outputs: an array or a dict of arrays.

        Raises:
            ValueError: An array is missing or unknown, or has a wrong shape or dtype.
        """
        (expected,) = self._reads("forward")
        arrays = convert_raw_arrays(
            {"inputs": inputs, **others}, self.about.get("inputs"), expected, self.about["limits"]
        )
        return self._call("forward", arrays)

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the arguments ``inputs`` and ``lengths`` of ``__call__`` for texts, as in ``texts.encode``."""
        return encode(texts, self.about.get("inputs"))

    def begin(self, inputs: Any = None, *, batch: int = 1, **others: Any) -> dict[str, jax.Array]:
        """Returns the carry before the first token.

        Args:
            inputs: Source tokens of a translation model; None for a language model.
            batch: Number of texts that a language model generates at once.
            **others: The other inputs, as in ``__call__``.

        Raises:
            ValueError: An array is wrong, as in ``__call__``, or the model does not generate token by token.
        """
        arrays = others if inputs is None else {"inputs": inputs, **others}
        carry = self._call("begin", arrays)
        if arrays:
            return carry
        if batch < 1:
            raise ValueError(f"`batch` must be at least 1, got {batch}")
        rows = {name for name, like in self._reads("step")[0].items() if like["shape"][:1] == ["batch"]}
        return {name: jnp.repeat(a[None], batch, axis=0) if name in rows else a for name, a in carry.items()}

    def step(self, carry: Mapping[str, Any], token: Any) -> tuple[dict[str, jax.Array], jax.Array]:
        """Advances by one token.

        Args:
            carry: The carry of ``begin`` or of the last step.
            token: The next token of each row, integers ``[batch]``.

        Returns:
            The new carry, and the logits ``[batch, V]`` of the token after this one.

        Raises:
            ValueError: An array is wrong, as in ``__call__``, or the carry is not of this model and batch size.
        """
        expected, like = self._reads("step")
        known: dict[str, int] = {}
        tokens = checked({"token": token}, {"token": like}, self.about["limits"], known)["token"]
        return self.functions["step"](self.weights, checked(carry, expected, {}, known, "carry "), tokens)

    def _call(self, name: str, arrays: Mapping[str, Any]) -> Any:
        (expected,) = self._reads(name)
        return self.functions[name](self.weights, checked(arrays, expected, self.about["limits"], {}))

    def _reads(self, name: str) -> list[Any]:
        if name not in self.functions:
            raise ValueError(f"{name}: this model does not generate token by token; call model(inputs)")
        return self.about["functions"][name]["reads"]
