"""Names of modules in torchvision, by class of model. torchvision counts from 0, jaxnets from 1."""

import re
from collections.abc import Callable
from typing import Any

from jaxnets.weights.mapping import Rules, minus_one


def vgg(model: Any) -> Rules:
    """Returns the rules of a VGG, whose layer indices depend on the depth: they count poolings and activations too."""
    names: Rules = []
    index = 0
    for stage, num_layers in enumerate(model.convolutions, 1):
        for layer in range(1, num_layers + 1):
            names.append((f"^conv_{stage}_{layer}$", f"features.{index}"))
            names.append((f"^norm_{stage}_{layer}$", f"features.{index + 1}"))
            index += 3 if model.batch_norm else 2
        index += 1
    return [*names, ("^dense_1$", "classifier.0"), ("^dense_2$", "classifier.3"), ("^head$", "classifier.6")]


def require_same_form(model: Any, is_same: bool, rules: Rules) -> Rules:
    """Returns the rules if torchvision has a model of this form, and raises a ``ValueError`` otherwise."""
    if not is_same:
        raise ValueError(f"torchvision has no {type(model).__name__} with these attributes")
    return rules


NAMES: dict[str, Callable[[Any], Rules]] = {
    "AlexNet": lambda model: require_same_form(
        model,
        not model.published and not model.grouped,
        [
            ("^conv_1$", "features.0"),
            ("^conv_2$", "features.3"),
            ("^conv_3$", "features.6"),
            ("^conv_4$", "features.8"),
            ("^conv_5$", "features.10"),
            ("^dense_1$", "classifier.1"),
            ("^dense_2$", "classifier.4"),
            ("^head$", "classifier.6"),
        ],
    ),
    "ConvNeXt": lambda _: [
        ("^stem$", "features/0/0"),
        ("^stem_norm$", "features/0/1"),
        ("^norm$", "classifier/0"),
        ("^head$", "classifier/2"),
        (r"_block_(\d+)", minus_one("/{0}")),
        ("/depthwise$", "/block/0"),
        ("/norm$", "/block/2"),
        ("/expand$", "/block/3"),
        ("/project$", "/block/5"),
        # Stages have odd indices, and the downsampling layers before them have even ones.
        (r"^stage_(\d+)_norm$", lambda match: f"features/{2 * int(match[1]) - 2}/0"),
        (r"^stage_(\d+)_downsample$", lambda match: f"features/{2 * int(match[1]) - 2}/1"),
        (r"^stage_(\d+)/", lambda match: f"features/{2 * int(match[1]) - 1}/"),
    ],
    "DenseNet": lambda _: [
        ("^stem/conv$", "features/conv0"),
        ("^stem/norm$", "features/norm0"),
        (r"^block_(\d+)_layer_(\d+)/(norm|conv)_(\d)$", r"features/denseblock\1/denselayer\2/\3\4"),
        (r"^transition_(\d+)/", r"features/transition\1/"),
        ("^norm$", "features/norm5"),
        ("^head$", "classifier"),
    ],
    "EfficientNet": lambda model: require_same_form(
        model,
        len(model.stages) == 7,
        [
            ("^stem/", "features/0/"),
            ("^last/", "features/8/"),
            ("^head$", "classifier/1"),
            # Blocks of the first stage have no "expand".
            (r"^(stage_1_block_\d+)/depthwise/", r"\1/block/0/"),
            (r"^(stage_1_block_\d+)/squeeze_excite/", r"\1/block/1/"),
            (r"^(stage_1_block_\d+)/project/", r"\1/block/2/"),
            ("/expand/", "/block/0/"),
            ("/depthwise/", "/block/1/"),
            ("/squeeze_excite/", "/block/2/"),
            ("/project/", "/block/3/"),
            (r"_block_(\d+)", minus_one("/{0}")),
            ("^stage_", "features/"),
            ("/conv$", "/0"),
            ("/norm$", "/1"),
            ("/squeeze$", "/fc1"),
            ("/excite$", "/fc2"),
        ],
    ),
    "GoogLeNet": lambda model: require_same_form(
        model,
        model.variant == "torchvision",
        [
            (r"^auxiliary_(\d)/", r"aux\1/"),
            ("^inception_", "inception"),
            ("/conv_1x1/", "/branch1/"),
            ("/reduce_3x3/", "/branch2/0/"),
            ("/conv_3x3/", "/branch2/1/"),
            ("/reduce_5x5/", "/branch3/0/"),
            ("/conv_5x5/", "/branch3/1/"),
            ("/pool_projection/", "/branch4/1/"),
            (r"^conv_(\d)/", r"conv\1/"),
            ("/norm$", "/bn"),
            ("/dense$", "/fc1"),
            (r"^(aux\d)/head$", r"\1/fc2"),
            ("^head$", "fc"),
        ],
    ),
    "ResNet": lambda _: [
        ("^stem/conv$", "conv1"),
        ("^stem/norm$", "bn1"),
        ("^head$", "fc"),
        (r"_block_(\d+)", minus_one(".{0}")),
        ("^stage_", "layer"),
        (r"/conv_(\d)/conv$", r".conv\1"),
        (r"/conv_(\d)/norm$", r".bn\1"),
        ("/shortcut/conv$", ".downsample.0"),
        ("/shortcut/norm$", ".downsample.1"),
    ],
    "VGG": vgg,
}

# Former names, which the loaders of torchvision rewrite: published DenseNet weights have another dot in some names.
FORMER_NAMES = {"DenseNet": (r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1")}


def current_name(kind: str, name: str) -> str:
    """Returns the current torchvision name of a parameter of a model of class ``kind``."""
    return re.sub(*FORMER_NAMES[kind], name) if kind in FORMER_NAMES else name


def is_unused(model: Any, name: str) -> bool:
    """Returns whether the model ignores the parameter: that of an auxiliary head, if the model has none."""
    return type(model).__name__ == "GoogLeNet" and not model.auxiliary and bool(re.match(r"aux[12]\.", name))
