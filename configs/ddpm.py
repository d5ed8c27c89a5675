"""Denoising diffusion of handwritten digits of 8 x 8 pixels.

    python -m jaxnets.train --config=ddpm
    python -m jaxnets.train --config=ddpm:flow_matching       # also: conditional (by class)
    python -m jaxnets.generate --workdir=runs/ddpm --count=64 --sampler=ddim --steps=20
    python -m jaxnets.evaluate --workdir=runs/ddpm --split=test       # with the bound of the likelihood

With a trained classifier, evaluation measures generated images:

    python -m jaxnets.train --config=lenet --workdir=runs/lenet
    python -m jaxnets.train --config=ddpm:conditional --config.task.classifier='{"run": "runs/lenet"}'

The variant ``captions`` draws scenes of shapes from sentences, some with pairs of shape and color that training lacks:

    python -m jaxnets.train --config=ddpm:captions
    python -m jaxnets.generate --workdir=runs/ddpm --prompt="a red circle above a blue square" --guidance=3
    python -m jaxnets.evaluate --workdir=runs/ddpm --split=test --evaluators=scenes

The variant ``mnist`` is for MNIST, or other images in the same four IDX files:

    python -m jaxnets.train --config=ddpm:mnist --config.data.path=folder/of/mnist
"""

DIGITS = {"name": "data.digits", "read_as": "images", "batch_size": 64}
SMALL = {
    "name": "generative.UNet",
    "image_shape": (8, 8, 1),
    "width": 32,
    "multipliers": (1, 2),
    "attention_levels": (),
    "num_groups": 8,
    "dropout": 0.1,
}
LEVELS = 17  # of the digits
DIFFUSION = {"name": "tasks.diffusion", "process": {"name": "generative.GaussianDiffusion", "num_levels": LEVELS}}
FLOW = {"name": "tasks.diffusion", "process": {"name": "generative.RectifiedFlow", "num_levels": LEVELS}}

MNIST = {"name": "data.idx", "path": "mnist", "read_as": "images", "batch_size": 128, "validation_fraction": 0.05}

CAPTIONED = {
    "factory": "generative.TextUNet",
    "unet": {
        **SMALL,
        "image_shape": (16, 16, 3),
        "attention_levels": (1,),
        "context_dim": 64,
        "num_heads": 4,
        "dropout": 0.0,
    },
}

VARIANTS: dict[str, dict] = {
    "flow_matching": {"task": FLOW},
    "conditional": {"model": {**SMALL, "num_classes": 10}},
    "captions": {
        "task": {
            "name": "tasks.diffusion",
            "process": {"name": "generative.RectifiedFlow", "times": "logit_normal"},
            "guidance": 2.0,
            "sampling_steps": 25,
        },
        "data": {"name": "data.shape_scenes", "batch_size": 64},
        "model": CAPTIONED,
        "evaluators": {"scenes": {"name": "tasks.scene_accuracy", "splits": ["validation", "test"], "every": 0}},
        "train": {"steps": 6000, "evaluate_every": 500, "report_every": 2000},
    },
    "mnist": {
        "task": "tasks.diffusion",
        "data": MNIST,
        "model": {**SMALL, "image_shape": (28, 28, 1), "multipliers": (1, 2, 2), "attention_levels": (2,)},
        "train": {"steps": 17_800, "evaluate_every": 890, "log_every": 89, "report_every": 3560},
    },
}


def get_config(variant: str = "") -> dict:
    return {
        "task": DIFFUSION,
        "data": DIGITS,
        "model": SMALL,
        "optimizer": {"ema_decay": 0.995, "end_lr_factor": 0.05},
        "train": {"steps": 2000, "evaluate_every": 250, "report_every": 1000},
        **VARIANTS.get(variant, {}),
    }
