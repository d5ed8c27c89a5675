"""Benchmark of the U-Net of diffusion models against diffusers: images per second of training and of sampling.

    python -m benchmarks.models.diffusion --threads=2 --json=benchmarks/results/models/diffusion.json

"training" draws times and noise and computes the gradient of the loss and an AdamW update. "sampling" runs DDIM from
noise to images. Both libraries have the same network, without attention but in the middle, and the same weights. torch
runs with its default memory format and with channels last. Ratios are those of the times: below 1, jaxnets is faster.
"""

import contextlib
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks import harness
from jaxnets import generative, program, weights
from jaxnets.generative import diffusion
from jaxnets.training.errors import UsageError

PASSES = ("training", "sampling")
NETWORKS: dict[str, dict[str, Any]] = {
    "8x8": {"image_shape": (8, 8, 1), "multipliers": (1, 2)},
    "16x16": {"image_shape": (16, 16, 1), "multipliers": (1, 2, 2)},
}
LEARNING_RATE = 2e-4
FLAGS = flags.FLAGS

flags.DEFINE_list("networks", list(NETWORKS), f"Networks, by the size of images: {', '.join(NETWORKS)}.")
flags.DEFINE_integer("width", 32, "Channels of the first level, a multiple of 32.", lower_bound=32)
flags.DEFINE_integer("batch", 64, "Batch size.", lower_bound=1)
flags.DEFINE_integer("steps", 10, "Steps of DDIM.", lower_bound=1, upper_bound=1000)
flags.DEFINE_integer("threads", None, "Threads of both libraries; default: one per core.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")


def jaxnets_case(model: generative.UNet, variables: Any, images: jax.Array, which: str) -> harness.Case:
    process = diffusion.GaussianDiffusion()
    apply: Any = model.apply
    keys = jax.random.split(jax.random.key(1), len(images))
    if which == "sampling":
        schedule = diffusion.subsequence(process.tables, FLAGS.steps, "leading")

        def sample(variables, noise, keys):
            network = lambda xs, times: apply(variables, xs, times)
            denoise = diffusion.denoiser(network, schedule, clip=None)
            return diffusion.sample(denoise, diffusion.ddim(schedule), noise, keys)

        return harness.compiled(sample, variables, images, keys)
    transform = optax.adamw(LEARNING_RATE)

    def step(variables, moments, images, key):
        def loss(variables):
            network = lambda xs, times: apply(variables, xs, times, train=True)
            return jnp.mean(process.losses(network, images, key)["loss"])

        updates, moments = transform.update(jax.grad(loss)(variables), moments, variables)
        return optax.apply_updates(variables, updates), moments

    return harness.compiled(step, variables, transform.init(variables), images, keys[0])


def diffusers_case(
    model: generative.UNet, variables: Any, images: jax.Array, which: str, channels_last: bool
) -> harness.Case:
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    torch.backends.cudnn.benchmark = True  # as XLA, which also autotunes
    if FLAGS.threads:
        torch.set_num_threads(FLAGS.threads)
    device = "cuda" if cuda else "cpu"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    levels = len(model.multipliers)
    network = UNet2DModel(
        sample_size=model.image_shape[:2],
        in_channels=model.image_shape[-1],
        out_channels=model.image_shape[-1],
        block_out_channels=tuple(model.width * factor for factor in model.multipliers),
        layers_per_block=model.num_blocks,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        attention_head_dim=None,
        flip_sin_to_cos=False,
        freq_shift=1,
        downsample_padding=0,
        norm_eps=1e-6,
    )
    state = weights.to_diffusers(variables, model)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    network = network.to(device, memory_format=memory_format)
    inputs = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(device).contiguous(memory_format=memory_format)
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(FLAGS.steps)
    synchronize = torch.cuda.synchronize if cuda else lambda: None
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4)  # optax's default

    def sampling() -> None:
        with torch.inference_mode():
            x = inputs
            for time in scheduler.timesteps:
                x = scheduler.step(network(x, time).sample, time, x).prev_sample
        synchronize()

    def training() -> None:
        optimizer.zero_grad(set_to_none=True)
        times = torch.randint(0, 1000, (len(inputs),), device=device)
        noise = torch.randn_like(inputs)
        output = network(scheduler.add_noise(inputs, noise, times), times).sample
        torch.nn.functional.mse_loss(output, noise).backward()
        optimizer.step()
        synchronize()

    network.train(which == "training")
    return harness.Case(sampling if which == "sampling" else training)


def measure(name: str) -> dict[str, Any]:
    """Times all implementations with one network and prints the results."""
    model = generative.UNet(**NETWORKS[name], width=FLAGS.width, attention_levels=(), dropout=0.0)
    images = jax.random.uniform(jax.random.key(0), (FLAGS.batch, *model.image_shape), minval=-1.0)
    variables = jax.jit(model.init)(jax.random.key(0), images[:1], jnp.zeros(1))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    result: dict[str, Any] = {"network": name, "parameters": parameters}
    for which in PASSES:
        cases = {"jaxnets": jaxnets_case(model, variables, images, which)}
        with contextlib.suppress(ImportError):
            cases["diffusers"] = diffusers_case(model, variables, images, which, False)
            cases["diffusers channels last"] = diffusers_case(model, variables, images, which, True)
        timings, disturbed = harness.interleaved(cases, FLAGS.rounds)
        print(f"\n{name}, {parameters:,} parameters, {which} ({disturbed} of {FLAGS.rounds} rounds disturbed)")
        result[which] = {
            library: {
                "ms": timing.ms,
                "images_per_second": 1e3 * FLAGS.batch / timing.ms,
                "ratio": harness.ratio(timings["jaxnets"], timing),
                "compile_seconds": cases[library].compile_seconds,
            }
            for library, timing in timings.items()
        }
        result[f"{which}_disturbed"] = disturbed
        for library, found in result[which].items():
            rate = f"{found['images_per_second']:,.0f} images/s"
            print(f"{library:<26}{rate:>18}   ratio {found['ratio']:.2f}", flush=True)
    return result


def main(overrides: program.Overrides) -> None:
    for name in FLAGS.networks:
        if name not in NETWORKS:
            raise UsageError(f"--networks must be one of {', '.join(NETWORKS)}, got {name!r}")
    if FLAGS.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.threads])  # before XLA creates its threads
    sizes = {name: FLAGS[name].value for name in ("width", "batch", "steps", "threads", "rounds")}
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), **sizes, "diffusion": []}
    for name in FLAGS.networks:
        result["diffusion"].append(measure(name))
        if FLAGS.json:
            harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
