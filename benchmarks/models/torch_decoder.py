"""A torch implementation of GPT-2 with a cache of keys and values, for benchmarks."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, xs, cache, start):
        batch, time, width = xs.shape
        heads = (a.view(batch, time, self.heads, -1).transpose(1, 2) for a in self.qkv(self.first(xs)).chunk(3, -1))
        query, key, value = heads
        end = start + time
        cache[0][:, :, start:end], cache[1][:, :, start:end] = key, value
        key, value = cache[0][:, :, :end], cache[1][:, :, :end]
        ys = functional.scaled_dot_product_attention(query, key, value, is_causal=time > 1)
        xs = xs + self.out(ys.transpose(1, 2).reshape(batch, time, width))
        return xs + self.outer(functional.gelu(self.inner(self.second(xs)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, vocab_size: int, width: int, layers: int, heads: int, max_seq_len: int):
        super().__init__()
        self.embed, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(max_seq_len, width)
        self.blocks, self.norm = nn.ModuleList([Block(width, heads) for _ in range(layers)]), nn.LayerNorm(width)
        self.shape = (1, heads, max_seq_len, width // heads)

    def greedy(self, token: int, length: int) -> list[int]:
        """Decodes ``length`` tokens greedily."""
        weight, tokens = self.embed.weight, []
        caches = [[weight.new_zeros(self.shape) for _ in range(2)] for _ in self.blocks]
        with torch.inference_mode():
            last = torch.tensor([[token]], device=weight.device)
            for t in range(length):
                xs = self.embed(last) + self.positions.weight[t]
                for block, cache in zip(self.blocks, caches, strict=True):
                    xs = block(xs, cache, t)
                last = (self.norm(xs) @ weight.T).argmax(-1)
                tokens.append(last)
            return torch.cat(tokens, -1)[0].tolist()
