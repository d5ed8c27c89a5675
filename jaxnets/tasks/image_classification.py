"""Image classification with standardization and augmentation on the device."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxnets.data import augmentation
from jaxnets.data.targets import Classes
from jaxnets.learning import MakeLearner
from jaxnets.ops.checks import check_number, check_probability
from jaxnets.ops.embedding import one_hot
from jaxnets.reports import figures
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.supervised import supervised
from jaxnets.tasks.task import Task


def image_classification(
    model: Model,
    spec: Classes,
    make_learner: MakeLearner,
    *,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
    crop: int = 0,
    scale: float = 1.0,
    flip: bool = False,
    rotation: float = 0.0,
    cutout: int = 0,
    mixup: float = 0.0,
    label_smoothing: float = 0.0,
) -> Task:
    r"""Returns the task of a model with logits ``[B, C]`` for images; the loss is the mean cross entropy, in nats.

    A batch has uint8 ``inputs`` ``[B, H, W, channels]``, and the model input is ``(inputs / 255 - mean) / std``. In
    training, each example is augmented at random in every step. Augmentations are applied in the order of the
    arguments. Metrics are ``accuracy``, and ``top_5_accuracy`` for more than 5 classes.

    Args:
        model: ``(inputs, train=) -> logits``.
        spec: The classes.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        mean, std: One number for all channels, or one for each channel, for pixels in [0, 1].
        crop: Pixels of zero padding on each side before a random crop to the original size.
        scale: Minimum fraction of the area for a random crop that is resized to the original size; 1 disables it.
        flip: Mirrors images horizontally with probability 0.5.
        rotation: Maximum angle of a random rotation, in degrees.
        cutout: Side of a square to erase, in pixels (DeVries and Taylor 2017, arXiv:1708.04552).
        mixup: :math:`\alpha` of the Beta distribution of mixing weights (Zhang et al. 2018, arXiv:1710.09412).
        label_smoothing: :math:`\epsilon`; a target is :math:`1 - \epsilon` of its class plus :math:`\epsilon / C` of
            every class (Szegedy et al. 2016, arXiv:1512.00567).

    Raises:
        ValueError: If an argument is out of range, or does not match the images.
    """
    check_spec("tasks.image_classification", spec, Classes)
    model, classes = complete(model, spec), spec
    for name, value in {"crop": crop, "rotation": rotation, "cutout": cutout, "mixup": mixup}.items():
        check_number(name, value)
    if min(std, default=1) <= 0:  # their number is checked against the images
        raise ValueError(f"`std` must be positive, got {tuple(std)}")
    if not 0 < scale <= 1:
        raise ValueError(f"`scale` must be above 0 and at most 1, got {scale}")
    check_probability("label_smoothing", label_smoothing)
    soft = bool(mixup or label_smoothing)

    def preprocess(batch, key):
        images = _standardized(batch["inputs"], mean, std)
        if key is None:
            return {**batch, "inputs": images}
        targets = batch["targets"]
        crop_key, resize_key, flip_key, rotation_key, cutout_key, mixup_key = jax.random.split(key, 6)
        if crop:
            images = augmentation.random_crop(crop_key, images, crop)
        if scale < 1:
            images = augmentation.random_resized_crop(resize_key, images, (scale, 1.0))
        if flip:
            images = augmentation.random_horizontal_flip(flip_key, images)
        if rotation:
            images = augmentation.random_rotation(rotation_key, images, rotation)
        if cutout:
            images = augmentation.cutout(cutout_key, images, cutout)
        if soft:
            targets = optax.smooth_labels(one_hot(targets, classes.size, name="targets"), label_smoothing)
        if mixup:
            images, targets = augmentation.mixup(mixup_key, images, targets, mixup)
        return {**batch, "inputs": images, "targets": targets}

    def metrics(logits, targets):
        if logits.shape != (len(targets), classes.size):
            raise ValueError(
                f"the logits of the model must have the shape ({len(targets)}, {classes.size}), got {logits.shape}"
            )
        if jnp.issubdtype(targets.dtype, jnp.floating):
            return {"loss": optax.softmax_cross_entropy(logits, targets)}
        nats = cross_entropy(logits, targets)
        values = {"loss": nats, "accuracy": is_correct(logits, targets)}
        if classes.size > 5:
            best = jax.lax.top_k(logits, 5)[1]
            values["top_5_accuracy"] = jnp.any(best == targets[:, None], axis=-1)
        return values

    def draw(logits, batch):
        predicted = np.argmax(logits, axis=-1)
        return {
            "confusion": figures.confusion_matrix(batch["targets"], predicted, batch["mask"], classes.names),
            "mistakes": figures.mistakes(logits, batch, classes.names),
        }

    def filters(variables, batch, logits):
        images = preprocess({**batch, "inputs": batch["inputs"][:1]}, None)["inputs"]
        kernel = _first_kernel(model, variables, images)
        return {} if kernel is None else {"filters": figures.filters(kernel)}

    table = lambda logits: tables.class_table(logits, classes)
    input_axes = {"inputs": ("batch",)}
    return supervised(model, make_learner, metrics, draw, "nats per image", preprocess, filters, input_axes, table)


def _first_kernel(model: nn.Module, variables: Any, images: jax.Array) -> np.ndarray | None:
    """Returns the kernel of the first convolution of a model, if it is larger than one pixel."""
    paths: list[tuple[str, ...]] = []

    def init(images):  # inside, the parameters are in the order of their creation; eval_shape returns them sorted
        leaves = flatten_dict(model.init(jax.random.key(0), images)["params"])
        paths.extend(path for path, leaf in leaves.items() if leaf.ndim == 4)

    jax.eval_shape(init, images)
    if not paths:
        return None
    kernel = np.asarray(flatten_dict(variables["params"])[paths[0]])
    return kernel if max(kernel.shape[:2]) > 1 else None


def _standardized(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    if images.ndim != 4 or images.dtype != jnp.uint8:
        raise ValueError(
            f"the images of a batch must be uint8 [B, H, W, channels], got {images.dtype} of shape {images.shape}"
        )
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise ValueError(
                f"`{name}` must have 1 number or one for each of {images.shape[-1]} channels, got {len(values)}"
            )
    shift, scale = (jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1) for values in (mean, std))
    return (images.astype(jnp.float32) / 255 - shift) / scale
