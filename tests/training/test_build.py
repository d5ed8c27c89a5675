"""The builder: names and factories at any depth, and restrictions for untrusted configs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from in_process import ready

from jaxnets import convolution, data, recurrent, tasks
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError
from jaxnets.training.settings.forms import Builder
from jaxnets.training.settings.names import FAMILIES, PLACES

TARGETS = data.Classes(("a", "b"))


def model_of(spec, trusted=(), targets=TARGETS):
    return tasks.complete(build.model(spec, trusted), targets)


def test_models_are_specified_by_module_and_name():
    spec = {"name": "recurrent.CharRNN", "cell": "recurrent.gru", "hidden_size": 3}
    model = model_of(spec, targets=data.Vocabulary("abc"))
    assert (model.cell, model.hidden_size, model.vocab_size) == (recurrent.gru, 3, 3)


def test_a_task_completes_partial_models():
    assert tasks.complete(convolution.resnet18, TARGETS).num_classes == 2  # passed through **options
    assert tasks.complete(recurrent.SequenceModel, TARGETS).num_outputs == 2
    model = recurrent.SequenceModel(7)
    assert tasks.complete(model, TARGETS) is model
    with pytest.raises(ValueError, match="`model` must be a Linen module or a function that returns one, got 3"):
        tasks.complete(lambda: 3, TARGETS)
    assert model_of({"name": "recurrent.SequenceModel", "num_outputs": 5}).num_outputs == 5  # the config has priority


def test_a_config_sets_arguments_of_a_cell():
    spec = {"name": "recurrent.SequenceModel", "cell": {"factory": "recurrent.gru", "reset": "after"}, "hidden_size": 3}
    assert model_of(spec).cell(3) is recurrent.gru(3, reset="after")


def test_forms_are_built_at_any_depth():
    builder = Builder(trusted=(), run=lambda given: given["run"])
    value = lambda given: builder.value(given, PLACES)
    assert value([1, ("recurrent.gru", {"a": "x.npz"})]) == [1, (recurrent.gru, {"a": "x.npz"})]
    assert value({"deep": [{"run": "there"}]}) == {"deep": ["there"]}
    assert value({"name": "recurrent.Sequential", "chunk": 4}) == recurrent.Sequential(chunk=4)
    assert float(value({"name": "optax.constant_schedule", "value": 0.5})(0)) == 0.5
    factory = value({"factory": "optax.chain", "args": [{"name": "optax.clip", "max_delta": 1.0}]})
    assert isinstance(factory(optax.sgd(1.0)), optax.GradientTransformation)
    initializer = value({"name": "jax.nn.initializers.normal", "stddev": 0.1})
    assert initializer(jax.random.key(0), (2,)).shape == (2,)
    assert value("jax.nn.relu") is jax.nn.relu
    assert value("recurrent") == "recurrent"


def test_an_optimizer_can_be_any_optax_transformation():
    settings = config.load("digits")
    schedule = {"name": "optax.piecewise_constant_schedule", "init_value": 1.0, "boundaries_and_scales": None}
    clip, sgd = {"name": "optax.clip", "max_delta": 1.0}, {"name": "optax.sgd", "learning_rate": schedule}
    settings.optimizer = {"name": "optax.chain", "args": [clip, sgd]}
    optimizer = build.optimizer(config.complete(settings))
    params = jnp.ones(2)
    updates, _ = optimizer.update(5 * params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates, [-1.0, -1.0])


WRONG_MODELS = {
    "no module": ({"name": "CharRNN"}, "expected where it lives, such as recurrent.CharRNN"),
    "mistyped": ({"name": "recurrent.CharRN"}, "no CharRN in recurrent; the nearest is recurrent.CharRNN"),
    "private": ({"name": "recurrent.functools"}, "no functools in recurrent"),
    "not a model": ({"name": "recurrent.lstm", "hidden_size": 3}, "recurrent.lstm does not make a Linen module"),
    "argument": ({"name": "recurrent.CharRNN", "hiden": 3}, "has no argument 'hiden'; the nearest is hidden"),
    "argument of a cell": (
        {"name": "recurrent.CharRNN", "cell": {"factory": "recurrent.gru", "rest": "after"}},
        "recurrent.gru has no argument 'rest'; the nearest is reset",
    ),
    "argument of a function's class": (
        {"name": "attention.gpt2", "max_seq_ln": 7},
        "gpt2 has no argument 'max_seq_ln'; the n",
    ),
    "missing": ({"name": "recurrent.RNN"}, "recurrent.RNN needs cell"),
    "called too early": (
        {"name": "recurrent.CharRNN", "cell": {"name": "recurrent.gru", "reset": "after"}},
        'recurrent.gru needs hidden_size; {"factory": "recurrent.gru", ...} leaves that to what it is given to',
    ),
    "elsewhere": ({"name": "antigravity.fly"}, "not part of jaxnets; to import antigravity, say --trust=antigravity"),
    "a library's module": ({"name": "optax.jax"}, "no jax in optax"),
    "a library's other module": ({"name": "jax.numpy.load"}, "not part of jaxnets; to import jax, say --trust=jax"),
    "a transformation": ({"name": "optax.adam"}, "optax.adam does not make a Linen module"),
    "a list": ({"name": ["recurrent.CharRNN"]}, "expected where it lives"),
    "a run": ({"run": "there"}, "what makes a Linen module must be a name or have one, got {'run': 'there'}"),
}


@pytest.mark.parametrize("spec, message", WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_invalid_models_are_rejected(spec, message):
    with pytest.raises(UsageError) as caught:
        model_of(spec)
    assert message in str(caught.value)


def settings_of(**changes):
    settings = config.load("digits")
    for section, value in changes.items():
        settings[section] = value
    return config.complete(settings)


FOREIGN = {
    "a program as optimizer": ({"optimizer": {"name": "os.system"}}, "os.system is not part of jaxnets"),
    "a reader as optimizer": ({"optimizer": {"name": "data.digits"}}, "data.digits does not make an optimizer"),
    "a reader in an optimizer": (
        {"optimizer": {"name": "optax.chain", "args": [{"name": "data.digits"}]}},
        "an argument here must be of optimizers, got 'data.digits'",
    ),
    "a program in an optimizer": (
        {"optimizer": {"name": "optax.adam", "learning_rate": {"name": "os.getpid"}}},
        "os.getpid is not part of jaxnets",
    ),
    "an evaluator": ({"evaluators": {"a": {"name": "os.getpid"}}}, "os.getpid is not part of jaxnets"),
    "a reader as evaluator": ({"evaluators": {"a": {"name": "data.digits"}}}, "does not make an evaluator"),
    "a report": ({"reports": {"a": {"factory": "os.getpid"}}}, "os.getpid is not part of jaxnets"),
    "a reader as report": ({"reports": {"a": {"factory": "data.digits"}}}, "an argument here must be of attention, "),
    "a function that is called": (
        {"task": {"name": "tasks.classification", "x": {"name": "recurrent.scan"}}},
        "recurrent.scan makes nothing that a config can name",
    ),
    "an evaluator as report": (
        {"reports": {"a": "evaluators.means"}},
        "evaluators.means must be a function of (variables, splits, key): too many positional arguments",
    ),
    "evaluators that are none": ({"evaluators": {"a": 5}}, "what makes an evaluator must be a name or have one, got 5"),
}


@pytest.mark.parametrize("changes, message", FOREIGN.values(), ids=FOREIGN)
def test_untrusted_configs_call_only_functions_of_the_required_kind(changes, message):
    with pytest.raises(UsageError) as caught:
        settings = settings_of(**changes)
        build.task(settings, build.model(settings.model), data.Classes(tuple("0123456789")))
    assert message in str(caught.value)


def test_a_task_of_several_players_rejects_unsupported_options():
    for flag, option in (
        ("optimizer.frozen=head", "frozen parameters"),
        ("optimizer.plateau_factor=0.5", "an optimizer that"),
    ):
        with pytest.raises(UsageError, match=f"this task does not support {option}"):
            ready(f"--config.{flag}", name="gan")


def test_user_modules_are_imported_only_if_trusted(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from __future__ import annotations\n"
        "from flax import linen\n"
        "class Net(linen.Dense):\n    pass\n"
        "def net(features: int) -> linen.Module:\n    return Net(features)\n"
        "def wrong(features: int) -> linen.Module:\n    return features\n"
        "def silent(features):\n    return Net(features)\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    make = lambda name, trusted: build.model({"name": f"my_models.{name}", "features": 2}, trusted)()
    assert type(make("Net", None)).__name__ == type(make("net", ("my_models",))).__name__ == "Net"
    with pytest.raises(UsageError, match="say --trust=my_models"):
        make("Net", ())
    with pytest.raises(UsageError, match="my_models.number must be something that can be called, got 3"):
        make("number", None)
    with pytest.raises(
        UsageError, match="silent does not make a Linen module; a function must be annotated so: -> Mod"
    ):
        make("silent", None)
    with pytest.raises(UsageError, match="my_models.wrong must make a Linen module, got int"):
        make("wrong", None)
    with pytest.raises(UsageError, match="cannot import nowhere"):
        build.model({"name": "nowhere.Net"}, trusted=None)


def test_places_are_families_and_other_folders():
    assert {*FAMILIES, "data", "tasks", "reports", "optimizers", "evaluators"} == set(PLACES)
