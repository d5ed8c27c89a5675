"""Convolutional networks beside torch: images a second of a forward pass and of a step of training, and memory.

    python -m benchmarks.models.convolution --json=benchmarks/results/models/convolution.json

"forward" computes the logits with running statistics; "training step" is the gradient of the cross entropy, SGD with
momentum, and the statistics of the batch. torch runs with its own order of axes and with channels last; its models are
torchvision's, and its CIFAR network one of the same form. "augmentation" tells how many steps on one fixed batch there
are with crops and flips drawn anew in every step, over those without.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks import harness
from benchmarks.side_by_side import Cases, side_by_side
from jaxnets import convolution, program, tasks
from jaxnets.data import Classes
from jaxnets.learning import gradient
from jaxnets.learning.optimizers import sgd
from jaxnets.training.errors import UsageError
from jaxnets.training.state import create, make_step

FLAGS = flags.FLAGS
SIZES = {"resnet50": 224, "efficientnet_b0": 224, "cifar_resnet20": 32}

flags.DEFINE_list("models", list(SIZES), f"{', '.join(SIZES)}.")
flags.DEFINE_integer("batch", 0, "Images; 0: 8 of 224 x 224, 128 of 32 x 32.", lower_bound=0)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute type.")
flags.DEFINE_integer("rounds", 5, "How often each implementation gets its turn.", lower_bound=1)
flags.DEFINE_string("json", None, "Write the result to this file.")


def ours(name: str, images: jax.Array, labels: jax.Array, which: str) -> harness.Case:
    model = getattr(convolution, name)(dtype=jnp.dtype(FLAGS.dtype))
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    if which == "forward":
        return harness.compiled(model.apply, variables, images)
    transform = optax.sgd(1e-3, 0.9)

    def step(variables, momenta, key, images, labels):
        def loss(params):
            logits, changed = model.apply(
                {**variables, "params": params}, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed

        gradients, changed = jax.grad(loss, has_aux=True)(variables["params"])
        updates, momenta = transform.update(gradients, momenta)
        return {**changed, "params": optax.apply_updates(variables["params"], updates)}, momenta

    return harness.compiled(step, variables, transform.init(variables["params"]), jax.random.key(1), images, labels)


def theirs(name: str, images: jax.Array, labels: jax.Array, which: str, last: bool) -> harness.Case:
    import torch

    from benchmarks.models.torch_images import model_of

    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    torch.backends.cudnn.benchmark = True  # XLA tries its ways too
    device = "cuda" if cuda else "cpu"
    order = torch.channels_last if last else torch.contiguous_format
    model = model_of(name).to(device, memory_format=order)
    given = torch.tensor(np.array(images)).permute(0, 3, 1, 2).to(device).contiguous(memory_format=order)
    answers = torch.tensor(np.array(labels, np.int64), device=device)
    half = functools.partial(torch.autocast, device, torch.bfloat16, enabled=FLAGS.dtype == "bfloat16")
    wait = torch.cuda.synchronize if cuda else lambda: None
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9)

    def forward() -> None:
        with torch.inference_mode(), half():
            model(given)
        wait()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with half():
            loss = torch.nn.functional.cross_entropy(model(given), answers)
        loss.backward()
        optimizer.step()
        wait()

    model.train(which == "gradient")
    return harness.Case(forward if which == "forward" else step)


def row(name: str) -> dict[str, Any]:
    size = SIZES[name]
    batch = FLAGS.batch or (8 if size > 32 else 128)
    images = jax.random.normal(jax.random.key(2), (batch, size, size, 3))
    labels = jnp.arange(batch) % 10

    def cases(which: str) -> Cases:
        with_torch: Callable = functools.partial(theirs, name, images, labels, which)
        return {
            "jaxnets": functools.partial(ours, name, images, labels, which),
            "torch": functools.partial(with_torch, last=False),
            "torch channels last": functools.partial(with_torch, last=True),
        }

    found = side_by_side(f"{name}, {batch} images of {size} x {size}", cases, rounds=FLAGS.rounds)
    return {"model": name, "batch": batch, "size": size, **found}


def augmentation() -> dict[str, float]:
    batch = FLAGS.batch or 128
    random = np.random.default_rng(0)
    given = {
        "inputs": random.integers(0, 256, (batch, 32, 32, 3), np.uint8),
        "targets": (np.arange(batch) % 10).astype(np.int32),
        "mask": np.ones(batch, bool),
    }
    model = convolution.cifar_resnet20(dtype=jnp.dtype(FLAGS.dtype))
    cases = {}
    augmented: dict[str, Any] = {"crop": 4, "flip": True}
    for name, options in {"plain": {}, "augmented": augmented}.items():
        learn = functools.partial(gradient, optimizer=sgd(1000, 0.1))
        task = tasks.image_classification(model, Classes(tuple("abcdefghij")), learn, **options)
        state = jax.jit(functools.partial(create, task.learner, given, 0))()
        cases[name] = harness.compiled(make_step(task.learner, 0), state, given)
    timings, _ = harness.interleaved(cases, 2 * FLAGS.rounds)  # a difference of a few percent
    share = harness.ratio(timings["plain"], timings["augmented"])
    print(f"\naugmentation, {batch} images of 32 x 32: {share:.3f} of the steps without")
    return {"batch": batch, **{name: timing.ms for name, timing in timings.items()}, "share": share}


def main(overrides: program.Overrides) -> None:
    for name in FLAGS.models:
        if name not in SIZES:
            raise UsageError(f"--models: {', '.join(SIZES)}; given {name!r}")
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "dtype": FLAGS.dtype}
    result |= {"augmentation": augmentation(), "convolution": []}
    for name in FLAGS.models:
        result["convolution"].append(row(name))
        if FLAGS.json:
            harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
