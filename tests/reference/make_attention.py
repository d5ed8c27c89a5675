"""Golden arrays of attention and transformer layers of torch, in float64: generator of ``attention.npz``.

    python tests/reference/make_attention.py

The script needs torch; the tests do not. Each case has inputs, outputs, and the gradients of
``sum(cos(i) * output_i ** 2)``.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

B, T, S, N, K, D = 2, 6, 9, 4, 2, 3
WIDTH, HEADS, HIDDEN = 8, 2, 12
MASK = torch.rand(B, N, T, S, generator=torch.Generator().manual_seed(1)) > 0.3
CASES = {
    "plain": {},
    "boolean": {"attn_mask": MASK},
    "additive": {"attn_mask": torch.randn(B, N, T, S, dtype=torch.float64, generator=torch.Generator().manual_seed(2))},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "grouped": {"enable_gqa": True},
    "multi_query": {"enable_gqa": True, "is_causal": True},
}


def objective(output):
    weights = torch.cos(torch.arange(output.numel(), dtype=output.dtype)).reshape(output.shape)
    return (weights * output**2).sum()


def add_attention(results):
    """Adds cases of attention; arrays are saved as [B, T, N, D], and are [B, N, T, D] in torch."""
    for name, options in CASES.items():
        heads = {"grouped": K, "multi_query": 1}.get(name, N)
        shapes = {"query": (B, T, N, D), "key": (B, S, heads, D), "value": (B, S, heads, D)}
        inputs = {key: torch.randn(shape, requires_grad=True) for key, shape in shapes.items()}
        output = scaled_dot_product_attention(*(a.transpose(1, 2) for a in inputs.values()), **options).transpose(1, 2)
        objective(output).backward()
        results[f"attention/{name}/output"] = output
        for key, array in inputs.items():
            results |= {f"attention/{name}/{key}": array, f"attention/{name}/gradient/{key}": array.grad}
    results |= {"attention/boolean/mask": MASK, "attention/additive/bias": CASES["additive"]["attn_mask"]}


def add_layers(results):
    lengths = torch.tensor([5, 3])
    padding = torch.arange(T) >= lengths[:, None]
    causal = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
    for norm_first in (False, True):
        options = dict(dropout=0.0, batch_first=True, norm_first=norm_first)
        for name, layer in (
            ("encoder", torch.nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, activation="relu", **options)),
            ("decoder", torch.nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, activation="relu", **options)),
        ):
            case = f"{name}/{'before' if norm_first else 'after'}"
            for weight in layer.parameters():  # so that biases are not 0 and scales of norms not 1
                weight.data += 0.3 * torch.randn(weight.shape)
            x, memory = torch.randn(B, T, WIDTH, requires_grad=True), torch.randn(B, S, WIDTH, requires_grad=True)
            if name == "encoder":
                output = layer(x, src_key_padding_mask=padding)
            else:
                output = layer(x, memory, tgt_mask=causal, tgt_key_padding_mask=padding)
            objective(output * ~padding[..., None]).backward()
            results |= {f"{case}/x": x, f"{case}/output": output, f"{case}/gradient/x": x.grad}
            if name == "decoder":
                results |= {f"{case}/memory": memory, f"{case}/gradient/memory": memory.grad}
            for key, weight in layer.named_parameters():
                results |= {f"{case}/weight/{key}": weight, f"{case}/gradient/weight/{key}": weight.grad}


def main():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    results = {}
    add_attention(results)
    add_layers(results)
    arrays = {name: value.detach().numpy() for name, value in results.items()}
    np.savez_compressed(Path(__file__).with_name("attention.npz"), **arrays)


if __name__ == "__main__":
    main()
