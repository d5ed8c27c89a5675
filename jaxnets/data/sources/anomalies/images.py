"""Images to train on, and test images of other kinds."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.batches import in_order
from jaxnets.data.sources.parts import digest
from jaxnets.data.targets import Classes
from jaxnets.ops.checks import check_choice, check_integer

GENERATED = ("constant", "noise")


@one_line_errors
def image_anomalies(
    images: Dataset,
    generated: Sequence[str] = GENERATED,
    others: Mapping[str, Dataset] | None = None,
    count: int = 1000,
    seed: int = 0,
) -> Dataset:
    """Images whose test split also holds images of other kinds, for the detection of unusual images.

    The classes are ``normal``, the generated kinds, and the names of ``others``. The training and the validation split
    are those of ``images``; their targets are 0.

    Args:
        images: The normal images, uint8 ``[B, H, W, C]``, with a test split.
        generated: Kinds of generated images: ``"constant"``, images of one random intensity; ``"noise"``, random
            intensities for all numbers of an image.
        others: Other data sets of images of the same size by name; their test splits are used.
        count: The largest number of test images of each kind, the first ones.
        seed: Seed of the generated images.

    Raises:
        ValueError: If images differ in size or dtype, ``images`` has no test split, or an argument is out of range.
    """
    check_arguments(seed)
    check_integer("count", count)
    for kind in generated:
        check_choice("generated", kind, GENERATED)
    sources = {"normal": images, **(others or {})}
    parts = {name: _test_images(name, dataset, count) for name, dataset in sources.items()}
    normal = parts.pop("normal")
    for name, pixels in parts.items():
        if pixels.shape[1:] != normal.shape[1:]:
            raise ValueError(f"the images of {name} must have the shape {normal.shape[1:]}, got {pixels.shape[1:]}")
    random = np.random.default_rng(seed)
    sizes = {"constant": (count, 1, 1, 1), "noise": (count, *normal.shape[1:])}
    drawn = {kind: random.integers(0, 256, sizes[kind], np.uint8) for kind in dict.fromkeys(generated)}
    kinds = {kind: np.broadcast_to(pixels, (count, *normal.shape[1:])) for kind, pixels in drawn.items()} | parts
    pixels = np.concatenate([normal, *kinds.values()])
    targets = np.repeat(np.arange(1 + len(kinds)), [len(normal), *map(len, kinds.values())])
    arrays = {"inputs": pixels, "targets": targets.astype(np.int32), "mask": np.ones(len(pixels), bool)}
    batch_size = len(images.train[0]["inputs"])
    as_normal = lambda batch: {**batch, "targets": np.zeros(len(batch["inputs"]), np.int32)}
    splits = {name: batches.map(as_normal) for name, batches in images.splits.items() if name != "test"}
    counted = ", ".join(f"{len(each):,} {name}" for name, each in {"normal": normal, **kinds}.items())
    return Dataset(
        {**splits, "test": in_order(arrays, batch_size)},
        Classes(("normal", *kinds)),
        digest([{"images": np.frombuffer(images.fingerprint.encode(), np.uint8)}, arrays]),
        f"{images.description}; test images: {counted}",
        inputs=images.inputs,
        train_rows=images.train_rows,
    )


def _test_images(name: str, dataset: Dataset, count: int) -> np.ndarray:
    """Returns the first test images, uint8 ``[N, H, W, C]``."""
    if "test" not in dataset.splits:
        raise ValueError(f"the data of {name} must have a test split, got {', '.join(dataset.splits)}")
    batches, parts, found = dataset.splits["test"], [], 0
    for i in range(len(batches)):
        batch = batches[i]
        pixels = batch["inputs"]
        if pixels.dtype != np.uint8 or pixels.ndim != 4:
            raise ValueError(f"the images of {name} must be uint8 [B, H, W, C], got {pixels.dtype} {pixels.shape}")
        parts.append(pixels[batch["mask"]])
        found += len(parts[-1])
        if found >= count:
            break
    return np.concatenate(parts)[:count]
