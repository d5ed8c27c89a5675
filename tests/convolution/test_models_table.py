"""docs/models.md: parameters of every model, equal to the published counts, with the work and activations of one image.

    python tests/convolution/test_models_table.py

writes it anew.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxnets import convolution
from jaxnets.training.reporting import flops

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parent.parent.parent / "docs" / "models.md"

# As published, or counted layer by layer: the model, its options, one input, its parameters, its output.
ROWS = [
    ("lenet5", {}, (28, 28, 1), 61_706, (10,)),
    ("lenet5_wide", {}, (32, 32, 3), 1_677_170, (100,)),
    ("alexnet", {}, (224, 224, 3), 61_100_840, (1000,)),
    ("alexnet_2012", {"grouped": False}, (224, 224, 3), 62_378_344, (1000,)),
    ("alexnet_2012", {"grouped": True}, (224, 224, 3), 60_965_224, (1000,)),
    ("vgg11", {}, (224, 224, 3), 132_863_336, (1000,)),
    ("vgg13", {}, (224, 224, 3), 133_047_848, (1000,)),
    ("vgg16", {}, (224, 224, 3), 138_357_544, (1000,)),
    ("vgg19", {}, (224, 224, 3), 143_667_240, (1000,)),
    ("vgg11_bn", {}, (224, 224, 3), 132_868_840, (1000,)),
    ("vgg13_bn", {}, (224, 224, 3), 133_053_736, (1000,)),
    ("vgg16_bn", {}, (224, 224, 3), 138_365_992, (1000,)),
    ("vgg19_bn", {}, (224, 224, 3), 143_678_248, (1000,)),
    ("googlenet", {}, (224, 224, 3), 6_624_904, (1000,)),
    ("googlenet", {"auxiliary": True}, (224, 224, 3), 13_004_888, (1000,)),
    ("googlenet", {"variant": "published"}, (224, 224, 3), 6_998_552, (1000,)),
    ("googlenet", {"variant": "published_bn"}, (224, 224, 3), 7_005_832, (1000,)),
    ("resnet18", {}, (224, 224, 3), 11_689_512, (1000,)),
    ("resnet34", {}, (224, 224, 3), 21_797_672, (1000,)),
    ("resnet50", {}, (224, 224, 3), 25_557_032, (1000,)),
    ("resnet101", {}, (224, 224, 3), 44_549_160, (1000,)),
    ("resnet152", {}, (224, 224, 3), 60_192_808, (1000,)),
    ("resnext50_32x4d", {}, (224, 224, 3), 25_028_904, (1000,)),
    ("resnext101_32x8d", {}, (224, 224, 3), 88_791_336, (1000,)),
    ("wide_resnet50_2", {}, (224, 224, 3), 68_883_240, (1000,)),
    ("wide_resnet101_2", {}, (224, 224, 3), 126_886_696, (1000,)),
    ("cifar_resnet20", {}, (32, 32, 3), 269_722, (10,)),
    ("cifar_resnet32", {}, (32, 32, 3), 464_154, (10,)),
    ("cifar_resnet44", {}, (32, 32, 3), 658_586, (10,)),
    ("cifar_resnet56", {}, (32, 32, 3), 853_018, (10,)),
    ("cifar_resnet110", {}, (32, 32, 3), 1_727_962, (10,)),
    ("wide_resnet16_4", {}, (32, 32, 3), 2_748_890, (10,)),
    ("wide_resnet28_10", {}, (32, 32, 3), 36_479_194, (10,)),
    ("residual_attention56", {}, (224, 224, 3), 31_810_728, (1000,)),
    ("residual_attention92", {}, (224, 224, 3), 52_466_344, (1000,)),
    ("densenet121", {}, (224, 224, 3), 7_978_856, (1000,)),
    ("densenet169", {}, (224, 224, 3), 14_149_480, (1000,)),
    ("densenet201", {}, (224, 224, 3), 20_013_928, (1000,)),
    ("densenet161", {}, (224, 224, 3), 28_681_000, (1000,)),
    ("efficientnet_b0", {}, (224, 224, 3), 5_288_548, (1000,)),
    ("efficientnet_b1", {}, (240, 240, 3), 7_794_184, (1000,)),
    ("efficientnet_b2", {}, (260, 260, 3), 9_109_994, (1000,)),
    ("efficientnet_b3", {}, (300, 300, 3), 12_233_232, (1000,)),
    ("efficientnet_b4", {}, (380, 380, 3), 19_341_616, (1000,)),
    ("efficientnet_b5", {}, (456, 456, 3), 30_389_784, (1000,)),
    ("efficientnet_b6", {}, (528, 528, 3), 43_040_704, (1000,)),
    ("efficientnet_b7", {}, (600, 600, 3), 66_347_960, (1000,)),
    ("convnext_tiny", {}, (224, 224, 3), 28_589_128, (1000,)),
    ("convnext_small", {}, (224, 224, 3), 50_223_688, (1000,)),
    ("convnext_base", {}, (224, 224, 3), 88_591_464, (1000,)),
    ("convnext_large", {}, (224, 224, 3), 197_767_336, (1000,)),
    ("unet", {}, (572, 572, 1), 31_030_658, (388, 388, 2)),
]

HEAD = """# Convolutional models

Made by a test, which compares the parameters with the published counts (or with counts layer by layer, where the paper
has none) and this page with itself. GFLOPs and MiB of activations are those of convolutions and products in a forward
pass of one image; a multiply-add is two operations. Batch statistics are not parameters. Of Residual Attention-92 the
paper says 51.3 M: its authors' own Caffe model, counted layer by layer, has what is written here.

| `jaxnets.convolution` | input | parameters | GFLOPs | MiB | output |
|---|---|--:|--:|--:|---|
"""


def row(name, options, size, expected, output):
    model = getattr(convolution, name)(**options)
    given = jax.ShapeDtypeStruct((1, *size), jnp.float32)
    parts = flops.count(model, given)
    total = [sum(part[i] for part in parts) for i in (1, 2, 3)]
    variables = jax.eval_shape(model.init, jax.random.key(0), given)
    found = jax.eval_shape(model.apply, variables, given)
    assert total[0] == expected
    assert (found.shape, found.dtype) == ((1, *output), jnp.float32)
    call = f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
    sizes = (" x ".join(map(str, shape)) for shape in (size, output))
    into, out = sizes
    return f"| `{call}` | {into} | {total[0]:,} | {total[1] / 1e9:,.2f} | {total[2] / 2**20:,.1f} | {out} |\n"


@pytest.mark.parametrize("case", ROWS, ids=lambda case: "-".join([case[0], *map(str, case[1].values())]))
def test_a_model_has_its_published_parameters_and_its_row(case):
    assert row(*case) in PAGE.read_text()


def test_the_page_has_no_other_rows():
    assert PAGE.read_text().startswith(HEAD)
    assert len(PAGE.read_text().splitlines()) == len(HEAD.splitlines()) + len(ROWS)


if __name__ == "__main__":
    PAGE.write_text(HEAD + "".join(row(*case) for case in ROWS))
