"""Builder: names and factories at any depth, and functions that an untrusted config must not call."""

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
from jaxnets.training.settings.names import FAMILIES, NAMESPACES

ONE = data.Classes(("a", "b"))


def model_of(spec, trusted=(), targets=ONE):
    return tasks.complete(build.model(spec, trusted), targets)


def test_model_is_built_from_its_name():
    spec = {"name": "recurrent.CharRNN", "cell": "recurrent.gru", "hidden_size": 3}
    model = model_of(spec, targets=data.Vocabulary("abc"))
    assert (model.cell, model.hidden_size, model.vocab_size) == (recurrent.gru, 3, 3)


def test_task_completes_a_model_factory():
    assert tasks.complete(convolution.resnet18, ONE).num_classes == 2  # passed through **options
    assert tasks.complete(recurrent.SequenceModel, ONE).num_outputs == 2
    finished = recurrent.SequenceModel(7)
    assert tasks.complete(finished, ONE) is finished
    with pytest.raises(ValueError, match="`model` must be a Linen module or a function that returns one, got 3"):
        tasks.complete(lambda: 3, ONE)
    assert (
        model_of({"name": "recurrent.SequenceModel", "num_outputs": 5}).num_outputs == 5
    )  # the config takes precedence


def test_cell_has_the_arguments_of_the_config():
    spec = {"name": "recurrent.SequenceModel", "cell": {"factory": "recurrent.gru", "reset": "after"}, "hidden_size": 3}
    assert model_of(spec).cell(3) is recurrent.gru(3, reset="after")


def test_forms_are_built_at_any_depth():
    builder = Builder(trusted=(), run=lambda given: given["run"])
    value = lambda given: builder.value(given, NAMESPACES)
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


def test_optimizer_is_any_optax_transformation():
    settings = config.load("digits")
    schedule = {"name": "optax.piecewise_constant_schedule", "init_value": 1.0, "boundaries_and_scales": None}
    clip, sgd = {"name": "optax.clip", "max_delta": 1.0}, {"name": "optax.sgd", "learning_rate": schedule}
    settings.optimizer = {"name": "optax.chain", "args": [clip, sgd]}
    optimizer = build.optimizer(config.complete(settings))
    params = jnp.ones(2)
    updates, _ = optimizer.update(5 * params, optimizer.init(params), params)
    np.testing.assert_array_equal(updates, [-1.0, -1.0])


WRONG_MODELS = {
    "no module": ({"name": "CharRNN"}, "a name must include its module, such as recurrent.CharRNN or "),
    "mistyped": ({"name": "recurrent.CharRN"}, "no CharRN in recurrent; the nearest is recurrent.CharRNN"),
    "private": ({"name": "recurrent.functools"}, "no functools in recurrent"),
    "not a model": ({"name": "recurrent.lstm", "hidden_size": 3}, "recurrent.lstm must return a Linen module"),
    "argument": (
        {"name": "recurrent.CharRNN", "hiden_size": 3},
        "no argument 'hiden_size'; the nearest is hidden_size",
    ),
    "argument of a cell": (
        {"name": "recurrent.CharRNN", "cell": {"factory": "recurrent.gru", "rest": "after"}},
        "recurrent.gru has no argument 'rest'; the nearest is reset",
    ),
    "argument of a function's class": ({"name": "attention.gpt2", "max_seq_ln": 7}, "the nearest is max_seq_len"),
    "missing": ({"name": "recurrent.RNN"}, "recurrent.RNN needs cell"),
    "called too early": (
        {"name": "recurrent.CharRNN", "cell": {"name": "recurrent.gru", "reset": "after"}},
        'recurrent.gru needs hidden_size; use {"factory": "recurrent.gru", ...} for a function that',
    ),
    "elsewhere": ({"name": "antigravity.fly"}, "antigravity.fly is not part of jaxnets; use --trust=antigravity to"),
    "module in a library": ({"name": "optax.jax"}, "no jax in optax"),
    "another module of a library": ({"name": "jax.numpy.load"}, "not part of jaxnets; use --trust=jax to import jax"),
    "optimizer": ({"name": "optax.adam"}, "optax.adam must return a Linen module"),
    "list": ({"name": ["recurrent.CharRNN"]}, "a name must include its module"),
    "run": ({"run": "a"}, "the setting of a Linen module must be a name or a dict with a name, got {'run': 'a'}"),
}


@pytest.mark.parametrize("spec, message", WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_wrong_models_are_rejected(spec, message):
    with pytest.raises(UsageError) as caught:
        model_of(spec)
    assert message in str(caught.value)


def settings_of(**changes):
    settings = config.load("digits")
    for section, value in changes.items():
        settings[section] = value
    return config.complete(settings)


FOREIGN = {
    "system call as optimizer": ({"optimizer": {"name": "os.system"}}, "os.system is not part of jaxnets"),
    "reader as optimizer": ({"optimizer": {"name": "data.digits"}}, "data.digits must return an optimizer"),
    "reader in an optimizer": (
        {"optimizer": {"name": "optax.chain", "args": [{"name": "data.digits"}]}},
        "an argument here must be from optimizers, got 'data.digits'",
    ),
    "system call in an optimizer": (
        {"optimizer": {"name": "optax.adam", "learning_rate": {"name": "os.getpid"}}},
        "os.getpid is not part of jaxnets",
    ),
    "system call as evaluator": ({"evaluators": {"a": {"name": "os.getpid"}}}, "os.getpid is not part of jaxnets"),
    "reader as evaluator": ({"evaluators": {"a": {"name": "data.digits"}}}, "must return an evaluator"),
    "system call as report": ({"reports": {"a": {"factory": "os.getpid"}}}, "os.getpid is not part of jaxnets"),
    "reader as report": ({"reports": {"a": {"factory": "data.digits"}}}, "an argument here must be from attention, "),
    "function without annotation": (
        {"task": {"name": "tasks.classification", "x": {"name": "recurrent.scan"}}},
        "recurrent.scan must be annotated to return a class of jaxnets, flax or optax",
    ),
    "evaluator as report": (
        {"reports": {"a": "evaluators.means"}},
        "evaluators.means must be a function of (variables, splits, key): too many positional arguments",
    ),
    "number as evaluator": (
        {"evaluators": {"a": 5}},
        "the setting of an evaluator must be a name or a dict with a name, got 5",
    ),
}


@pytest.mark.parametrize("changes, message", FOREIGN.values(), ids=FOREIGN)
def test_untrusted_config_calls_only_functions_of_the_right_kind(changes, message):
    with pytest.raises(UsageError) as caught:
        settings = settings_of(**changes)
        build.task(settings, build.model(settings.model), data.Classes(tuple("0123456789")))
    assert message in str(caught.value)


def test_task_of_several_players_rejects_unsupported_settings():
    for flag, message in (
        ("optimizer.frozen=head", "frozen parameters"),
        ("optimizer.plateau_factor=0.5", "an optimizer that"),
    ):
        with pytest.raises(UsageError, match=f"this task does not support {message}"):
            ready(f"--config.{flag}", name="gan")


def test_user_module_is_imported_only_if_trusted(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from __future__ import annotations\n"
        "from flax import linen\n"
        "class Net(linen.Dense):\n    pass\n"
        "def net(features: int) -> linen.Module:\n    return Net(features)\n"
        "def wrong(features: int) -> linen.Module:\n    return features\n"
        "def unannotated(features):\n    return Net(features)\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    make = lambda name, trusted: build.model({"name": f"my_models.{name}", "features": 2}, trusted)()
    assert type(make("Net", None)).__name__ == type(make("net", ("my_models",))).__name__ == "Net"
    with pytest.raises(UsageError, match="use --trust=my_models"):
        make("Net", ())
    with pytest.raises(UsageError, match="my_models.number must be callable, got 3"):
        make("number", None)
    with pytest.raises(
        UsageError, match="unannotated must return a Linen module; a function must have the annotation -> Mod"
    ):
        make("unannotated", None)
    with pytest.raises(UsageError, match="my_models.wrong must return a Linen module, got int"):
        make("wrong", None)
    with pytest.raises(UsageError, match="cannot import nowhere"):
        build.model({"name": "nowhere.Net"}, trusted=None)


def test_every_family_has_a_namespace():
    assert {*FAMILIES, "data", "tasks", "reports", "optimizers", "evaluators"} == set(NAMESPACES)
