"""Benchmark of causal attention and transformer blocks against other libraries: time and memory as functions of length.

    python -m benchmarks.models.attention --json=benchmarks/results/models/attention.json

All rows have about the same number of tokens: B is --tokens / T, and at least 1. "forward" computes the outputs.
"gradient" computes the outputs and the gradients of all inputs and parameters. Implementations that need more than
--memory_mb are not run; torch is always run, since its memory is unknown. "decoder" is the gradient of the loss of
GPT-2, with its FLOP/s as a fraction of the FLOP/s of a large matrix product. "decoding" is greedy decoding with a
cache.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import flags
from flax import linen as nn

from benchmarks import harness
from benchmarks.side_by_side import Cases, side_by_side, torch_case, work
from jaxnets import decoding, program
from jaxnets.attention import Block, attention, gpt2, unstack
from jaxnets.training.errors import UsageError
from jaxnets.training.reporting import flops

FLAGS = flags.FLAGS

flags.DEFINE_list("lengths", ["128", "512", "2048", "8192"], "Sequence lengths T.")
flags.DEFINE_integer("tokens", 4096, "Number of tokens B T in a batch; B is at least 1.", lower_bound=1)
flags.DEFINE_integer("heads", 8, "Number of attention heads.", lower_bound=1)
flags.DEFINE_integer("features", 64, "Features per head.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16", "float16"], "Compute dtype.")
PARTS = ("attention", "block", "decoder", "decoding")

flags.DEFINE_list("parts", list(PARTS), f"Benchmarks to run: {', '.join(PARTS)}.")
flags.DEFINE_integer("layers", 4, "Number of layers of the decoders.", lower_bound=1)
flags.DEFINE_integer("max_length", 256, "Number of decoded tokens.", lower_bound=1)
flags.DEFINE_list("implementations", ["xla", "chunked"], "Implementations of jaxnets.attention.attention.")
flags.DEFINE_integer("memory_mb", 8192, "Maximum temporary memory in MB; larger programs are not run.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")


def attention_cases(batch: int, length: int, dtype: Any, which: str) -> Cases:
    shape = (batch, length, FLAGS.heads, FLAGS.features)
    qkv = [jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0), 3)]
    compiled = lambda f: lambda: harness.compiled(work(f, which, 3), *qkv)
    flax = lambda q, k, v: nn.dot_product_attention(q, k, v, mask=nn.make_causal_mask(q[..., 0, 0]))

    def make_torch(torch, _):
        sdpa = torch.nn.functional.scaled_dot_product_attention
        return lambda *qkv: sdpa(*(a.transpose(1, 2) for a in qkv), is_causal=True), None

    cases = {
        f"jaxnets {name}": compiled(functools.partial(attention, causal=True, implementation=name))
        for name in FLAGS.implementations
    }
    return {
        **cases,
        "jax.nn": compiled(functools.partial(jax.nn.dot_product_attention, is_causal=True)),
        "flax linen": compiled(flax),
        "torch": lambda: torch_case(make_torch, which, *qkv),
    }


class FlaxBlock(nn.Module):
    """A transformer block in flax."""

    heads: int
    hidden: int
    dtype: Any

    @nn.compact
    def __call__(self, xs):
        norm = functools.partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        mask = nn.make_causal_mask(xs[..., 0])
        xs += nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype)(norm()(xs), mask=mask)
        units = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype)(norm()(xs)))
        return xs + nn.Dense(xs.shape[-1], dtype=self.dtype)(units)


def block_cases(batch: int, length: int, dtype: Any, which: str) -> Cases:
    width = FLAGS.heads * FLAGS.features
    xs = jax.random.normal(jax.random.key(0), (batch, length, width), dtype)

    def compiled(module: nn.Module, output: Callable = lambda ys: ys):
        def make():
            variables = module.init(jax.random.key(1), xs[:, :2])
            return harness.compiled(work(lambda *a: output(module.apply(*a)), which, 2), variables, xs)

        return make

    def make_torch(torch, options):
        gelu = functools.partial(torch.nn.functional.gelu, approximate="tanh")
        # torch's fast path for inference requires an activation by name; exact GELU has about the same cost.
        activation = "gelu" if which == "forward" else gelu
        layer = torch.nn.TransformerEncoderLayer(
            width, FLAGS.heads, 4 * width, 0.0, activation, batch_first=True, norm_first=True, **options
        ).train(which == "gradient")
        mask = torch.nn.Transformer.generate_square_subsequent_mask(length, **options)
        return lambda xs: layer(xs, src_mask=mask, is_causal=True), layer

    cases = {
        f"jaxnets {name}": compiled(
            Block(width, FLAGS.heads, 4 * width, dtype=dtype, implementation=name), lambda result: result[0]
        )
        for name in FLAGS.implementations
    }
    return {
        **cases,
        "flax linen": compiled(FlaxBlock(FLAGS.heads, 4 * width, dtype)),
        "torch": lambda: torch_case(make_torch, which, xs),
    }


def row(part: str, length: int) -> dict[str, Any]:
    batch = max(1, FLAGS.tokens // length)
    make = {"attention": attention_cases, "block": block_cases}[part]
    title, dtype = f"{part} B={batch} T={length}", jnp.dtype(FLAGS.dtype)
    timings = side_by_side(
        title, lambda which: make(batch, length, dtype, which), rounds=FLAGS.rounds, memory_mb=FLAGS.memory_mb
    )
    return {"part": part, "batch": batch, "length": length, **timings}


VOCAB_SIZE = 50_257  # of GPT-2


def decoder_row(length: int, rate: float) -> dict[str, Any]:
    """Times the gradient of the loss; its FLOPs are counted as three times those of the forward pass."""
    batch, width = max(1, FLAGS.tokens // length), FLAGS.heads * FLAGS.features
    model = gpt2(VOCAB_SIZE, width, FLAGS.layers, FLAGS.heads, max_seq_len=length, dtype=jnp.dtype(FLAGS.dtype))
    tokens = jax.random.randint(jax.random.key(0), (batch, length + 1), 0, VOCAB_SIZE)
    variables = model.init(jax.random.key(1), tokens[:, :2])

    def loss(variables, tokens):
        logits = model.apply(variables, tokens[:, :-1])[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    case = harness.compiled(jax.value_and_grad(loss), variables, tokens)
    seconds = harness.interleaved({"jaxnets": case}, FLAGS.rounds)[0]["jaxnets"].ms * 1e-3
    products = sum(part.flops for part in flops.count(model, tokens[:, :-1]))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    share = 3 * products / seconds / rate
    print(
        f"\ndecoder with {parameters:,} parameters, B={batch} T={length}: {1e3 * seconds:.1f} ms, "
        f"{share:.0%} of the FLOP/s of a large matrix product"
    )
    return {"parameters": parameters, "batch": batch, "length": length, "ms": 1e3 * seconds, "share": share}


def decoding_row() -> dict[str, Any]:
    """Measures tokens per second of greedy decoding, for a batch of 1."""
    width, vocab_size = FLAGS.heads * FLAGS.features, 4096
    model = gpt2(
        vocab_size, width, FLAGS.layers, FLAGS.heads, max_seq_len=FLAGS.max_length, dtype=jnp.dtype(FLAGS.dtype)
    )
    variables = model.init(jax.random.key(1), jnp.zeros((1, 2), jnp.int32))

    def decode(model, variables):
        def step(cache, token):
            result: Any = model.apply(variables, token[None, None], cache)
            return result[0], result[1][0, 0]

        return decoding.greedy(step, model.start(), 0, max_length=FLAGS.max_length)

    unstacked_model, unstacked_variables = unstack(model, dict(variables))
    cases = {
        "jaxnets": harness.compiled(functools.partial(decode, unstacked_model), unstacked_variables),
        "jaxnets, stacked": harness.compiled(functools.partial(decode, model), variables),
    }
    try:
        import torch

        from benchmarks.models.torch_decoder import Decoder

        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        decoder = Decoder(vocab_size, width, FLAGS.layers, FLAGS.heads, FLAGS.max_length)
        decoder = decoder.to(device, getattr(torch, FLAGS.dtype)).eval()
        cases["torch"] = harness.Case(lambda: decoder.greedy(0, FLAGS.max_length))
    except ImportError:
        pass
    timings, _ = harness.interleaved(cases, FLAGS.rounds)
    rates = {name: 1e3 * FLAGS.max_length / timing.ms for name, timing in timings.items()}
    print("\ndecoding, tokens per second: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()))
    return {"layers": FLAGS.layers, "width": width, "vocabulary": vocab_size, "tokens_per_second": rates}


def main(overrides: program.Overrides) -> None:
    for part in FLAGS.parts:
        if part not in PARTS:
            raise UsageError(f"--parts must be one of {', '.join(PARTS)}, got {part!r}")
    sizes = dict(heads=FLAGS.heads, features=FLAGS.features, dtype=FLAGS.dtype)
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), **sizes, "attention": []}
    rate = harness.product_rate(jnp.dtype(FLAGS.dtype))
    for part in FLAGS.parts:
        if part == "decoding":
            result["decoding"] = decoding_row()
        for length in map(int, FLAGS.lengths if part in ("attention", "block") else []):
            result["attention"].append(row(part, length))
            if FLAGS.json:
                harness.write(FLAGS.json, result)
        if part == "decoder":
            result["decoder"] = decoder_row(min(1024, max(map(int, FLAGS.lengths))), rate)
    if FLAGS.json:
        harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
