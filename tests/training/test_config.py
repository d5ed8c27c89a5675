"""Configs: shipped configs, typed overrides, defaults, and errors with the nearest key."""

import re
import runpy
import sys

import optax
import pytest
from conftest import ROOT
from ml_collections import ConfigDict

from jaxnets import data, recurrent, tasks
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError
from jaxnets.training.settings import names, overrides
from jaxnets.training.settings.shown import with_defaults

WORDS = data.Tokenizer(symbols=("a", "b", "c"))
TEXT_SPECS = {
    "text_classification": data.TextClasses(("a", "b"), WORDS),
    "tagging": data.Tags(("a", "b"), "none", WORDS, data.Tokenizer("character", ("a", "b"))),
    "word_vectors": data.Words(WORDS, (0, 5, 4, 3)),
}


@pytest.mark.parametrize("name", config.shipped())
def test_shipped_config_is_built(name):
    settings = config.load(name)
    if "forecasting" in build.task_name(settings):
        horizon = data.Horizon(("a",), horizon=6, context=12, season=1, naive_error=(1.0,))
        assert build.model_and_task(settings, horizon)[0].horizon == 6
    elif name.partition(":")[0] in TEXT_SPECS:
        spec = TEXT_SPECS[name.partition(":")[0]]
        model, _ = build.model_and_task(settings, spec)
        assert model.vocab_size == 4 and getattr(model, "num_tags", 2) == getattr(model, "num_classes", 2) == 2
    else:
        model = tasks.complete(build.model(settings.model), data.Classes(tuple("0123456789")))
        sizes = {getattr(model, field, 0) for field in ("vocab_size", "num_classes", "num_outputs")} - {0}
        stem = name.partition(":")[0]
        of_inputs = stem in (
            "anomaly_table",
            "autoencoder",
            "flow_table",
            "glow",
            "series_anomaly",
            "vae",
        )  # models of their inputs
        assert sizes == (set() if of_inputs else {10})
    assert callable(names.resolve(settings.data.name))
    assert callable(names.resolve(build.task_name(settings)))
    assert isinstance(build.optimizer(settings), optax.GradientTransformation)


def test_shipped_configs_list_only_differences_from_defaults():
    for name, path in config.shipped().items():
        file, variant = runpy.run_path(str(path)), name.partition(":")[2]
        given = config.flatten(file["get_config"](variant) if variant else file["get_config"]())
        assert not [key for key, value in config.defaults().items() if given.get(key) == value and key in given], name


def test_overrides_are_parsed_by_the_type_of_the_setting():
    settings = ConfigDict({"a": {"i": 1, "f": 0.5, "b": False, "s": "x", "t": (1, 2)}})
    config.override(settings, [("a.i", "3"), ("a.f", "2"), ("a.b", "true"), ("a.s", "7"), ("a.t", "(4,)")])
    assert settings.a.to_dict() == {"i": 3, "f": 2.0, "b": True, "s": "7", "t": (4,)}


def overridden(name, *assignments):
    settings = config.load(name)
    config.override(settings, [tuple(each.split("=", 1)) for each in assignments])
    return settings


def test_overrides_of_a_cell_and_its_arguments():
    settings = overridden("adding", "model.cell.chrono_init=50")
    assert settings.model.cell.to_dict() == {"factory": "recurrent.gru", "chrono_init": 50}
    settings = overridden("adding", "model.cell=recurrent.elman")
    assert tasks.complete(build.model(settings.model), data.Quantities(("sum",))).cell is recurrent.elman
    settings = overridden("adding", "model.cell.reset=after", "model.cell=recurrent.gru")  # order does not matter
    assert settings.model.cell.to_dict() == {"factory": "recurrent.gru", "reset": "after"}
    settings = overridden("char_lm", "model.cell.factory=recurrent.gru")
    assert settings.model.cell.to_dict() == {"factory": "recurrent.gru"}
    assert overridden("digits", "model.cell=my_package.cell").model.cell.to_dict() == {"factory": "my_package.cell"}
    assert overridden("digits", "model.cell.reset=after").model.cell.to_dict() == {
        "factory": "recurrent.gru",
        "reset": "after",
    }


def test_override_sets_an_argument_that_the_config_omits():
    settings = overridden("char_lm", "model.tie_embeddings=true", "data.validation_fraction=1", "model.method=newton")
    assert (settings.model.tie_embeddings, settings.model.method) == (True, "newton")
    assert settings.data.validation_fraction == 1.0
    assert overridden("set_statistics", "task.error=squared").task.error == "squared"
    assert overridden("digits", "optimizer.b1=0.5").optimizer.b1 == 0.5
    assert overridden("gan", "task.modes=4").task.to_dict() == {
        "name": "tasks.adversarial",
        "gradient_penalty": 0.03,
        "modes": 4,
    }


def test_new_name_drops_the_arguments_of_the_old_one():
    settings = overridden("digits", "model.hidden_size=8", "model.name=recurrent.CharRNN", "optimizer.frozen=head")
    assert settings.model.to_dict() == {"name": "recurrent.CharRNN", "hidden_size": 8}
    settings = overridden("digits", "optimizer.name=sgd", "optimizer.frozen=head", "optimizer.learning_rate=1")
    assert settings.optimizer.to_dict() == {
        "name": "optimizers.sgd",
        "learning_rate": 1.0,
        "ema_decay": 0.0,
        "frozen": "head",
        "plateau_factor": 0.0,
        "plateau_patience": 5,
    }
    assert overridden("digits", "data.name=data.adding").data.to_dict() == {"name": "data.adding"}
    assert overridden("translation", "task=tasks.language_model").task.to_dict() == {"name": "tasks.language_model"}
    same = overridden("digits", "model.name=recurrent.SequenceModel")
    assert same.model == config.load("digits").model


def test_override_sets_an_element_of_a_list():
    chain = [{"name": "optax.clip", "max_delta": 1.0}, {"name": "optax.sgd", "learning_rate": 0.1}]
    before = config.complete(
        ConfigDict({**config.load("digits").to_dict(), "optimizer": {"name": "optax.chain", "args": chain}})
    )
    settings = before.copy_and_resolve_references()
    config.override(settings, [("optimizer.args.1.learning_rate", "0.5"), ("optimizer.args.1.momentum", "0.9")])
    assert settings.optimizer.args[1] == {"name": "optax.sgd", "learning_rate": 0.5, "momentum": 0.9}
    assert sorted(config.differences(before, settings)) == [
        "optimizer.args.1.learning_rate: 0.1 there, 0.5 here",
        "optimizer.args.1.momentum: None there, 0.9 here",
    ]
    with pytest.raises(UsageError, match="no setting --config.optimizer.args.1.momentun; the nearest is .*momentum$"):
        config.override(settings, [("optimizer.args.1.momentun", "0.5")])


BAD = {
    "mistyped": (
        "model.hiden_size",
        "5",
        "no setting --config.model.hiden_size; the nearest is --config.model.hidden_size",
    ),
    "mistyped, omitted by the config": (
        "model.tie_embedings",
        "5",
        "no setting --config.model.tie_embedings; the nearest is --config.model.tie_embeddings",
    ),
    "type of a default": ("model.dropout", "many", "--config.model.dropout must be float, such as 0.0, got 'many'"),
    "inside a number": ("model.hidden_size.size", "5", "no setting --config.model.hidden_size.size"),
    "argument from other settings": (
        "task.learn",
        "5",
        "no setting --config.task.learn; the nearest is --config.task.name",
    ),
    "argument of a cell": ("model.cell.rest", "5", "no setting --config.model.cell.rest"),
    "element of a setting without list": ("optimizer.args.0.b1", "5", "no setting --config.optimizer.args.0.b1"),
    "section": ("model", "5", "no setting --config.model; settings in it are model.cell, .*model.name"),
    "unknown": ("zzz", "5", "no setting --config.zzz$"),
    "float for int": ("model.hidden_size", "2.5", "--config.model.hidden_size must be int, such as 256, got '2.5'"),
    "text for float": ("optimizer.clip_norm", "much", "--config.optimizer.clip_norm must be float"),
    "text for bool": (
        "model.tie_embeddings",
        "maybe",
        "--config.model.tie_embeddings must be bool, such as False, got 'maybe'",
    ),
    "number for bool": ("model.tie_embeddings", "1", "--config.model.tie_embeddings must be bool"),
    "infinity": ("optimizer.learning_rate", "1e999", "--config.optimizer.learning_rate must be float"),
    "integer beyond floats": ("optimizer.clip_norm", "9" * 400, "--config.optimizer.clip_norm must be float"),
    "integer beyond 64 bits": ("model.num_layers", "9" * 30, "--config.model.num_layers must be int"),
    "integer beyond Python's limit": ("model.num_layers", "9" * 5000, "--config.model.num_layers must be int"),
    "unhashable": ("data.batch_size", "{[]: 1}", "--config.data.batch_size must be int"),
    "half a literal": ("data.batch_size", "[" * 300, "--config.data.batch_size must be int"),
    "null character": ("data.batch_size", "\0", "--config.data.batch_size must be int"),
    "empty": ("data.batch_size", "", "--config.data.batch_size must be int"),
    "empty key": ("", "5", "no setting --config.$"),
}


@pytest.mark.parametrize("key, text, message", BAD.values(), ids=BAD)
def test_wrong_overrides_are_rejected(key, text, message):
    with pytest.raises(UsageError, match=message):
        config.override(config.load("char_lm"), [(key, text)])


@pytest.mark.parametrize("text", ["('0', '1')", "(0.5, 1)", "(0, (1,))", "0", "{0: 1}"])
def test_elements_of_a_tuple_keep_their_type(text):
    with pytest.raises(UsageError, match=r"--config.data.columns must be tuple, such as \(0, 1\), got "):
        config.override(config.load("translation"), [("data.columns", text)])


def test_integers_become_floats_in_a_tuple_of_floats():
    assert overrides.parse("a", "[1, 2.5]", (0.5, 0.5)) == (1.0, 2.5)
    assert all(type(value) is float for value in overrides.parse("a", "(1, 2)", (0.5, 0.5)))


@pytest.mark.parametrize("dtype", ["bflot16", "int32", "('a',)", "{}"])
def test_invalid_dtype_is_rejected(dtype):
    settings = overridden("char_lm", f"model.dtype={dtype}")
    with pytest.raises(UsageError, match="`dtype` must be a floating-point type such as float32 or bfloat16, got "):
        build.model(settings.model)


def test_error_for_a_missing_config_names_the_nearest(tmp_path):
    with pytest.raises(
        UsageError, match="no config char_ml; the nearest is char_lm; shipped configs: adding, anomaly_image, "
    ):
        config.load("char_ml")
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    with pytest.raises(UsageError, match="broken.py cannot be run: SyntaxError"):
        config.load(str(tmp_path / "broken.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match=r"empty.py must define a function get_config\(\)"):
        config.load(str(tmp_path / "empty.py"))


def test_differences_are_listed_by_key():
    old, new = ConfigDict({"a": {"x": 1, "y": (1, 2)}}), ConfigDict({"a": {"x": 2, "y": (1, 2), "z": 3}})
    assert config.differences(old, new) == ["a.x: 1 there, 2 here", "a.z: not set there, 3 here"]


def test_variant_follows_the_name_after_a_colon(tmp_path):
    assert config.load("prevalence:pooled").model.name == "sets.DeepSets"
    assert config.load("prevalence").model.name == "sets.HistNetQ"
    with pytest.raises(UsageError, match=r"prevalence.py has no variant pool; it has attention, pooled$"):
        config.load("prevalence:pool")
    with pytest.raises(UsageError, match=r"adding.py has no variant x; it has none$"):
        config.load("adding:x")
    own = tmp_path / "a:b.py"
    own.write_text(SHORT)
    assert config.load(str(own)).model.name == "recurrent.SequenceModel"


SHORT = """def get_config():
    return {
        "task": "tasks.classification",
        "data": {"name": "data.digits"},
        "model": {"name": "recurrent.SequenceModel", "hidden_size": 8},
    }
"""


def test_task_data_and_model_are_required(tmp_path):
    (tmp_path / "mine.py").write_text(SHORT)
    settings = config.load(str(tmp_path / "mine.py"))
    assert {key: config.flatten(settings)[key] for key in config.defaults()} == config.defaults()
    for section in ("task", "data", "model"):
        lines = [line for line in SHORT.splitlines() if f'"{section}":' not in line]
        (tmp_path / "less.py").write_text("\n".join(lines))
        with pytest.raises(UsageError, match=f"less.py: {section}.name is missing"):
            config.load(str(tmp_path / "less.py"))


def test_another_optimizer_does_not_get_the_defaults_of_adamw():
    settings = ConfigDict({"task": "a", "data": {"name": "b"}, "model": "c", "optimizer": {"name": "optax.lion"}})
    assert set(config.complete(settings).optimizer) == {"name", *config.OPTIMIZER_SETTINGS}
    assert config.complete(settings).model.name == "c"


def test_explicit_default_is_not_a_difference():
    old, new = config.load("char_lm"), config.load("char_lm")
    new.model.tie_embeddings, new.model.num_layers = False, 1
    assert config.differences(old, new) == []
    new.model.tie_embeddings = True
    assert config.differences(old, new) == ["model.tie_embeddings: False there, True here"]


def test_settings_page_lists_all_common_settings():
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^`]*)` \|", page, re.MULTILINE))
    assert rows == {key: str(value) or '""' for key, value in config.defaults().items()}


def test_defaults_exclude_arguments_from_other_settings():
    vgg = {"name": "convolution.VGG"}
    cell = {"factory": "recurrent.gru"}
    given = ConfigDict({"model": vgg, "optimizer": {"name": "optimizers.adamw"}, "data": {"name": "data.digits"}})
    filled = with_defaults(given, imports=True)
    assert "num_classes" not in filled.model and "dropout" in filled.model
    assert "steps" not in filled.optimizer and "clip_norm" in filled.optimizer
    assert "seed" not in filled.data and "batch_size" in filled.data
    filled = with_defaults(ConfigDict({"model": {"name": "recurrent.CharRNN", "cell": cell}}))
    assert filled.model.cell.reset == "before" and "hidden_size" not in filled.model.cell
    explicit = with_defaults(ConfigDict({"model": {**vgg, "num_classes": 7}}))
    assert explicit.model.num_classes == 7


def test_defaults_do_not_import_untrusted_modules():
    sys.modules.pop("json.tool", None)
    given = ConfigDict({"data": {"name": "json.JSONDecoder"}, "model": {"name": "json.tool.main"}})
    assert with_defaults(given).model.to_dict() == {"name": "json.tool.main"}
    assert "json.tool" not in sys.modules


@pytest.mark.parametrize("path", ["data.csv", "sets.npz", "recurrent.v2/x.npz"])
def test_path_may_start_with_the_name_of_a_family(path):
    settings = config.complete(
        ConfigDict({"task": "tasks.classification", "data": {"name": "data.table", "path": path}})
    )
    with pytest.raises(UsageError, match=f"{path}"):
        build.dataset(settings)


@pytest.mark.parametrize("schedule", [{"splits": "test"}, {"splits": [3]}, {"every": "100"}, {"every": -1}])
def test_wrong_schedule_of_an_evaluator_is_rejected(schedule):
    settings = config.load("digits")
    settings.evaluators = ConfigDict({"mine": {"name": "evaluators.auroc", **schedule}})
    with pytest.raises(UsageError, match="of an evaluator must be"):
        build.task(settings, build.model(settings.model), data.Classes(("a", "b")))


def test_integers_are_cast_to_float_settings():
    given = {"train": {"max_minutes": 5}, "optimizer": {"learning_rate": 1}}
    settings = config.complete(ConfigDict({**config.load("digits").to_dict(), **given}))
    config.check(settings)
    assert (settings.train.max_minutes, settings.optimizer.learning_rate) == (5.0, 1.0)
    assert type(settings.train.max_minutes) is float and type(settings.optimizer.learning_rate) is float
