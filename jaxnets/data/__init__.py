"""Sources and pipelines: deterministic in (seed, step), resumable exactly, never from the network."""

from jaxnets.data.dataset import Dataset, text
from jaxnets.data.examples import Examples, in_order, shuffled
from jaxnets.data.idx_format import read_idx
from jaxnets.data.image_arrays import image_arrays, jpeg_images
from jaxnets.data.labelled_images import images
from jaxnets.data.labelled_series import digits, idx, mnist1d, series
from jaxnets.data.labelled_sets import labelled_sets
from jaxnets.data.memory import adding, copying, temporal_order
from jaxnets.data.pairs import pairs, read_pairs
from jaxnets.data.sequences import once, streams, windows
from jaxnets.data.sets import digit_sum, intruder, maximum, mixture, prevalence, set_statistics
from jaxnets.data.solids import solids
from jaxnets.data.targets import Classes, Quantities
from jaxnets.data.text import read, standard_library
from jaxnets.data.vocabulary import Vocabulary, learn_pieces

__all__ = [
    "Classes",
    "Dataset",
    "Examples",
    "Quantities",
    "Vocabulary",
    "adding",
    "copying",
    "digit_sum",
    "digits",
    "idx",
    "image_arrays",
    "images",
    "in_order",
    "intruder",
    "jpeg_images",
    "labelled_sets",
    "learn_pieces",
    "maximum",
    "mixture",
    "mnist1d",
    "once",
    "pairs",
    "prevalence",
    "read",
    "read_idx",
    "read_pairs",
    "series",
    "set_statistics",
    "shuffled",
    "solids",
    "standard_library",
    "streams",
    "temporal_order",
    "text",
    "windows",
]
