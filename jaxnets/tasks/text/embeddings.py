"""Initial embeddings of text models from files of word vectors."""

import dataclasses
import functools
from typing import Any

from flax import linen as nn

from jaxnets.data import Tokenizer
from jaxnets.weights import PretrainedEmbeddings


def with_embeddings(model: nn.Module, tokenizer: Tokenizer) -> nn.Module:
    """Returns a text model whose pretrained embeddings have the symbols of a tokenizer.

    Args:
        model: A module. If it, or a module among its attributes, has a ``weights.PretrainedEmbeddings`` without symbols
            as an attribute, such as ``embedding_init``, the result is a copy with the symbols.
        tokenizer: The tokenizer of the model's tokens.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        value: Any = getattr(model, field.name, None) if field.init and field.name not in ("parent", "name") else None
        if isinstance(value, functools.partial) and value.func is PretrainedEmbeddings:
            value = value()  # the form of the command line
        if isinstance(value, PretrainedEmbeddings) and not value.symbols:
            symbols = tuple(tokenizer.show(token) for token in range(tokenizer.size))
            changed[field.name] = dataclasses.replace(value, symbols=symbols)
        elif isinstance(value, nn.Module) and (inner := with_embeddings(value, tokenizer)) is not value:
            changed[field.name] = inner
    return model.clone(**changed) if changed else model
