"""Untrusted configs and data descriptions: bounded work, and errors of one sentence."""

import itertools
import json
import time

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from jaxnets import attention, convolution, data, exported, modules, recurrent, sets
from jaxnets.data import labels
from jaxnets.data.formats import csv_records, features, image_decoding
from jaxnets.data.formats import npz as npz_file
from jaxnets.data.sources import table
from jaxnets.data.sources.pairs import MAX_LINE, MAX_PAIRS
from jaxnets.data.tokens import pieces
from jaxnets.ops import checks
from jaxnets.ops.host import compressed
from jaxnets.reports import figures
from jaxnets.training import build, descriptions, restore, run_files, rundir
from jaxnets.training.checkpointing import file_digests
from jaxnets.training.checkpointing.positions import check_position
from jaxnets.training.config import load
from jaxnets.training.distributed import sharding
from jaxnets.training.errors import MAX_MESSAGE_LENGTH, RunError, UsageError, format_message
from jaxnets.training.reporting import metrics
from jaxnets.weights import files as weight_files

DATA = data.set_statistics(size=5, batch_size=2)


@pytest.fixture
def workdir(tmp_path):
    config = load("set_statistics")
    config.data.size, config.data.batch_size = 5, 2
    rundir.claim(tmp_path / "run", config, DATA)
    (tmp_path / "run" / "checkpoints").mkdir()
    return tmp_path / "run"


def change(path, keys, value):
    """Sets a value in a JSON file, or removes its key if the value is ``...``."""
    found = json.loads(path.read_text())
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    path.write_text(json.dumps(found))


VALUES = (
    None,
    True,
    -1,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "x",
    "\x1b[2J\n\u202e",
    "y" * 10**5,
    [1, "a"],
    {},
    ...,
)
VALUES += ({"name": "train.main"}, {"a": {"b": [1]}}, "data.read", "\udcff", [[[]]], [-5, 10**12], 10**9)


def keys_of(tree, before=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from keys_of(value, (*before, key))


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_any_value_of_any_key_gives_a_usage_or_run_error(workdir, name):
    path = workdir / name
    original = path.read_text()
    for keys, value in list(itertools.product(keys_of(json.loads(original)), VALUES))[::5]:  # every fifth, to save time
        path.write_text(original)
        change(path, keys, value)
        with pytest.raises((UsageError, RunError)) as caught:
            restore.open_run(workdir)
        message = format_message(str(caught.value))
        assert message.isprintable()
        assert len(message) <= MAX_MESSAGE_LENGTH


WRONG = {
    "section": ("config.json", ["train"], 5, "train must be a dict of settings, got 5"),
    "type": ("config.json", ["seed"], "0", "seed must be int, got '0'"),
    "NaN": (
        "config.json",
        ["model", "dropout"],
        float("nan"),
        "model.dropout must be finite",
    ),
    "large number": ("config.json", ["seed"], 2**63, "seed must be finite and of at most 63 bits"),
    "type of an argument": (
        "config.json",
        ["model", "num_bins"],
        "x",
        "sets.HistNetQ: num_bins must be int, got 'x'",
    ),
    "type in a sequence": ("config.json", ["model", "head"], [1, "a"], "head must be a sequence of int, got"),
    "program as model": ("config.json", ["model", "name"], "train.main", "train.main is not part of jaxnets"),
    "function of a program as model": (
        "config.json",
        ["model", "name"],
        "program.run",
        "program.run is not part of jaxnets",
    ),
    "reader as model": ("config.json", ["model", "name"], "data.read", "data.read must return a Linen module"),
    "function as model": ("config.json", ["model", "name"], "sets.max_pool", "must return a Linen module"),
    "program as argument": (
        "config.json",
        ["model", "kind"],
        {"name": "train.main"},
        "train.main is not part of jaxnets",
    ),
    "reader as argument": (
        "config.json",
        ["model", "kind"],
        {"name": "data.read"},
        "an argument here must be from attention, .* got 'data.read'",
    ),
    "model as task": ("config.json", ["task", "name"], "sets.DeepSets", "sets.DeepSets must return a task"),
    "private module": ("config.json", ["model", "name"], "sets.norms.np", "no jaxnets.sets.norms"),
    "kind of targets": (
        "data.json",
        ["targets", "kind"],
        "Path",
        "targets must be Vocabulary, Captions, Classes, TextClasses",
    ),
    "no targets": ("data.json", ["targets", "names"], [], "at least one target"),
    "numbers as targets": ("data.json", ["targets", "names"], [1], "a list of strings, got"),
    "negative size": ("data.json", ["batch", "inputs", 0, 0], -2, "a shape with positive sizes"),
    "huge size": ("data.json", ["batch", "inputs", 0, 0], 10**9, "at most 8 axes and 2,147,483,648 elements"),
    "many axes": ("data.json", ["batch", "inputs", 0], [1] * 9, "at most 8 axes"),
    "objects": ("data.json", ["batch", "inputs", 1], "O", "a numeric dtype, such as float32, got 'O'"),
    "many arrays": ("data.json", ["batch"], {str(i): [[1], "int8"] for i in range(33)}, "1 to 32 arrays"),
}


@pytest.mark.parametrize("name, keys, value, message", WRONG.values(), ids=WRONG)
def test_wrong_value_is_named(workdir, name, keys, value, message):
    change(workdir / name, keys, value)
    with pytest.raises((UsageError, RunError), match=message):
        restore.open_run(workdir)


def test_deep_nesting_is_rejected(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"features": []', '"features": ' + "[" * 200 + "]" * 200))
    with pytest.raises(RunError, match="must have at most 16 levels"):
        restore.open_run(workdir)


def test_large_config_is_rejected(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text() + " " * 2**18)
    with pytest.raises(RunError, match="must have at most 262,144 bytes"):
        restore.open_run(workdir)


def test_wrong_description_of_the_data_is_rejected(workdir):
    change(workdir / "data.json", ["targets", "names"], ["anything"])
    with pytest.raises(RunError, match="does not describe the data of this run"):
        rundir.check_data(workdir, DATA)
    assert descriptions.batch(json.loads((workdir / "data.json").read_text())["batch"]) == descriptions.shapes(DATA)


SERIES, IMAGES, SETS = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 8, 2), (1, 64, 64, 3), (1, 5, 2)))
TOKENS = jax.ShapeDtypeStruct((1, 4), jnp.int32)
MANY = 10**6
LONG = (2,) * 2000
DEEP = {
    "CharRNN": (recurrent.CharRNN(5, hidden_size=2, num_layers=MANY), TOKENS),
    "SequenceModel": (recurrent.SequenceModel(5, hidden_size=2, num_layers=MANY), SERIES),
    "StackedRNN": (recurrent.StackedRNN(recurrent.gru(2), num_layers=MANY), SERIES),
    "EncoderDecoder": (recurrent.EncoderDecoder(5, hidden_size=2, embed_dim=2, num_layers=MANY), TOKENS, TOKENS),
    "DecoderLM": (attention.DecoderLM(5, embed_dim=4, num_heads=2, num_layers=MANY), TOKENS),
    "Transformer": (attention.Transformer(5, embed_dim=4, num_heads=2, num_layers=MANY), TOKENS, TOKENS),
    "SetTransformer encoder": (sets.SetTransformer(5, num_encoder_blocks=MANY), SETS),
    "SetTransformer decoder": (sets.SetTransformer(5, num_decoder_blocks=MANY), SETS),
    "DeepSets": (sets.DeepSets(5, phi=LONG), SETS),
    "EquivariantDeepSets": (sets.EquivariantDeepSets(5, widths=LONG), SETS),
    "HistNetQ": (sets.HistNetQ(5, head=LONG), SETS),
    "TCN": (convolution.TCN(5, num_levels=MANY), SERIES),
    "SeriesCNN": (convolution.SeriesCNN(5, widths=LONG, kernel_sizes=LONG), SERIES),
    "DenseNet": (convolution.DenseNet(block_config=(MANY,)), IMAGES),
    "EfficientNet": (convolution.EfficientNet(depth_mult=1e6), IMAGES),
    "UNet": (convolution.UNet(depth=MANY), IMAGES),
    "VGG": (convolution.VGG(convolutions=(MANY,) * 5), IMAGES),
    "WideResNet": (convolution.WideResNet(depth=6 * MANY + 4), IMAGES),
    "ConvNeXt": (convolution.ConvNeXt(blocks=(MANY,) * 4), IMAGES),
    "ResidualAttentionNetwork": (convolution.ResidualAttentionNetwork(modules=(MANY,) * 3), IMAGES),
    "CifarResNet": (convolution.CifarResNet(depth=6 * MANY + 2), IMAGES),
    "HighwayNetwork": (convolution.HighwayNetwork(num_layers=MANY), IMAGES),
    "ConvHighwayNetwork": (convolution.ConvHighwayNetwork(layers_per_stage=MANY), IMAGES),
    "MLP": (modules.MLP(1, hidden_sizes=(2,) * 2000), jnp.zeros((1, 2))),
    "ResNet": (convolution.ResNet(blocks=(MANY, 1, 1, 1)), IMAGES),
    "many stages": (convolution.ResNet(blocks=LONG), IMAGES),
}


@pytest.mark.parametrize("model, inputs", [(model, inputs) for model, *inputs in DEEP.values()], ids=DEEP)
def test_model_of_a_million_layers_is_rejected_at_once(model, inputs):
    start = time.perf_counter()
    with pytest.raises(ValueError, match="must be an integer of at most 1000, got "):
        jax.eval_shape(model.init, jax.random.key(0), *inputs)
    assert time.perf_counter() - start < 5


def test_deep_model_is_rejected_before_compilation(workdir):
    change(workdir / "config.json", ["model", "head"], [1] * 2000)
    with pytest.raises(RunError, match="the length of `head` must be an integer of at most 1000, got 2000"):
        restore.open_run(workdir)


POSITIONS = ({}, {"next_index": -1}, {"next_index": "x"}, {"next_index": 2**70}, {"next_index": 1, "other": 2})


@pytest.mark.parametrize("position", POSITIONS, ids=str)
def test_position_in_other_data_is_rejected(position):
    batches = iter(DATA.train.to_iter_dataset(sharding.READ_OPTIONS))
    with pytest.raises(RunError, match="the position in the data of a checkpoint must be like"):
        check_position(position, batches.get_state())
    check_position({"next_index": 3}, batches.get_state())


def test_functions_without_the_return_annotation_are_not_called():
    for name in ("data.read", "data.standard_library", "data.learn_pieces", "recurrent.scan"):
        with pytest.raises(UsageError, match="must return a Linen module"):
            build.model({"name": name})


def test_one_line_escapes_and_shortens():
    assert format_message("a\nb\x1b[2J\u2028c\u202e\udcff") == "a b\\x1b[2J c\\u202e\\xff"
    assert format_message("y" * 10**6, 100).startswith("yyy")
    assert len(format_message("\x1b" * 10**6, 100)) <= 100
    assert format_message("short") == "short"


def test_security_page_lists_all_limits():
    page = (ROOT / "docs" / "security.md").read_text()
    for limit in (
        run_files.MAX_CONFIG_BYTES,
        run_files.MAX_BYTES,
        exported.MAX_JSON_BYTES,
        metrics.MAX_METRICS_BYTES,
        file_digests.MAX_LIST_BYTES,
        checks.MAX_LAYERS,
        descriptions.MAX_ELEMENTS,
        image_decoding.MAX_BYTES,
        image_decoding.MAX_SCAN_PIXELS,
        compressed.BLOCK_SIZE,
        compressed.MAX_OVERHEAD,
        compressed.MAX_DIRECTORY,
        npz_file.MAX_HEADER_BYTES,
        weight_files.MAX_HEADER,
        weight_files.MAX_NAME_LENGTH,
        labels.MAX_LABEL_LENGTH,
        labels.MAX_CLASSES,
        MAX_LINE,
        MAX_PAIRS,
        csv_records.MAX_ROWS,
        csv_records.MAX_COLUMNS,
        csv_records.MAX_RECORD,
        features.MAX_FEATURES,
        table.MAX_CATEGORIES,
        pieces.MAX_WORD_LENGTH,
        pieces.MAX_PIECES,
        pieces.MAX_JSON,
        pieces.MAX_PIECE,
        pieces.MAX_SYMBOLS,
        figures.MAX_CELLS,
    ):
        assert f"{limit:,}" in page, limit
    for text in (
        f"{run_files.MAX_DEPTH} levels",
        f"| {descriptions.MAX_ARRAYS}, of {descriptions.MAX_AXES} axes",
        f"at most {MAX_MESSAGE_LENGTH} characters",
    ):
        assert text in page, text
