"""Golden arrays of a torch port of PixelCNN++, in float64: generator of ``pixelcnn.npz``.

    git clone https://github.com/pclucas14/pixel-cnn-pp
    python tests/reference/make_pixelcnn.py pixel-cnn-pp

The script needs torch; the tests do not. A print statement of Python 2 in the port is rewritten when it is read. The
network has 3 features and one block at each size. The loss is the sum of ``cos(i) * output_i``. Weights are those after
weight normalization, named as in the torch state dict; the gradient is that of the images. ``mixture`` are
log-likelihoods of images under random parameters.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch.nn.utils import remove_weight_norm

torch.set_default_dtype(torch.float64)
torch.Tensor.cuda = lambda self, *_: self  # the port assumes a GPU in its losses


def main(repository: str) -> None:
    sys.path.insert(0, repository)
    utils = ModuleType("utils")
    sys.modules["utils"] = utils
    exec((Path(repository) / "utils.py").read_text().replace("print e", "print(e)"), utils.__dict__)
    import model as port

    torch.manual_seed(0)
    network = port.PixelCNN(nr_resnet=1, nr_filters=3, nr_logistic_mix=2, input_channels=3).eval()
    for module in network.modules():
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
    images = (torch.randint(0, 256, (2, 3, 8, 4)) / 127.5 - 1).requires_grad_()
    outputs = network(images)
    (torch.cos(torch.arange(outputs.numel())) * outputs.flatten()).sum().backward()
    results = {f"network/{name}": value.detach().numpy() for name, value in network.state_dict().items()}
    to_numpy = lambda tensor: tensor.detach().permute(0, 2, 3, 1).numpy()
    results |= {"images": to_numpy(images), "outputs": to_numpy(outputs), "gradient": to_numpy(images.grad)}

    parameters = 2 * torch.randn(16, 20, 1, 1)
    levels = torch.randint(0, 256, (16, 3, 1, 1))
    levels[:4] *= 255 * (levels[:4] > 127) // levels[:4].clamp(min=1)  # the ends of the range
    pixels = levels / 127.5 - 1
    gray = 2 * torch.randn(16, 6, 1, 1)
    each = lambda loss, xs, given: np.array([-loss(xs[i : i + 1], given[i : i + 1]).item() for i in range(len(xs))])
    results |= {
        "mixture/parameters": to_numpy(parameters),
        "mixture/pixels": to_numpy(pixels),
        "mixture/log_prob": each(utils.discretized_mix_logistic_loss, pixels, parameters),
        "mixture/gray_parameters": to_numpy(gray),
        "mixture/gray_log_prob": each(utils.discretized_mix_logistic_loss_1d, pixels[:, :1], gray),
    }
    np.savez_compressed(Path(__file__).parent / "pixelcnn.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1])
