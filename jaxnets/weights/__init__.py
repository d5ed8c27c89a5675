"""Conversion of weights from and to other libraries, with strict checks and without unpickling."""

from jaxnets.weights.diffusers import from_diffusers, to_diffusers
from jaxnets.weights.embeddings import EmbeddingTable, PretrainedEmbeddings, embedding_table
from jaxnets.weights.files import read, write
from jaxnets.weights.keras import from_keras, to_keras
from jaxnets.weights.torch import from_torch, to_torch
from jaxnets.weights.torchvision import from_torchvision, to_torchvision
from jaxnets.weights.word_vectors import WordVectors, read_word_vectors, write_word_vectors

__all__ = [
    "EmbeddingTable",
    "PretrainedEmbeddings",
    "WordVectors",
    "embedding_table",
    "from_diffusers",
    "from_keras",
    "from_torch",
    "from_torchvision",
    "read",
    "read_word_vectors",
    "to_diffusers",
    "to_keras",
    "to_torch",
    "to_torchvision",
    "write",
    "write_word_vectors",
]
