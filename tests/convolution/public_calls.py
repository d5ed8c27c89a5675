"""Small instances of all public names of ``jaxnets.convolution``, with input shapes."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import convolution as c
from jaxnets.data import augmentation

# name: a small instance, and the shape of an input without the batch axis.
MODELS = {
    "AlexNet": (c.AlexNet(3, published=True, grouped=True, dense_features=4), (63, 63, 2)),
    "CifarResNet": (c.CifarResNet(8, 3, width=2), (5, 4, 2)),
    "ConvHighwayNetwork": (c.ConvHighwayNetwork((2, 3), 1, 3), (4, 5, 2)),
    "ConvNeXt": (c.ConvNeXt((1, 1), (2, 4), 3, 0.5), (9, 8, 2)),
    "DenseNet": (c.DenseNet((1, 1), 2, 4, 3, dropout=0.5), (9, 8, 2)),
    "EfficientNet": (c.EfficientNet(stages=c.models.efficientnet.STAGES[:2], num_classes=3), (5, 4, 2)),
    "GoogLeNet": (c.GoogLeNet(3, auxiliary=True), (15, 16, 2)),
    "HighwayNetwork": (c.HighwayNetwork(2, 4, 3), (4, 5, 2)),
    "LeNet5": (c.LeNet5(3, (2, 3), dense_features=(4,)), (12, 13, 2)),
    "ResidualAttentionNetwork": (c.ResidualAttentionNetwork((1, 0, 0), 3, 4), (31, 32, 2)),
    "ResNet": (c.ResNet((1, 1), 3), (5, 4, 2)),
    "SeriesCNN": (c.SeriesCNN(3, (4, 4), (3, 3)), (5, 2)),
    "TCN": (c.TCN(3, 4, 2), (5, 2)),
    "UNet": (c.UNet(3, 2, 2, "same", batch_norm=True), (5, 4, 2)),
    "VGG": (c.VGG((1, 1, 1, 1, 1), 3, batch_norm=True, dense_features=4), (32, 33, 2)),
    "WideResNet": (c.WideResNet(10, 1, 3, dropout=0.3), (5, 4, 2)),
}
BLOCKS = {
    "AttentionModule": (c.AttentionModule(1), (5, 4, 4)),
    "BatchNorm": (c.BatchNorm(), (5, 4, 2)),
    "Bottleneck": (c.Bottleneck(4, 2, 2), (5, 4, 2)),
    "Conv": (c.Conv(3, (3, 3)), (5, 4, 2)),
    "ConvHighwayLayer": (c.ConvHighwayLayer(), (5, 4, 2)),
    "ConvNeXtBlock": (c.ConvNeXtBlock(0.5), (5, 4, 2)),
    "ConvNorm": (c.ConvNorm(3, 3, 2), (5, 4, 2)),
    "ConvTranspose": (c.ConvTranspose(3), (5, 4, 2)),
    "DenseLayer": (c.DenseLayer(2, dropout=0.5), (5, 4, 2)),
    "HighwayLayer": (c.HighwayLayer(), (4,)),
    "Inception": (c.Inception((2, 2, 2, 2, 2, 2)), (5, 4, 2)),
    "MBConv": (c.MBConv(2, rate=0.5), (5, 4, 2)),
    "ResidualBlock": (c.ResidualBlock(3, 2), (5, 4, 2)),
    "SqueezeExcite": (c.SqueezeExcite(2), (5, 4, 2)),
    "StochasticDepth": (c.StochasticDepth(0.5), (5, 4, 2)),
    "TemporalBlock": (c.TemporalBlock(3, dropout=0.5), (5, 2)),
    "Transition": (c.Transition(2), (5, 4, 2)),
}
KERNEL = jnp.ones((3, 3, 2, 3))
DEPTHWISE = jnp.ones((3, 3, 1, 2))


def convolve(x: jax.Array) -> jax.Array:
    """Computes a dense, a 1 x 1 and a depthwise convolution, which use different algorithms on a CPU."""
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "rhs_dilation": (1, 1)}
    dense = lambda kernel: c.convolve(x, kernel.astype(x.dtype), (1, 1), "SAME", **options)
    depthwise = c.convolve(x, DEPTHWISE.astype(x.dtype), (1, 1), "SAME", feature_group_count=2, **options)
    return jnp.concatenate([dense(KERNEL), dense(KERNEL[1:2, 1:2]), depthwise], axis=-1)


# name: a function of one array, and the shape of the array without the batch axis.
FUNCTIONS = {
    "adaptive_average_pool": (lambda x: c.adaptive_average_pool(x, 3), (5, 4, 2)),
    "attention_gate": (lambda x: c.attention_gate(x, x), (5, 4, 2)),
    "convolve": (convolve, (5, 4, 2)),
    "highway_gate": (lambda x: c.highway_gate(x, x, x), (5, 4, 2)),
    "local_response_norm": (lambda x: c.local_response_norm(x), (5, 4, 2)),
    "max_pool": (lambda x: c.max_pool(x, 3, 2, 1, ceil=True), (5, 4, 2)),
    "stochastic_depth": (lambda x: c.stochastic_depth(jax.random.key(0), x, 0.5), (5, 4, 2)),
    "transposed_convolve": (lambda x: c.transposed_convolve(x, jnp.ones((4, 4, x.shape[-1], 3), x.dtype)), (5, 4, 2)),
}
KEY = jax.random.key(0)
IMAGES = (5, 4, 2)
AUGMENTATIONS = {
    "cutout": (lambda x: augmentation.cutout(KEY, x, 2), IMAGES),
    "mixup": (lambda x: augmentation.mixup(KEY, x, jnp.zeros((len(x), 2), x.dtype), 1.0)[0], IMAGES),
    "random_crop": (lambda x: augmentation.random_crop(KEY, x, 1), IMAGES),
    "random_crop, reflected": (lambda x: augmentation.random_crop(KEY, x, 1, "reflect"), IMAGES),
    "random_horizontal_flip": (lambda x: augmentation.random_horizontal_flip(KEY, x), IMAGES),
    "random_resized_crop": (lambda x: augmentation.random_resized_crop(KEY, x), IMAGES),
    "random_rotation": (lambda x: augmentation.random_rotation(KEY, x, 10.0), IMAGES),
    "rotate": (lambda x: augmentation.rotate(x, jnp.ones(len(x), jnp.int32)), IMAGES),
}
# Builders of the models in MODELS.
BUILDERS = sorted(name for name in c.__all__ if name not in {*MODELS, *BLOCKS, *FUNCTIONS, "receptive_field"})


def train(name: str):
    """Returns a module and its ``apply`` in training mode, ``(variables, x) -> (result, updated statistics)``."""
    module = {**MODELS, **BLOCKS}[name][0]
    options = {"train": True} if "train" in _arguments(module) else {}

    def apply(variables, x):
        return module.apply(variables, x, **options, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})

    return module, apply


def _arguments(module) -> tuple[str, ...]:
    return type(module).__call__.__wrapped__.__code__.co_varnames


def variables_of(module, *shape: int):
    """Returns random variables, with scales and variances of at least 1. NumPy avoids compilation."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        sample = (0.3 * rng.normal(size=leaf.shape)).astype(leaf.dtype)
        return jnp.asarray(1 + abs(sample) if path[-1].key in ("scale", "var") else sample)

    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(module.init, jax.random.key(0), images))
