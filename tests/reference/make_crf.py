"""Golden arrays of pytorch-crf 0.7.2, in float64: generator of ``crf.npz``.

    python tests/reference/make_crf.py

The script needs torch and pytorch-crf; the tests do not. The masks are prefixes that are not empty, as pytorch-crf
requires. The gradients are those of ``sum(cos(b) * log_likelihood_b)``.
"""

from pathlib import Path

import numpy as np
import torch
import torchcrf

B, T, K = 5, 12, 7

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(0)
crf = torchcrf.CRF(K, batch_first=True)
for parameter in crf.parameters():
    torch.nn.init.uniform_(parameter, -2, 2)
emissions = torch.tensor(rng.normal(size=(B, T, K)) * 3, requires_grad=True)
tags = torch.tensor(rng.integers(0, K, size=(B, T)))
mask = torch.tensor(np.arange(T) < np.array([12, 1, 7, 2, 11])[:, None])

log_likelihood = crf(emissions, tags, mask, reduction="none")
(torch.cos(torch.arange(B, dtype=torch.float64)) * log_likelihood).sum().backward()
best = np.zeros((B, T), np.int64)
for row, path in zip(best, crf.decode(emissions, mask), strict=True):
    row[: len(path)] = path
parameters = {"transitions": crf.transitions, "start": crf.start_transitions, "end": crf.end_transitions}
arrays = {
    "emissions": emissions.detach(),
    "tags": tags,
    "mask": mask,
    "log_likelihood": log_likelihood.detach(),
    "best": best,
    "gradient/emissions": emissions.grad,
    **{name: parameter.detach() for name, parameter in parameters.items()},
    **{f"gradient/{name}": parameter.grad for name, parameter in parameters.items()},
}
np.savez_compressed(Path(__file__).parent / "crf.npz", **{name: np.asarray(a) for name, a in arrays.items()})
