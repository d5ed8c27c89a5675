"""State dicts with wrapper names, in checkpoints and with prefixes, and errors about invalid ones."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import convolution, weights
from jaxnets.convolution.models.efficientnet import STAGES
from jaxnets.weights.check import MAX_LISTED, listed

GOLDEN = np.load(Path(__file__).parent.parent / "reference" / "recurrent_options.npz")
CELL = "torch/lstm_cell/bias/weight/"
LSTM = {f"{name.removeprefix(CELL)}_l0": GOLDEN[name] for name in GOLDEN.files if name.startswith(CELL)}
OPTIMIZER = {"state": {0: {"step": np.float32(3), "exp_avg": np.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def variables_of(model):
    """Variables with a different constant in each array."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    leaves, tree = jax.tree.flatten(shapes)
    filled = [np.full(leaf.shape, i, np.float32) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, filled)


RESNET = convolution.ResNet((1,), num_classes=2)
VARIABLES = variables_of(RESNET)
STATE = weights.to_torchvision(VARIABLES, RESNET)

# Functions from a state dict to an equivalent object.
FORMS = {
    "DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "torch.compile": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "DataParallel of torch.compile": lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
    "torch.compile of DataParallel": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "FSDP": lambda state: {f"_fsdp_wrapped_module.{name}": value for name, value in state.items()},
    "AveragedModel": lambda state: {
        "n_averaged": np.int64(7),
        **{f"module.{name}": value for name, value in state.items()},
    },
    "wrapped submodule": lambda state: {
        name.replace("layer1.", "layer1.module."): value for name, value in state.items()
    },
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "best": np.float64(0.5), "arch": "resnet18"},
    "model": lambda state: {"model": state, "optimizer": OPTIMIZER, "lr_scheduler": {"base_lrs": [0.1]}, "args": None},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": OPTIMIZER},
    "Lightning": lambda state: {"state_dict": FORMS["DataParallel"](state), "hyper_parameters": {"lr": 0.1}},
    "without counters": lambda state: {name: value for name, value in state.items() if "tracked" not in name},
    "lists": lambda state: {name: value.tolist() for name, value in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_equivalent_forms_give_equal_weights(form):
    variables = weights.from_torchvision(FORMS[form](STATE), RESNET)
    jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)
    expected = weights.from_torch(LSTM)
    jax.tree.map(np.testing.assert_array_equal, weights.from_torch(FORMS[form](LSTM)), expected)


@pytest.mark.parametrize("form", ["DataParallel", "DataParallel of torch.compile", "AveragedModel"])
def test_files_of_equivalent_forms_give_equal_weights(form, tmp_path):
    weights.write(tmp_path / "w", FORMS[form](STATE))
    jax.tree.map(np.testing.assert_array_equal, weights.from_torchvision(tmp_path / "w", RESNET), VARIABLES)


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_prefix_selects_a_submodule(wrapper, prefix):
    state = {f"{wrapper}backbone.{name}": value for name, value in {**STATE, **LSTM}.items()}
    del state[f"{wrapper}backbone.fc.bias"]
    state |= {f"{wrapper}head.weight": np.ones(2), f"{wrapper}backbone.fc.bias": STATE["fc.bias"]}
    select = lambda names: {name: value for name, value in state.items() if re.sub(".*backbone.", "", name) in names}
    variables = weights.from_torchvision(select({*STATE, "head.weight"}), RESNET, prefix=prefix)
    jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)
    jax.tree.map(np.testing.assert_array_equal, weights.from_torch(select(LSTM), prefix), weights.from_torch(LSTM))


@pytest.mark.parametrize("convert", [weights.from_torch, lambda state: weights.from_torchvision(state, RESNET)])
@pytest.mark.parametrize("prefixes", [["encoder.rnn."], ["teacher.", "student."]])
def test_the_error_suggests_a_missing_prefix(prefixes, convert):
    state = {f"{prefix}{name}": value for prefix in prefixes for name, value in {**STATE, **LSTM}.items()}
    with pytest.raises(ValueError, match=" or ".join(f"prefix='{prefix}'" for prefix in prefixes)):
        convert(state)


def test_former_names_of_densenet_are_accepted():
    model = convolution.DenseNet((2, 1), growth_rate=4, width=8, num_classes=2)
    variables = variables_of(model)
    state = weights.to_torchvision(variables, model)
    published = {re.sub(r"(denselayer\d\.(?:norm|conv))(\d)", r"\1.\2", name): value for name, value in state.items()}
    assert "features.denseblock1.denselayer2.norm.2.running_mean" in published
    assert len(published.keys() - state.keys()) == 3 * (6 * 2)
    jax.tree.map(np.testing.assert_array_equal, weights.from_torchvision(published, model), variables)
    with pytest.raises(ValueError, match=r"layer1\.norm\.1\.\w+ and .*layer1\.norm1\.\w+ are both named"):
        weights.from_torchvision({**published, **state}, model)


def test_auxiliary_heads_are_ignored_if_the_model_has_none():
    model = convolution.googlenet(num_classes=2, auxiliary=True)
    variables = variables_of(model)
    state = weights.to_torchvision(variables, model)
    plain = weights.from_torchvision(state, model.clone(auxiliary=False))
    for collection, modules in plain.items():
        assert not any("auxiliary" in name for name in modules)
        for name, module in modules.items():
            jax.tree.map(np.testing.assert_array_equal, module, variables[collection][name])


def test_models_with_other_attributes_than_torchvision_are_rejected():
    stages = [stage._replace(layers=1) for stage in STAGES]
    stages[0] = stages[1]  # the first stage of torchvision has no expansion
    model = convolution.efficientnet_b0(stages=tuple(stages), num_classes=2)
    with pytest.raises(
        ValueError, match=r"no EfficientNet with these attributes: several .* features\.1\.0\.block\.0\.0"
    ):
        weights.to_torchvision(variables_of(model), model)


class Module:
    """A substitute for a torch module."""

    def state_dict(self):
        return LSTM

    def parameters(self):
        return LSTM.values()


WRONG = {
    "module": (Module(), "got Module; pass its state_dict()"),
    "checkpoint with a module": ({"model": Module(), "epoch": 3}, "pass state_dict() of checkpoint['model']"),
    "two state dicts": (
        {"model": LSTM, "model_ema": LSTM},
        "got a dict with 'model', 'model_ema'; pass one of its entries",
    ),
    "state dict and array": (
        {"state_dict": LSTM, "mean": np.ones(3)},
        "got a dict with 'state_dict', 'mean'; pass one",
    ),
    "name clash": (
        {**LSTM, "module.bias_ih_l0": np.ones(12)},
        "bias_ih_l0 and module.bias_ih_l0 are both named bias_ih_l0",
    ),
    "integer keys": ({0: np.ones(3)}, "keys of `state_dict` must be strings, got 0"),
    "extra layer": (
        {**LSTM, "out_layer.weight": np.ones((2, 5)), "out_layer.bias": np.ones(2)},
        "weights of torch: extra out_layer.bias (2,); extra out_layer.weight (2, 5)",
    ),
    "objects": ({**LSTM, "_extra_state": b"x"}, "extra _extra_state (bytes)"),
    "large layer index": ({**LSTM, "weight_ih_l99999999": np.ones((12, 3))}, "extra weight_ih_l99999999 (12, 3)"),
    "one bias": ({n: v for n, v in LSTM.items() if n != "bias_ih_l0"}, "missing bias_ih_l0 (12,)"),
    "one direction": ({**LSTM, "weight_ih_l0_reverse": LSTM["weight_ih_l0"]}, "missing bias_hh_l0_reverse (12,)"),
    "vectors": ({name: value.reshape(-1) for name, value in LSTM.items()}, "must be matrices, got weight_ih_l0 (36,)"),
    "strings": (dict.fromkeys(LSTM, "x"), "must be matrices, got weight_ih_l0 ()"),
    "rows": (
        {n: v[:7] for n, v in LSTM.items()},
        "the rows of weight_ih_l0 must be H for an RNN, 3 H for a GRU, 4 H for an LSTM, got 7 for 3 hidden units",
    ),
    "projected GRU": (
        {"weight_ih_l0": np.ones((9, 3)), "weight_hh_l0": np.ones((9, 2)), "weight_hr_l0": np.ones((2, 3))},
        "the rows of weight_ih_l0 must be 4 H for an LSTM with proj_size, got 9 for 3 hidden units",
    ),
    "weight norm": (
        {
            **{n: v for n, v in LSTM.items() if n != "weight_hh_l0"},
            "parametrizations.weight_hh_l0.original0": np.ones(1),
        },
        "remove the weight normalization or other parametrization that has parametrizations.weight_hh_l0.original0",
    ),
}


@pytest.mark.parametrize("state, message", WRONG.values(), ids=WRONG)
def test_invalid_state_dicts_are_rejected(state, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        weights.from_torch(state)


def test_a_prefix_that_is_not_a_string_is_rejected():
    with pytest.raises(ValueError, match="`prefix` must be a string, such as .* got None"):
        weights.from_torch(LSTM, prefix=None)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match="`variables` must be a nested dict of arrays, got NoneType"):
        weights.to_torchvision(None, RESNET)
    with pytest.raises(ValueError, match=r"`images` must be a shape \[B, H, W, C\], .* got 224"):
        weights.from_torchvision(STATE, RESNET, image_shape=224)


def test_a_builder_instead_of_a_model_is_rejected():
    with pytest.raises(
        ValueError, match=r"`model` must be a Linen module, such as convolution.resnet18\(\), got resnet18"
    ):
        weights.from_torchvision(STATE, convolution.resnet18)


@pytest.mark.parametrize("count", [0, 1, MAX_LISTED, MAX_LISTED + 1, 322])
def test_lists_show_at_most_ten_items(count):
    text = listed(map(str, range(count)))
    assert len(re.findall(r"\d+", text.partition("... and")[0])) == min(count, 10)
    assert text.partition("... and ")[2] == (f"{count - 10} more" if count > 10 else "")


@pytest.mark.parametrize(
    "convert",
    [
        lambda many: weights.from_torch(many),
        lambda many: weights.from_torch({**LSTM, **many}),
        lambda many: weights.from_torchvision(many, RESNET),
        lambda many: weights.from_torchvision({**STATE, **many}, RESNET),
        lambda many: weights.from_keras([many]),
        lambda many: weights.to_torch(many),
        lambda many: weights.to_torch({"layer_0": {"cell": many}}),
        lambda many: weights.to_torchvision({"params": many}, RESNET),
        lambda many: weights.from_torch(dict.fromkeys(many, LSTM)),
        lambda many: weights.from_torch(dict.fromkeys(range(300), 1.0)),
    ],
)
def test_messages_list_ten_keys_and_a_count(convert):
    with pytest.raises(ValueError, match=r"\.\.\. and \d+ more") as error:
        convert({f"odd_{i}": np.ones(3, np.float32) for i in range(300)})
    assert len(str(error.value)) < 1500
    assert len(set(re.findall(r"\bodd_\d+|(?<=got )0|(?<=, )[1-9]\b", str(error.value)))) <= 10
    total = int(re.search(r"\.\.\. and (\d+) more", str(error.value))[1])
    assert total >= 290
