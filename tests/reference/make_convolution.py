"""Golden arrays of torchvision's models, in float64: generator of ``convolution.npz``.

    python tests/reference/make_convolution.py

The script needs torch and torchvision (0.28, with pillow); the tests need neither. ``fill`` generates the weights.
Each model has its logits in evaluation and in training. From one training step with the loss ``sum(cos(i) * logit_i)``,
the file has the gradient norm of each parameter, sorted by name; the gradient of the first convolution; the mean and
the variance of each running statistic; and the running variance of the last norm.
"""

import zlib
from pathlib import Path

import numpy as np

CLASSES = 10
# Height and width of the images: about the minimum for which each layer has several output pixels.
SIZES = {
    "alexnet": 80,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "efficientnet_b5": 64,
    "googlenet": 64,
    "resnet18": 64,
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "vgg11": 48,
    "vgg11_bn": 48,
    "wide_resnet50_2": 64,
}


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns deterministic values for the array ``name`` of a torch state dict, with the scale of trained weights."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith("layer_scale"):
        return random.uniform(0.2, 0.4, shape).astype(np.float32)
    noise = random.standard_normal(shape, np.float32)
    if len(shape) > 1:
        return noise * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return 0.1 * noise + (name.endswith("weight"))


def images(size: int) -> np.ndarray:
    """Returns deterministic images ``[2, size, size, 3]``."""
    return np.random.default_rng(size).standard_normal((2, size, size, 3), np.float32)


def main() -> None:
    import torch

    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
    import torchvision

    results: dict[str, np.ndarray] = {}
    for name, size in SIZES.items():
        options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
        model = getattr(torchvision.models, name)(num_classes=CLASSES, **options).double()
        for module in model.modules():
            if hasattr(module, "p"):  # dropout and stochastic depth
                module.p = 0.0
        state = model.state_dict()
        filled = {k: torch.tensor(fill(k, tuple(v.shape))) for k, v in state.items() if not k.endswith("tracked")}
        model.load_state_dict(filled, strict=False)
        x = torch.tensor(images(size)).double().permute(0, 3, 1, 2)
        with torch.no_grad():
            results[f"{name}/logits"] = model.eval()(x).numpy()
        output = model.train()(x)
        logits = output.logits if hasattr(output, "logits") else output
        weights = torch.cos(torch.arange(logits.numel(), dtype=torch.float64)).reshape(logits.shape)
        (weights * logits).sum().backward()
        results[f"{name}/train_logits"] = logits.detach().numpy()
        # The auxiliary heads of GoogLeNet do not affect the logits and have no gradient.
        gradients = {k: v.grad for k, v in sorted(model.named_parameters()) if v.grad is not None}
        results[f"{name}/gradient_norms"] = np.array([float(g.norm()) for g in gradients.values()])
        first = next(k for k, v in model.named_parameters() if v.ndim == 4)
        results[f"{name}/first_gradient"] = gradients[first].numpy()
        running = {k: v.numpy() for k, v in sorted(model.state_dict().items()) if "running" in k}
        results[f"{name}/statistics"] = np.array([[v.mean(), v.var()] for v in running.values()])
        if running:
            last = [k for k in model.state_dict() if k.endswith("running_var")][-1]
            results[f"{name}/last_variance"] = running[last]
        print(name, f"{sum(p.numel() for p in model.parameters()):,} parameters")
    path = Path(__file__).parent / "convolution.npz"
    np.savez_compressed(path, **{k: v.astype(np.float32) for k, v in results.items()})
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
