"""Data sources and pipelines: local files only, deterministic in (seed, step), exactly resumable."""

from jaxnets.ops.host import extras

extras.require(__name__, "train")

from jaxnets.data.dataset import Dataset, Examples
from jaxnets.data.formats.conll import read_conll
from jaxnets.data.formats.idx import read_idx
from jaxnets.data.formats.text_files import read, standard_library
from jaxnets.data.formats.word_questions import read_analogies, read_similarities
from jaxnets.data.new_files.rows import read_inputs, read_labeled
from jaxnets.data.preprocessing import preprocess
from jaxnets.data.sources.anomalies.images import image_anomalies
from jaxnets.data.sources.anomalies.rows import table_anomalies
from jaxnets.data.sources.anomalies.series import series_anomalies
from jaxnets.data.sources.batches import in_order, shuffled
from jaxnets.data.sources.image_arrays import image_arrays, jpeg_images
from jaxnets.data.sources.labeled_images import images
from jaxnets.data.sources.labeled_series import digits, idx, mnist1d, series
from jaxnets.data.sources.labeled_sets import labeled_sets
from jaxnets.data.sources.pairs import pairs, read_pairs
from jaxnets.data.sources.problems.chaos import mackey_glass, spliced_mackey_glass
from jaxnets.data.sources.problems.memory import adding, copying, temporal_order
from jaxnets.data.sources.problems.points import gaussian_grid, gaussian_ring
from jaxnets.data.sources.problems.scenes.checker import SceneMatch, SceneObject, find_objects, scene_matches
from jaxnets.data.sources.problems.scenes.sentences import Scene, parse_scene
from jaxnets.data.sources.problems.scenes.shape_scenes import shape_scenes
from jaxnets.data.sources.problems.sets import (
    digit_sum,
    gaussian_mixtures,
    odd_one_out,
    prevalence,
    set_maximum,
    set_statistics,
)
from jaxnets.data.sources.problems.solids import solids
from jaxnets.data.sources.problems.splice_sites import splice_sites
from jaxnets.data.sources.sequences import once, streams, windows
from jaxnets.data.sources.series.forecasting import forecasting
from jaxnets.data.sources.series.labeled_steps import labeled_steps
from jaxnets.data.sources.table import breast_cancer, table
from jaxnets.data.sources.tagging.python_tokens import python_tokens
from jaxnets.data.sources.tagging.tagged_sentences import tagged_sentences
from jaxnets.data.sources.text import text
from jaxnets.data.sources.texts.byte_files import byte_files
from jaxnets.data.sources.texts.code_or_prose import code_or_prose
from jaxnets.data.sources.texts.labeled_texts import labeled_texts
from jaxnets.data.sources.texts.passages import passages
from jaxnets.data.sources.words.cooccurrences import cooccurrences
from jaxnets.data.sources.words.windows import word_corpus
from jaxnets.data.targets import Classes, Horizon, LabeledSteps, Labels, Quantities, Tags, TextClasses, Unlabeled, Words
from jaxnets.data.tokens.captions import Captions
from jaxnets.data.tokens.tokenizer import Tokenizer, learn_tokenizer
from jaxnets.data.tokens.vocabulary import Vocabulary, learn_pieces

__all__ = [
    "Captions",
    "Classes",
    "Dataset",
    "Examples",
    "Horizon",
    "LabeledSteps",
    "Labels",
    "Quantities",
    "Scene",
    "SceneMatch",
    "SceneObject",
    "Tags",
    "TextClasses",
    "Tokenizer",
    "Unlabeled",
    "Vocabulary",
    "Words",
    "adding",
    "breast_cancer",
    "byte_files",
    "code_or_prose",
    "cooccurrences",
    "copying",
    "digit_sum",
    "digits",
    "find_objects",
    "forecasting",
    "gaussian_grid",
    "gaussian_mixtures",
    "gaussian_ring",
    "idx",
    "image_anomalies",
    "image_arrays",
    "images",
    "in_order",
    "jpeg_images",
    "labeled_sets",
    "labeled_steps",
    "labeled_texts",
    "learn_pieces",
    "learn_tokenizer",
    "mackey_glass",
    "mnist1d",
    "odd_one_out",
    "once",
    "pairs",
    "parse_scene",
    "passages",
    "preprocess",
    "prevalence",
    "python_tokens",
    "read",
    "read_analogies",
    "read_conll",
    "read_idx",
    "read_inputs",
    "read_labeled",
    "read_pairs",
    "read_similarities",
    "scene_matches",
    "series",
    "series_anomalies",
    "set_maximum",
    "set_statistics",
    "shape_scenes",
    "shuffled",
    "solids",
    "splice_sites",
    "spliced_mackey_glass",
    "standard_library",
    "streams",
    "table",
    "table_anomalies",
    "tagged_sentences",
    "temporal_order",
    "text",
    "windows",
    "word_corpus",
]
