"""Benchmark of convolutional networks against torch: images per second and memory of forward passes and training.

    python -m benchmarks.models.convolution --json=benchmarks/results/models/convolution.json

"forward" computes logits with running statistics. "training step" computes the gradient of the cross entropy, an SGD
update with momentum, and batch statistics. torch runs with its default memory format and with channels last, on the
models of torchvision and a CIFAR network with the published layers. "augmentation" is the number of training steps per
second on one fixed batch with random crops and flips, relative to steps without augmentation.
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

flags.DEFINE_list("models", list(SIZES), f"Models: {', '.join(SIZES)}.")
flags.DEFINE_integer("batch", 0, "Batch size; 0: 8 for 224 x 224, 128 for 32 x 32.", lower_bound=0)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Compute dtype.")
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")


def jaxnets_case(name: str, images: jax.Array, labels: jax.Array, which: str) -> harness.Case:
    model = getattr(convolution, name)(dtype=jnp.dtype(FLAGS.dtype))
    variables = jax.jit(model.init)(jax.random.key(0), images[:1])
    if which == "forward":
        return harness.compiled(model.apply, variables, images)
    transform = optax.sgd(1e-3, 0.9)

    def step(variables, momenta, key, images, labels):
        def loss(params):
            logits, updated = model.apply(
                {**variables, "params": params}, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        gradients, updated = jax.grad(loss, has_aux=True)(variables["params"])
        updates, momenta = transform.update(gradients, momenta)
        return {**updated, "params": optax.apply_updates(variables["params"], updates)}, momenta

    return harness.compiled(step, variables, transform.init(variables["params"]), jax.random.key(1), images, labels)


def torch_case(name: str, images: jax.Array, labels: jax.Array, which: str, channels_last: bool) -> harness.Case:
    import torch

    from benchmarks.models.torch_images import model_of

    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    torch.backends.cudnn.benchmark = True  # as XLA, which also autotunes
    device = "cuda" if cuda else "cpu"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = model_of(name).to(device, memory_format=memory_format)
    inputs = torch.tensor(np.array(images)).permute(0, 3, 1, 2).to(device).contiguous(memory_format=memory_format)
    targets = torch.tensor(np.array(labels, np.int64), device=device)
    autocast = functools.partial(torch.autocast, device, torch.bfloat16, enabled=FLAGS.dtype == "bfloat16")
    synchronize = torch.cuda.synchronize if cuda else lambda: None
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9)

    def forward() -> None:
        with torch.inference_mode(), autocast():
            model(inputs)
        synchronize()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        synchronize()

    model.train(which == "gradient")
    return harness.Case(forward if which == "forward" else step)


def row(name: str) -> dict[str, Any]:
    size = SIZES[name]
    batch = FLAGS.batch or (8 if size > 32 else 128)
    images = jax.random.normal(jax.random.key(2), (batch, size, size, 3))
    labels = jnp.arange(batch) % 10

    def cases(which: str) -> Cases:
        in_torch: Callable = functools.partial(torch_case, name, images, labels, which)
        return {
            "jaxnets": functools.partial(jaxnets_case, name, images, labels, which),
            "torch": functools.partial(in_torch, channels_last=False),
            "torch channels last": functools.partial(in_torch, channels_last=True),
        }

    timings = side_by_side(f"{name}, {batch} images of {size} x {size}", cases, rounds=FLAGS.rounds)
    return {"model": name, "batch": batch, "size": size, **timings}


def augmentation() -> dict[str, float]:
    batch = FLAGS.batch or 128
    random = np.random.default_rng(0)
    data = {
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
        state = jax.jit(functools.partial(create, task.learner, data, 0))()
        cases[name] = harness.compiled(make_step(task.learner, 0), state, data)
    timings, _ = harness.interleaved(cases, 2 * FLAGS.rounds)  # twice as many, for a difference of a few percent
    share = harness.ratio(timings["plain"], timings["augmented"])
    print(f"\naugmentation, {batch} images of 32 x 32: {share:.3f} of the steps per second without augmentation")
    return {"batch": batch, **{name: timing.ms for name, timing in timings.items()}, "share": share}


def main(overrides: program.Overrides) -> None:
    for name in FLAGS.models:
        if name not in SIZES:
            raise UsageError(f"--models must be one of {', '.join(SIZES)}, got {name!r}")
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "dtype": FLAGS.dtype}
    result |= {"augmentation": augmentation(), "convolution": []}
    for name in FLAGS.models:
        result["convolution"].append(row(name))
        if FLAGS.json:
            harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
