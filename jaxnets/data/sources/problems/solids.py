"""Point clouds from the surfaces of solids."""

from collections.abc import Callable

import numpy as np

from jaxnets.data.checks import check_arguments, check_range
from jaxnets.data.dataset import Dataset
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.sources.problems.sets import set_batch
from jaxnets.data.targets import Classes
from jaxnets.ops.checks import check_number


def solids(
    min_size: int = 64, max_size: int = 256, noise: float = 0.02, batch_size: int = 32, seed: int = 0
) -> Dataset:
    """Classification of point clouds by the solid whose surface they are sampled from.

    The solids are sphere, cube, cylinder, cone, torus and tetrahedron. Points are uniform on the surface, with Gaussian
    noise. Each cloud is rotated at random, centered at its mean, and scaled to a mean squared distance of 1 from there,
    so that position and size do not reveal the class.

    Args:
        min_size, max_size: Range of the number of points of a cloud.
        noise: Standard deviation of the noise, relative to a sphere of radius 1.
        batch_size: B, clouds of a batch.
        seed: Seed of the clouds.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size, min_size=min_size)
    check_range(min_size, max_size)
    check_number("noise", noise)
    names, surfaces = tuple(SURFACES), tuple(SURFACES.values())

    def make(random: np.random.Generator) -> Batch:
        classes = random.integers(0, len(names), batch_size)
        sizes = random.integers(min_size, max_size + 1, batch_size)
        points = np.stack([surfaces[i](random, max_size) for i in classes])
        points = (points + noise * random.standard_normal(points.shape)) @ _rotations(random, batch_size)
        valid, counts = (np.arange(max_size) < sizes[:, None])[..., None], sizes[:, None, None]
        points = (points - (points * valid).sum(1, keepdims=True) / counts) * valid
        points /= np.sqrt(np.maximum((points**2).sum((1, 2), keepdims=True) / counts, 1e-12))
        return set_batch(points.astype(np.float32), classes.astype(np.int32), sizes)

    source = f"clouds of {min_size} to {max_size} points of {len(names)} solids, noise {noise:g}, {batch_size} a batch"
    return generated(make, Classes(names), seed, source)


def _sphere(random: np.random.Generator, count: int) -> np.ndarray:
    points = random.standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _cube(random: np.random.Generator, count: int) -> np.ndarray:
    points = random.uniform(-1, 1, (count, 3))
    points[np.arange(count), random.integers(0, 3, count)] = random.choice([-1.0, 1.0], count)
    return points


def _cylinder(random: np.random.Generator, count: int) -> np.ndarray:
    """Radius 1 and height 2; the side is two thirds of the surface."""
    side = random.random(count) < 2 / 3
    radius = np.where(side, 1, np.sqrt(random.random(count)))
    return _revolved(random, radius, np.where(side, random.uniform(-1, 1, count), random.choice([-1.0, 1.0], count)))


def _cone(random: np.random.Generator, count: int) -> np.ndarray:
    """Radius 1 and height 2; the area of the side is sqrt(5) times that of the base."""
    side = random.random(count) < 5**0.5 / (5**0.5 + 1)
    radius = np.sqrt(random.random(count))
    return _revolved(random, radius, np.where(side, 2 * (1 - radius), 0))


def _torus(random: np.random.Generator, count: int) -> np.ndarray:
    """Radii 1 and 0.4. The area element, and so the density of the angle, is proportional to 1 + 0.4 cos(angle)."""
    angle = random.uniform(-np.pi, np.pi, count)
    angle = np.where(2 * random.random(count) < 1 - 0.4 * np.cos(angle), np.pi - angle, angle)
    return _revolved(random, 1 + 0.4 * np.cos(angle), 0.4 * np.sin(angle))


def _tetrahedron(random: np.random.Generator, count: int) -> np.ndarray:
    """A uniform point of a face is a mean of its corners with Dirichlet weights."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    weights = random.dirichlet(np.ones(3), count)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])[random.integers(0, 4, count)]
    return np.einsum("ni,nid->nd", weights, corners[faces])


def _revolved(random: np.random.Generator, radius: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Points of a solid of revolution, at random angles."""
    angle = random.uniform(-np.pi, np.pi, len(radius))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _rotations(random: np.random.Generator, count: int) -> np.ndarray:
    """Uniformly random orthogonal matrices ``[count, 3, 3]``; all solids are symmetric under reflection."""
    orthogonal, upper = np.linalg.qr(random.standard_normal((count, 3, 3)))
    return orthogonal * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, None]


SURFACES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "tetrahedron": _tetrahedron,
}
