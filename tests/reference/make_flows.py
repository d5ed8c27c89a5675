"""Golden arrays of normflows 1.7.3 and nflows 0.14 with torch 2.13, in float64: generator of ``flows.npz``.

    python tests/reference/make_flows.py

The script needs these libraries; the tests do not. Arrays of a network are named as in its torch state dict. normflows
calls the direction from data to codes ``inverse``.
"""

from pathlib import Path

import normflows
import numpy as np
import torch
from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
rng = np.random.default_rng(0)
results: dict[str, np.ndarray] = {}


def tensor(*shape: int) -> torch.Tensor:
    return torch.tensor(rng.normal(size=shape))


def record(name: str, module: nn.Module | None = None, **arrays: torch.Tensor) -> None:
    state = {} if module is None else module.state_dict()
    for key, value in {**arrays, **state}.items():
        results[f"{name}/{key}"] = value.detach().numpy()


@torch.no_grad()
def randomize(module: nn.Module, std: float = 0.3) -> None:
    for parameter in module.parameters():
        parameter += std * torch.randn(parameter.shape)


bins, bound = 5, 2.0
xs, widths, heights, slopes = 1.5 * tensor(40), tensor(40, bins), tensor(40, bins), tensor(40, bins - 1)
zs, log_slopes = unconstrained_rational_quadratic_spline(xs, widths, heights, slopes, tail_bound=bound)
assert 0 < (xs.abs() > bound).sum() < 20
record("spline", xs=xs, parameters=torch.cat([widths, heights, slopes], -1), zs=zs, log_slopes=log_slopes)

step = normflows.flows.GlowBlock(4, 3, net_actnorm=True)  # with a sigmoid, as Glow
for module in step.modules():
    if isinstance(module, normflows.flows.ActNorm):
        module.data_dep_init_done.fill_(1.0)
randomize(step)
xs = tensor(3, 4, 4, 2)
zs, log_det = step.inverse(xs)
record("glow_step", step, xs=xs, zs=zs, log_det=log_det)
linear_zs, linear_log_det = step.flows[1].inverse(xs)
record("linear", zs=linear_zs, log_det=linear_log_det)

mask = torch.tensor([1.0, 0.0, 1.0])
masked = normflows.flows.MaskedAffineFlow(mask, nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
xs = tensor(6, 3)
zs, log_det = masked.forward(xs)
record("real_nvp", masked, xs=xs, zs=zs, log_det=log_det)


class Perceptron(nn.Module):
    """The masked layers of MADE with ReLU between all of them."""

    def __init__(self, made: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList([made.initial_layer, made.blocks[0].linear, made.final_layer])

    def forward(self, xs: torch.Tensor, context: None = None) -> torch.Tensor:
        first, second, last = self.layers
        return last(torch.relu(second(torch.relu(first(xs)))))


flow = MaskedAffineAutoregressiveTransform(4, 9, num_blocks=1, use_residual_blocks=False)
flow.autoregressive_net = Perceptron(flow.autoregressive_net)
randomize(flow)
xs = tensor(5, 4)
zs, log_det = flow.forward(xs)
back, _ = flow.inverse(zs)
assert torch.allclose(back, xs)
record("maf", flow.autoregressive_net, xs=xs, zs=zs, log_det=log_det)
np.savez_compressed(Path(__file__).parent / "flows.npz", **results)
