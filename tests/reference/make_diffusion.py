"""Golden arrays of diffusers 0.42.1 with torch 2.13, in float64: generator of ``diffusion.npz``.

    python tests/reference/make_diffusion.py

The script needs torch and diffusers; the tests need neither. diffusers computes the tables of its schedulers in
float32; here their modules compute them in float64 (``Double``), so that each step can be compared closely. The arrays
of ``float32/`` are the results of whole loops in float32, with unchanged schedulers. ``network`` stands for a trained
network. Images are ``[B, H, W, C]``, and times are in the order of the computation.
"""

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (2, 2, 3, 1)
FLOW_STEPS = 8
# Options of schedulers, by case, and the number of steps. ``eta`` is an option of the steps of DDIM.
DDPM = {
    "small": ({"variance_type": "fixed_small"}, 20),
    "large": ({"variance_type": "fixed_large", "beta_schedule": "squaredcos_cap_v2"}, 20),
    "learned": ({"variance_type": "learned_range"}, 20),
    "clean": ({"variance_type": "fixed_large", "prediction_type": "sample"}, 20),
    "velocity": ({"variance_type": "fixed_small", "prediction_type": "v_prediction"}, 20),
    "all_steps": ({"variance_type": "fixed_large", "num_train_timesteps": 20}, 20),
    "odd": ({"variance_type": "fixed_small", "beta_schedule": "squaredcos_cap_v2"}, 7),  # 1000 // 7 = 142
}
DDIM = {
    "leading": ({"timestep_spacing": "leading"}, 0.0, 50),
    "trailing": ({"timestep_spacing": "trailing"}, 0.0, 50),
    "leading_noise": ({"timestep_spacing": "leading"}, 0.5, 50),
    "trailing_noise": ({"timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"}, 0.5, 50),
}
DPM_SOLVER = {"linear": ({}, 12), "long": ({}, 20), "cosine": ({"beta_schedule": "squaredcos_cap_v2"}, 12)}
# Arguments of generative.UNet, and the number of channels of a head.
UNETS: dict[str, tuple[dict[str, Any], int | None]] = {
    "plain": (
        {"image_shape": (8, 8, 1), "multipliers": (1, 2), "num_blocks": 1, "width": 8, "num_groups": 4},
        None,
    ),
    "conditional": (
        {
            "image_shape": (8, 12, 3),
            "multipliers": (1, 2, 2),
            "num_blocks": 1,
            "width": 8,
            "num_groups": 4,
            "num_heads": 4,
            "num_classes": 3,
            "learned_variance": True,
        },
        4,
    ),
}
TIMES, LABELS = (0, 640, 999), (2, 0, 3)


def network(xs: Any, time: Any, library: Any) -> Any:
    """Returns the prediction for noisy images at a time; ``library`` is NumPy, JAX's or torch."""
    return 0.3 * xs + 0.2 * library.sin(time / 100) + 0.1 * library.cos(3 * xs)


def variance_weights(xs: Any, time: Any, library: Any) -> Any:
    """Returns the second half of the prediction for learned variances, from -1 to 1."""
    return library.sin(2 * xs + time / 50)


class Double:
    """A module, such as torch, whose float32 is its float64."""

    def __init__(self, module: Any):
        self.module, self.float32 = module, module.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def main() -> None:
    import diffusers
    import torch
    from diffusers.models import embeddings
    from diffusers.schedulers import (
        scheduling_ddim,
        scheduling_ddpm,
        scheduling_dpmsolver_multistep,
        scheduling_flow_match_euler_discrete,
        scheduling_flow_match_heun_discrete,
    )
    from make_convolution import fill

    results: dict[str, np.ndarray] = {}
    ddim_options = {"clip_sample": False, "set_alpha_to_one": True}
    dpm_options = {"timestep_spacing": "trailing", "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}

    def images(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().movedim(-3, -1).numpy()

    def loop(scheduler: Any, steps: int, learned: bool = False, **options: Any) -> dict[str, np.ndarray]:
        """Returns the images before each step and after the last one, the noise of each step, and the times."""
        scheduler.set_timesteps(steps)
        dtype = torch.get_default_dtype()
        x = torch.tensor(np.random.default_rng(0).normal(size=SHAPE), dtype=dtype).movedim(-1, -3)
        path, noises = [x], []
        if "generator" in options:
            same = torch.Generator().manual_seed(0)
        for time in scheduler.timesteps:
            now = float(time)
            output = network(x, torch.tensor(now), torch)
            if learned:
                output = torch.cat([output, variance_weights(x, torch.tensor(now), torch)], 1)
            if "generator" in options:
                before = options["generator"].get_state()
                same.set_state(before)
                noises.append(torch.randn(x.shape, generator=same, dtype=dtype))
            x = scheduler.step(output, time, x, **options).prev_sample
            if "generator" in options and torch.equal(options["generator"].get_state(), before):
                noises[-1] = torch.zeros_like(x)  # without noise, as in the last step of DDPM
            path.append(x)
        found = {"xs": images(torch.stack(path)), "times": scheduler.timesteps.numpy()}
        return found | ({"noise": images(torch.stack(noises))} if noises else {})

    def record(name: str, arrays: dict[str, np.ndarray]) -> None:
        results.update({f"{name}/{key}": value for key, value in arrays.items()})

    # Whole loops of unchanged schedulers.
    for name, scheduler, steps in (
        ("ddim", diffusers.DDIMScheduler(**ddim_options), 50),
        ("dpm_solver", diffusers.DPMSolverMultistepScheduler(**dpm_options), 20),
    ):
        results[f"float32/{name}"] = loop(scheduler, steps)["xs"][-1]

    torch.set_default_dtype(torch.float64)
    modules = (
        embeddings,
        scheduling_ddim,
        scheduling_ddpm,
        scheduling_dpmsolver_multistep,
        scheduling_flow_match_euler_discrete,
        scheduling_flow_match_heun_discrete,
    )
    for module in modules:
        module.torch, module.np = Double(torch), Double(np)

    for name, kind in (("linear", "linear"), ("cosine", "squaredcos_cap_v2")):
        scheduler = diffusers.DDPMScheduler(beta_schedule=kind)
        assert scheduler.alphas_cumprod.dtype == torch.float64
        chosen = slice(None, None, 37)  # the last one is 999
        record(
            f"schedule/{name}",
            {"betas": scheduler.betas[chosen].numpy(), "alphas_cumprod": scheduler.alphas_cumprod[chosen].numpy()},
        )
    generator = lambda: torch.Generator().manual_seed(1)
    for name, (options, steps) in DDPM.items():
        scheduler = diffusers.DDPMScheduler(clip_sample=True, timestep_spacing="leading", **options)
        record(f"ddpm/{name}", loop(scheduler, steps, name == "learned", generator=generator()))
    for name, (options, eta, steps) in DDIM.items():
        noise = {"eta": eta, "generator": generator()} if eta else {}
        record(f"ddim/{name}", loop(diffusers.DDIMScheduler(**ddim_options, **options), steps, **noise))
    for name, (options, steps) in DPM_SOLVER.items():
        record(f"dpm_solver/{name}", loop(diffusers.DPMSolverMultistepScheduler(**dpm_options, **options), steps))
    # With as many training steps as steps, the times are 1, 1 - 1 / S, ..., 1 / S, and 0 is the last one. Heun's method
    # in diffusers ends with a step of first order.
    for name in ("Euler", "Heun"):
        kind = getattr(diffusers, f"FlowMatch{name}DiscreteScheduler")
        found = loop(kind(num_train_timesteps=FLOW_STEPS), FLOW_STEPS)
        record(f"flow/{name.lower()}", found if name == "Euler" else {"xs": found["xs"][[0, -2, -1]]})

    for name, (options, channels_per_head) in UNETS.items():
        model = unet(options, channels_per_head)
        state = {key: torch.tensor(fill(key, tuple(value.shape))) for key, value in model.state_dict().items()}
        model.load_state_dict(state)
        model = model.double().eval()
        height, width, channels = options["image_shape"]
        x = torch.tensor(np.random.default_rng(2).normal(size=(3, channels, height, width)), requires_grad=True)
        labels = {"class_labels": torch.tensor(LABELS)} if options.get("num_classes") else {}
        output = model(x, torch.tensor(TIMES), **labels).sample
        weights = torch.cos(torch.arange(output.numel(), dtype=torch.float64))
        loss = (weights * output.movedim(1, -1).reshape(-1)).sum()
        loss.backward()
        record(f"unet/{name}", {"xs": images(x), "outputs": images(output), "gradient": images(x.grad)})
        names = [f"{key} {tuple(value.shape)}" for key, value in sorted(state.items())]
        results[f"unet/{name}/parameters"] = np.array(names)
    with torch.device("meta"):
        cifar = unet({"num_groups": 32}, None)
    names = [f"{key} {tuple(value.shape)}" for key, value in sorted(cifar.state_dict().items())]
    assert len(names) == 328 and sum(p.numel() for p in cifar.parameters()) == 35_746_307
    results["unet/cifar/parameters"] = np.array(names)

    path = Path(__file__).parent / "diffusion.npz"
    np.savez_compressed(path, **results)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def unet(options: dict[str, Any], channels_per_head: int | None) -> Any:
    """Returns the ``UNet2DModel`` of a ``generative.UNet``, whose defaults are the network for CIFAR-10."""
    import diffusers

    height, width, channels = options.get("image_shape", (32, 32, 3))
    multipliers = options.get("multipliers", (1, 2, 2, 2))
    attention = [level == 1 for level in range(len(multipliers))]
    return diffusers.UNet2DModel(
        sample_size=(height, width),
        in_channels=channels,
        out_channels=channels * (1 + options.get("learned_variance", False)),
        block_out_channels=tuple(options.get("width", 128) * factor for factor in multipliers),
        layers_per_block=options.get("num_blocks", 2),
        down_block_types=tuple("AttnDownBlock2D" if there else "DownBlock2D" for there in attention),
        up_block_types=tuple("AttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attention)),
        attention_head_dim=channels_per_head,
        flip_sin_to_cos=False,
        freq_shift=1,
        downsample_padding=0,
        norm_eps=1e-6,
        norm_num_groups=options["num_groups"],
        num_class_embeds=options["num_classes"] + 1 if options.get("num_classes") else None,
    )


if __name__ == "__main__":
    main()
