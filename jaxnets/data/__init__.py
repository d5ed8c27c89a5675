"""Sources and pipelines: deterministic in (seed, step), resumable exactly, never from the network."""

from jaxnets.data.dataset import Dataset, text
from jaxnets.data.sequences import once, streams, windows
from jaxnets.data.text import read, standard_library
from jaxnets.data.vocabulary import Vocabulary

__all__ = ["Dataset", "Vocabulary", "once", "read", "standard_library", "streams", "text", "windows"]
