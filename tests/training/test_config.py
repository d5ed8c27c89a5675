"""Configs: shipped ones build, overrides are typed, mistakes name the nearest key."""

import re

import pytest
from ml_collections import ConfigDict

from jaxnets import recurrent
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError


@pytest.mark.parametrize("name", config.shipped())
def test_shipped_configs_name_a_model_that_exists(name):
    settings = config.load(name)
    model = build.model(settings.model, outputs=10)
    outputs = {getattr(model, name) for name in build.OUTPUTS if hasattr(model, name)}
    assert outputs == ({10} if name not in ("gan", "vae") else set())  # these give back what they read
    assert callable(build.resolve(settings.data.name))
    assert callable(build.resolve(settings.task if isinstance(settings.task, str) else settings.task.name))


def test_overrides_take_the_type_of_the_setting():
    settings = ConfigDict({"a": {"i": 1, "f": 0.5, "b": False, "s": "x", "t": (1, 2)}})
    config.override(settings, [("a.i", "3"), ("a.f", "2"), ("a.b", "true"), ("a.s", "7"), ("a.t", "(4,)")])
    assert settings.a.to_dict() == {"i": 3, "f": 2.0, "b": True, "s": "7", "t": (4,)}


def test_a_name_may_replace_a_name_with_arguments():
    settings = config.load("adding")
    assert settings.model.cell.name == "recurrent.gru"
    config.override(settings, [("model.cell.memory", "50")])
    assert settings.model.cell.memory == 50
    config.override(settings, [("model.cell", "recurrent.elman")])
    assert build.model(settings.model, outputs=1).cell is recurrent.elman


BAD = {
    "mistyped": ("model.hiden", "5", "no setting --config.model.hiden; the nearest is --config.model.hidden"),
    "section": ("model", "5", "no setting --config.model; it has model.cell, .*model.name"),
    "unknown": ("zzz", "5", "no setting --config.zzz$"),
    "float for int": ("model.hidden", "2.5", "--config.model.hidden: int expected, such as 256; given '2.5'"),
    "text for float": ("optimizer.clip", "much", "--config.optimizer.clip: float expected"),
    "text for bool": ("model.tie", "maybe", "--config.model.tie: bool expected, such as False; given 'maybe'"),
    "number for bool": ("model.tie", "1", "--config.model.tie: bool expected"),
    "infinity": ("optimizer.learning_rate", "1e999", "--config.optimizer.learning_rate: float expected"),
    "integer beyond floats": ("optimizer.clip", "9" * 400, "--config.optimizer.clip: float expected"),
    "integer beyond 64 bits": ("model.layers", "9" * 30, "--config.model.layers: int expected"),
    "integer beyond Python's limit": ("model.layers", "9" * 5000, "--config.model.layers: int expected"),
    "unhashable": ("data.batch", "{[]: 1}", "--config.data.batch: int expected"),
    "half a literal": ("data.batch", "[" * 300, "--config.data.batch: int expected"),
    "null character": ("data.batch", "\0", "--config.data.batch: int expected"),
    "empty": ("data.batch", "", "--config.data.batch: int expected"),
    "empty key": ("", "5", "no setting --config.$"),
}


@pytest.mark.parametrize("key, text, message", BAD.values(), ids=BAD)
def test_wrong_overrides_are_told(key, text, message):
    with pytest.raises(UsageError, match=message):
        config.override(config.load("char_lm"), [(key, text)])


@pytest.mark.parametrize("text", ["('0', '1')", "(0.5, 1)", "(0, (1,))", "0", "{0: 1}"])
def test_elements_of_a_tuple_keep_their_type(text):
    with pytest.raises(UsageError, match=r"--config.data.columns: tuple expected, such as \(0, 1\); given "):
        config.override(config.load("translation"), [("data.columns", text)])


def test_integers_become_floats_in_a_tuple_of_floats():
    assert config.parse("a", "[1, 2.5]", (0.5, 0.5)) == (1.0, 2.5)
    assert all(type(value) is float for value in config.parse("a", "(1, 2)", (0.5, 0.5)))


@pytest.mark.parametrize("dtype", ["bflot16", "int32", "('a',)", "{}"])
def test_what_is_no_type_to_compute_in_is_told(dtype):
    settings = config.load("char_lm")
    config.override(settings, [("model.dtype", dtype)])
    with pytest.raises(
        UsageError, match=f"dtype: a type such as float32 or bfloat16 expected; given {re.escape(repr(dtype))}"
    ):
        build.model(settings.model, outputs=10)


def test_missing_configs_name_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="no config char_ml; the nearest is char_lm; shipped: adding, char_lm, "):
        config.load("char_ml")
    (tmp_path / "broken.py").write_text("def get_config(:\n")
    with pytest.raises(UsageError, match="broken.py cannot be run: SyntaxError"):
        config.load(str(tmp_path / "broken.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match=r"empty.py: a function get_config\(\)"):
        config.load(str(tmp_path / "empty.py"))


def test_differences_are_listed_by_key():
    old, new = ConfigDict({"a": {"x": 1, "y": (1, 2)}}), ConfigDict({"a": {"x": 2, "y": (1, 2), "z": 3}})
    assert config.difference(old, new) == ["a.x: 1 there, 2 here", "a.z: not set there, 3 here"]


def test_models_are_named_by_where_they_live():
    model = build.model({"name": "recurrent.CharRNN", "cell": "recurrent.gru", "hidden": 3}, outputs=7)
    assert (model.cell, model.hidden, model.vocabulary) == (recurrent.gru, 3, 7)


def test_a_cell_takes_arguments_from_the_config():
    spec = {"name": "recurrent.SequenceModel", "cell": {"name": "recurrent.gru", "reset": "after"}, "hidden": 3}
    assert build.model(spec, outputs=2).cell(3) is recurrent.gru(3, reset="after")


WRONG_MODELS = {
    "no module": ({"name": "CharRNN"}, "expected where it lives, such as recurrent.CharRNN"),
    "mistyped": ({"name": "recurrent.CharRN"}, "no CharRN in recurrent; the nearest is recurrent.CharRNN"),
    "private": ({"name": "recurrent.functools"}, "no functools in recurrent"),
    "not a model": ({"name": "recurrent.lstm", "hidden": 3}, "recurrent.lstm does not make a Linen module"),
    "argument": ({"name": "recurrent.CharRNN", "hiden": 3}, "has no argument 'hiden'; the nearest is hidden"),
    "argument of a cell": (
        {"name": "recurrent.CharRNN", "cell": {"name": "recurrent.gru", "rest": "after"}},
        "recurrent.gru has no argument 'rest'; the nearest is reset",
    ),
    "missing": ({"name": "recurrent.CharRNN"}, "recurrent.CharRNN needs vocabulary"),
    "elsewhere": ({"name": "antigravity.fly"}, "not part of jaxnets; to import antigravity, say --trust=antigravity"),
}


@pytest.mark.parametrize("spec, message", WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_wrong_models_are_told(spec, message):
    with pytest.raises(UsageError, match=message):
        build.model(spec)


def test_a_module_of_the_user_is_imported_only_when_trusted(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text("from flax import linen\nclass Net(linen.Dense):\n    pass\nnumber = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert type(build.model({"name": "my_models.Net", "features": 2}, trusted=None)).__name__ == "Net"
    assert type(build.model({"name": "my_models.Net", "features": 2}, trusted=("my_models",))).__name__ == "Net"
    with pytest.raises(UsageError, match="say --trust=my_models"):
        build.model({"name": "my_models.Net", "features": 2})
    with pytest.raises(UsageError, match="neither a Linen module nor a function of jaxnets"):
        build.model({"name": "my_models.number"}, trusted=None)
    with pytest.raises(UsageError, match="cannot import nowhere"):
        build.model({"name": "nowhere.Net"}, trusted=None)


def test_options_of_a_function_are_those_of_what_it_returns():
    assert build.model({"name": "attention.gpt2", "context": 7, "dropout": 0.1}, outputs=5).context == 7
    with pytest.raises(UsageError, match="attention.gpt2 has no argument 'contxt'; the nearest is context"):
        build.model({"name": "attention.gpt2", "contxt": 7}, outputs=5)
