"""Golden arrays of torch 2.13 and prdc 0.2, in float64: generator of ``generative.npz``.

    python tests/reference/make_generative.py

The script needs torch and prdc; the tests do not. The gradients are those of ``sum(cos(i) * output_i)`` over the
outputs in order, unless a loss is named. Arrays of a network are named as in its torch state dict.
"""

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from prdc import compute_prdc
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

BATCH, CODE, WIDTH, CHANNELS = 4, 5, 3, 2  # images of 16 x 16

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
rng = np.random.default_rng(0)
results: dict[str, np.ndarray] = {}


def tensor(*shape: int) -> torch.Tensor:
    return torch.tensor(rng.normal(size=shape), requires_grad=True)


def weighted_sum(output: torch.Tensor) -> torch.Tensor:
    return (torch.cos(torch.arange(output.numel())) * output.flatten()).sum()


def record(name: str, module: nn.Module, loss: torch.Tensor, **arrays: torch.Tensor) -> None:
    """Records the arrays, the parameters, their gradients, the gradients of leaves, and the running statistics."""
    module.zero_grad()
    loss.backward()
    results[f"{name}/loss"] = loss.detach().numpy()
    for key, value in module.named_parameters():
        results[f"{name}/{key}"] = value.detach().numpy()
        results[f"{name}/gradient/{key}"] = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
    for key, value in module.named_buffers():
        results[f"{name}/{key}"] = value.numpy()
    for key, array in arrays.items():
        results[f"{name}/{key}"] = array.detach().numpy()
        if array.is_leaf and array.grad is not None:
            results[f"{name}/gradient/{key}"] = array.grad.numpy()


def conv(size: int, features: int, transposed: bool = False, bias: bool = False) -> nn.Module:
    return (nn.ConvTranspose2d if transposed else nn.Conv2d)(size, features, 4, 2, 1, bias=bias)


def randomized(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.3)
    return module.train()


# The layers of the DCGAN example of torch, for 16 x 16.
generator = randomized(
    nn.Sequential(
        nn.ConvTranspose2d(CODE, 2 * WIDTH, 4, 1, 0, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.ReLU(),
        conv(2 * WIDTH, WIDTH, transposed=True),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        conv(WIDTH, CHANNELS, transposed=True),
        nn.Tanh(),
    )
)
codes = tensor(BATCH, CODE)
images = generator(codes[:, :, None, None])
record("generator", generator, weighted_sum(images), codes=codes, images=images)

discriminator = randomized(
    nn.Sequential(
        conv(CHANNELS, WIDTH),
        nn.LeakyReLU(0.2),
        conv(WIDTH, 2 * WIDTH),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * WIDTH, 1, 4, 1, 0, bias=False),
    )
)
xs = tensor(BATCH, CHANNELS, 16, 16)
logits = discriminator(xs).flatten()
record("discriminator", discriminator, weighted_sum(logits), xs=xs, logits=logits)

critic = randomized(
    nn.Sequential(
        conv(CHANNELS, WIDTH, bias=True),
        nn.LeakyReLU(0.2),
        conv(WIDTH, 2 * WIDTH, bias=True),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * WIDTH, 1, 4, 1, 0),
    )
)
real, fake = tensor(BATCH, CHANNELS, 16, 16).detach(), tensor(BATCH, CHANNELS, 16, 16).detach()
weights = torch.tensor(rng.uniform(size=BATCH))
mixed = weights[:, None, None, None] * real + (1 - weights[:, None, None, None]) * fake
(slopes,) = torch.autograd.grad(critic(mixed.requires_grad_()).sum(), mixed, create_graph=True)
penalty = ((slopes.flatten(1).norm(dim=1) - 1) ** 2).mean()
record("critic", critic, penalty, real=real, fake=fake, weights=weights)

encoder = nn.Sequential(nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 6))
decoder = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 12))
bits, noise = torch.tensor(rng.integers(0, 2, (BATCH, 12)) * 1.0), torch.tensor(rng.normal(size=(BATCH, 3)))
mean, log_variance = encoder(bits).chunk(2, dim=1)
logits = decoder(mean + torch.exp(0.5 * log_variance) * noise)
kl = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0, 1)).sum()
loss = (nn.functional.binary_cross_entropy_with_logits(logits, bits, reduction="sum") + kl) / BATCH
record("vae", nn.ModuleDict({"encoder": encoder, "decoder": decoder}), loss, bits=bits, noise=noise, logits=logits)

pairs = [torch.tensor(rng.normal(size=(4, 3))) for _ in range(4)]
first, second = (Normal(a, torch.exp(0.5 * b)) for a, b in zip(pairs[::2], pairs[1::2], strict=True))
results["kl/parameters"] = torch.stack(pairs).numpy()
results["kl/gaussian"] = kl_divergence(first, second).sum(1).numpy()
results["kl/uniform"] = kl_divergence(Categorical(logits=pairs[0]), Categorical(logits=torch.zeros(4, 3))).numpy()
results["kl/log_prob"] = second.log_prob(pairs[0]).sum(1).numpy()

for k, num_real, num_fake, shift in ((1, 40, 30, 0.0), (3, 60, 80, 0.5), (5, 80, 60, 1.5)):
    groups = rng.normal(size=(num_real, 4)) + 30, rng.normal(size=(num_fake, 4)) * 0.8 + 30 + shift
    with contextlib.redirect_stdout(io.StringIO()):
        quality = compute_prdc(*groups, nearest_k=k)
    results[f"prdc_{k}/real"], results[f"prdc_{k}/fake"] = groups
    results[f"prdc_{k}/quality"] = np.array([quality[n] for n in ("precision", "recall", "density", "coverage")])
np.savez_compressed(Path(__file__).parent / "generative.npz", **results)
