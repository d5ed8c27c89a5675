"""Taggers: bidirectional recurrent networks over words and characters, with a conditional random field on top."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer

from jaxnets.modules.dropout import Dropout
from jaxnets.modules.embed import Embed
from jaxnets.ops.array_types import Array, ArrayLike, Float, Integer
from jaxnets.ops.checks import check_choice, check_integer, check_probability, describe_value
from jaxnets.ops.dtypes import at_least_float32
from jaxnets.ops.masks import valid_steps
from jaxnets.recurrent.cell import Cell
from jaxnets.recurrent.cells.lstm import lstm
from jaxnets.recurrent.checking import checked_lengths
from jaxnets.recurrent.executors.method import Method
from jaxnets.recurrent.layers.rnn import StackedRNN, check_network
from jaxnets.text.characters import CharacterEncoder, uniform_embeddings


class TagScores(NamedTuple):
    """The scores of tags of a batch of sentences: arguments of ``crf_log_likelihood`` and ``crf_viterbi``.

    Attributes:
        emissions: The score of each tag of each word, ``[B, T, K]``; zeros at padding.
        transitions: The score of each transition between tags, ``[K, K]``; None without a conditional random field:
            then the emissions are logits of each word's tag.
        start: The score of each first tag, ``[K]``, or None.
        end: The score of each last tag, ``[K]``, or None.
    """

    emissions: Float[Array, "B T K"]
    transitions: Float[Array, "K K"] | None = None
    start: Float[Array, " K"] | None = None
    end: Float[Array, " K"] | None = None


class Tagger(nn.Module):
    """A tagger of words: BiLSTM-CRF (Huang et al. 2015, arXiv:1508.01991), with an encoder of characters.

    Each word is represented by its embedding and the vector of its characters. A bidirectional recurrent network reads
    the sentence, and a dense layer computes the emissions.

    Parameters: ``words``, ``characters`` (if any), ``rnn``, ``head``, and for the conditional random field
    ``transitions [K, K]``, ``start [K]`` and ``end [K]``, which are zeros at first. Each direction of an LSTM has one
    bias of 4 H; the dense layer has one.

    Attributes:
        vocab_size: Number of ids of words: rows of the table.
        num_tags: K, the number of tags.
        num_characters: Number of ids of characters, padding (0) included; 0 without a character encoder.
        character_encoder: ``"rnn"`` or ``"cnn"``, as in ``CharacterEncoder``, or ``"none"``.
        crf: Whether the tags of a sentence are scored by a conditional random field. Otherwise each word's tag is
            predicted independently.
        embed_dim: Features of the embedding of a word.
        character_embed_dim: Features of the embedding of a character.
        character_features: Hidden units of each direction, or maps, of the character encoder.
        cell: A function from the number of hidden units to the cell of all recurrent layers.
        hidden_size: H, the number of hidden units of every layer and direction.
        num_layers: Number of layers over the words.
        dropout: Dropout rate of the inputs of the network over words.
        output_dropout: Dropout rate of its outputs, and between its layers.
        character_dropout: Dropout rate of the embeddings of characters.
        embedding_init: Initializer of the table of words. For pretrained vectors, a function that returns them:
            ``lambda key, shape, dtype: vectors``.
        dtype: Compute dtype. Parameters, carries and emissions are float32.
        method: The algorithm of the recurrences, as in ``recurrent.scan``.
    """

    vocab_size: int
    num_tags: int
    num_characters: int
    character_encoder: str = "rnn"
    crf: bool = True
    embed_dim: int = 100
    character_embed_dim: int = 25
    character_features: int = 25
    cell: Callable[[int], Cell] = lstm
    hidden_size: int = 100
    num_layers: int = 1
    dropout: float = 0.5
    output_dropout: float = 0.0
    character_dropout: float = 0.0
    embedding_init: Initializer = uniform_embeddings
    dtype: Dtype = jnp.float32
    method: str | Method = "auto"

    @nn.compact
    def __call__(
        self,
        words: Integer[ArrayLike, "B T"],
        characters: Integer[ArrayLike, "B T W"] | None = None,
        lengths: Integer[ArrayLike, " B"] | Sequence[int] | None = None,
        train: bool = False,
    ) -> TagScores:
        """Computes the scores of tags of a batch of sentences.

        Args:
            words: Ids of words, integers ``[B, T]``.
            characters: Ids of the characters of each word, then zeros, ``[B, T, W]``; None without an encoder.
            lengths: Integers ``[B]`` from 0 to T, the number of words of each sentence; None means T.
            train: Whether to apply dropout, which requires ``rngs={"dropout": key}``.

        Raises:
            ValueError: An attribute or an argument is invalid.
        """
        self._check(words, characters)
        rows, length = jnp.shape(words)
        valid = None
        if lengths is not None:
            lengths = checked_lengths(lengths, length, (rows,))
            valid = valid_steps(lengths, length)
        dropout = lambda rate, xs: Dropout(rate, deterministic=not train)(xs)
        embed = Embed(self.vocab_size, self.embed_dim, self.dtype, embedding_init=self.embedding_init, name="words")
        xs = embed(words, argument="words", valid=valid)
        if characters is not None:
            ids: Any = jnp.asarray(characters)
            if valid is not None:
                ids = jnp.where(valid[..., None], ids, 0)
            xs = jnp.concatenate([xs, self._encoder()(ids, train=train)], axis=-1)
        network = StackedRNN(
            self.cell(self.hidden_size),
            num_layers=self.num_layers,
            bidirectional=True,
            dropout=self.output_dropout,
            dtype=self.dtype,
            method=self.method,
            name="rnn",
        )
        _, ys = network(dropout(self.dropout, xs), lengths=lengths, train=train)
        ys = dropout(self.output_dropout, ys)
        emissions = nn.Dense(self.num_tags, dtype=at_least_float32(ys.dtype), name="head")(ys)
        if valid is not None:
            emissions = jnp.where(valid[..., None], emissions, 0)
        if not self.crf:
            return TagScores(emissions)
        shapes = {"transitions": (self.num_tags, self.num_tags), "start": (self.num_tags,), "end": (self.num_tags,)}
        scores = {name: self.param(name, nn.initializers.zeros, shape, jnp.float32) for name, shape in shapes.items()}
        return TagScores(emissions, **scores)

    def _encoder(self) -> CharacterEncoder:
        return CharacterEncoder(
            self.num_characters,
            self.character_encoder,
            self.character_embed_dim,
            self.character_features,
            self.cell,
            dropout=self.character_dropout,
            dtype=self.dtype,
            method=self.method,
            name="characters",
        )

    def _check(self, words: Any, characters: Any) -> None:
        sizes = {name: getattr(self, name) for name in ("vocab_size", "num_tags", "embed_dim", "hidden_size")}
        check_network(self.cell, self.dropout, num_layers=self.num_layers, **sizes)
        check_probability("output_dropout", self.output_dropout)
        check_choice("character_encoder", self.character_encoder, ("rnn", "cnn", "none"))
        if jnp.ndim(words) != 2:
            raise ValueError(f"`words` must be integers of shape [B, T], got {describe_value(words)}")
        if self.character_encoder == "none":
            if characters is not None:
                raise ValueError(
                    f"`characters` must be None if `character_encoder` is none, got {describe_value(characters)}"
                )
            return
        check_integer("num_characters", self.num_characters)
        if characters is None or jnp.ndim(characters) != 3 or jnp.shape(characters)[:2] != jnp.shape(words):
            shape = (*jnp.shape(words), "W")
            raise ValueError(f"`characters` must be integers of shape {shape}, got {describe_value(characters)}")


def lample_tagger(vocab_size: int, num_tags: int, num_characters: int, **options: Any) -> Tagger:
    """Makes the BiLSTM-CRF with a character BiLSTM of Lample et al. 2016 (arXiv:1603.01360).

    Words of 100 features and characters of 25, a character BiLSTM of 25 units per direction, a BiLSTM of 100 units per
    direction, dropout of its inputs. For 17 tags and 100 characters it has 217,240 parameters, not counting the words.

    Args:
        vocab_size, num_tags, num_characters: As in ``Tagger``.
        **options: Other attributes.
    """
    return Tagger(vocab_size, num_tags, num_characters, **options)


def ma_hovy_tagger(vocab_size: int, num_tags: int, num_characters: int, **options: Any) -> Tagger:
    """Makes the BiLSTM-CNN-CRF of Ma and Hovy 2016 (arXiv:1603.01354).

    Words of 100 features and characters of 30, a character CNN of 30 maps of width 3, a BiLSTM of 200 units per
    direction, dropout of the characters, of the inputs and of the outputs. For 17 tags and 100 characters it has
    542,470 parameters, not counting the words.

    Args:
        vocab_size, num_tags, num_characters: As in ``Tagger``.
        **options: Other attributes.
    """
    published: dict[str, Any] = {
        "character_encoder": "cnn",
        "character_embed_dim": 30,
        "character_features": 30,
        "hidden_size": 200,
        "output_dropout": 0.5,
        "character_dropout": 0.5,
    }
    return Tagger(vocab_size, num_tags, num_characters, **{**published, **options})
