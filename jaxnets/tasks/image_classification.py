"""Classification of images: bytes in, standardized and augmented on the device, top-1 and top-5 out."""

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
from jaxnets.learning import Learn
from jaxnets.ops.embedding import one_hot
from jaxnets.reports import figures
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_right
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.supervised import supervised
from jaxnets.tasks.task import Task


def image_classification(
    model: Model,
    spec: Classes,
    learn: Learn,
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
    r"""The task of a model that gives logits ``[B, C]`` for images; the loss is the mean cross entropy, in nats.

    Batches have uint8 ``inputs`` ``[B, H, W, channels]``, which the model sees as (inputs / 255 - mean) / deviation.
    What follows happens while training only, anew for every example in every step, in this order.

    Args:
        model: ``(inputs, train=) -> logits``.
        spec: What there is to choose from.
        learn: ``(init, loss) -> Learner``.
        mean, std: Of all channels, or one each, for pixels from 0 to 1.
        crop: Pixels of zeros put around an image, of which a piece of its own size is cut.
        scale: The least part of an image's area that is cut out and enlarged to its size; 1: off.
        flip: Whether half of the images are mirrored.
        rotation: Largest angle, in degrees.
        cutout: Side of a square that is erased (DeVries and Taylor 2017, arXiv:1708.04552).
        mixup: :math:`\alpha` of the Beta distribution by which pairs are mixed (Zhang et al. 2018, arXiv:1710.09412).
        label_smoothing: :math:`\epsilon`: targets are :math:`1 - \epsilon` of their class and :math:`\epsilon / C` of
            every one (Szegedy et al. 2016, arXiv:1512.00567).

    Raises:
        ValueError: An argument is out of range, or does not fit the images.
    """
    check_spec("tasks.image_classification", spec, Classes)
    model, classes = complete(model, spec), spec
    _check(crop=crop, rotation=rotation, cutout=cutout, mixup=mixup)
    if min(std, default=1) <= 0:  # how many there are is told with the images
        raise ValueError(f"std: above 0 expected; given {tuple(std)}")
    if not 0 < scale <= 1:
        raise ValueError(f"scale: above 0 and at most 1 expected; given {scale}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: from 0 to below 1 expected; given {label_smoothing}")
    soft = bool(mixup or label_smoothing)

    def prepare(batch, key):
        images = _standardized(batch["inputs"], mean, std)
        if key is None:
            return {**batch, "inputs": images}
        targets = batch["targets"]
        cut, resized, mirrored, turned, erased, mixed = jax.random.split(key, 6)
        if crop:
            images = augmentation.random_crop(cut, images, crop)
        if scale < 1:
            images = augmentation.random_resized_crop(resized, images, (scale, 1.0))
        if flip:
            images = augmentation.random_flip(mirrored, images)
        if rotation:
            images = augmentation.random_rotation(turned, images, rotation)
        if cutout:
            images = augmentation.cutout(erased, images, cutout)
        if soft:
            targets = optax.smooth_labels(one_hot(targets, classes.size, name="targets"), label_smoothing)
        if mixup:
            images, targets = augmentation.mixup(mixed, images, targets, mixup)
        return {**batch, "inputs": images, "targets": targets}

    def metrics(logits, targets):
        if logits.shape != (len(targets), classes.size):
            raise ValueError(f"the model gives {logits.shape}; logits ({len(targets)}, {classes.size}) expected")
        if jnp.issubdtype(targets.dtype, jnp.floating):
            return {"loss": optax.softmax_cross_entropy(logits, targets)}
        nats = cross_entropy(logits, targets)
        found = {"loss": nats, "accuracy": is_right(logits, targets)}
        if classes.size > 5:
            best = jax.lax.top_k(logits, 5)[1]
            found["top_5_accuracy"] = jnp.any(best == targets[:, None], axis=-1)
        return found

    def draw(logits, batch):
        chosen = np.argmax(logits, axis=-1)
        return {
            "confusion": figures.confusion(batch["targets"], chosen, batch["mask"], classes.names),
            "mistakes": figures.mistakes(logits, batch, classes.names),
        }

    def filters(variables, batch):
        kernel = _first_kernel(model, variables, prepare({**batch, "inputs": batch["inputs"][:1]}, None)["inputs"])
        return {} if kernel is None else {"filters": figures.filters(kernel)}

    table = lambda logits: tables.of_classes(logits, classes)
    reads = {"inputs": ("batch",)}
    return supervised(model, learn, metrics, draw, "nats per image", prepare, filters, reads, table)


def _first_kernel(model: nn.Module, variables: Any, images: jax.Array) -> np.ndarray | None:
    """Of the first convolution that the model makes, if it sees more than one pixel at a time."""
    paths: list[tuple[str, ...]] = []

    def init(images):  # here the dicts are in the order of their making; a traced one comes back sorted
        leaves = flatten_dict(model.init(jax.random.key(0), images)["params"])
        paths.extend(path for path, leaf in leaves.items() if leaf.ndim == 4)

    jax.eval_shape(init, images)
    if not paths:
        return None
    kernel = np.asarray(flatten_dict(variables["params"])[paths[0]])
    return kernel if max(kernel.shape[:2]) > 1 else None


def _standardized(images: jax.Array, mean: Sequence[float], deviation: Sequence[float]) -> jax.Array:
    if images.ndim != 4 or images.dtype != jnp.uint8:
        raise ValueError(f"images: uint8 [B, H, W, channels] expected; the data gives {images.dtype} {images.shape}")
    for name, values in (("mean", mean), ("deviation", deviation)):
        if len(values) not in (1, images.shape[-1]):
            raise ValueError(f"{name}: 1 or {images.shape[-1]} numbers expected, as channels; given {len(values)}")
    shift, scale = (jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1) for values in (mean, deviation))
    return (images.astype(jnp.float32) / 255 - shift) / scale


def _check(**values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name}: not below 0 expected; given {value}")
