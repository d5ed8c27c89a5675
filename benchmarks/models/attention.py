"""Causal attention and a transformer's block beside those of other libraries, over lengths: time and memory.

    python -m benchmarks.models.attention --json=benchmarks/results/models/attention.json

Every row has about the same number of tokens: B is --tokens / T, one at least. "forward" computes the outputs;
"gradient" computes them and the gradients of all inputs and parameters. An implementation that needs more than
--memory_mb is not run (torch, of which that is not known, always is). "decoder" is the gradient of GPT-2's loss, and
which share of the machine's rate for large products it reaches; "decoding" writes tokens greedily, one after the other,
with a cache.
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

flags.DEFINE_list("lengths", ["128", "512", "2048", "8192"], "Lengths T.")
flags.DEFINE_integer("tokens", 4096, "B times T, where T is not longer.", lower_bound=1)
flags.DEFINE_integer("heads", 8, "N.", lower_bound=1)
flags.DEFINE_integer("features", 64, "Of each head.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16", "float16"], "Compute type.")
PARTS = ("attention", "block", "decoder", "decoding")

flags.DEFINE_list("parts", list(PARTS), f"{', '.join(PARTS)}.")
flags.DEFINE_integer("layers", 4, "Of the decoders.", lower_bound=1)
flags.DEFINE_integer("written", 256, "Tokens that are decoded one after the other.", lower_bound=1)
flags.DEFINE_list("implementations", ["xla", "chunked"], "Of jaxnets.attention.attention.")
flags.DEFINE_integer("memory_mb", 8192, "The most temporary memory a program may need to be run.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "How often each implementation gets its turn.", lower_bound=1)
flags.DEFINE_string("json", None, "Write the result to this file.")


def attention_cases(batch: int, length: int, dtype: Any, which: str) -> Cases:
    shape = (batch, length, FLAGS.heads, FLAGS.features)
    given = [jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0), 3)]
    compiled = lambda f: lambda: harness.compiled(work(f, which, 3), *given)
    flax = lambda q, k, v: nn.dot_product_attention(q, k, v, mask=nn.make_causal_mask(q[..., 0, 0]))

    def of_torch(torch, _):
        sdpa = torch.nn.functional.scaled_dot_product_attention
        return lambda *qkv: sdpa(*(a.transpose(1, 2) for a in qkv), is_causal=True), None

    ours = {
        f"jaxnets {name}": compiled(functools.partial(attention, causal=True, implementation=name))
        for name in FLAGS.implementations
    }
    return {
        **ours,
        "jax.nn": compiled(functools.partial(jax.nn.dot_product_attention, is_causal=True)),
        "flax linen": compiled(flax),
        "torch": lambda: torch_case(of_torch, which, *given),
    }


class FlaxBlock(nn.Module):
    """The block as users of flax write it."""

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

    def of_torch(torch, options):
        gelu = functools.partial(torch.nn.functional.gelu, approximate="tanh")
        # Its fast path for inference knows the names of activations only; the other form of GELU costs about the same.
        activation = "gelu" if which == "forward" else gelu
        layer = torch.nn.TransformerEncoderLayer(
            width, FLAGS.heads, 4 * width, 0.0, activation, batch_first=True, norm_first=True, **options
        ).train(which == "gradient")
        mask = torch.nn.Transformer.generate_square_subsequent_mask(length, **options)
        return lambda xs: layer(xs, src_mask=mask, is_causal=True), layer

    ours = {
        f"jaxnets {name}": compiled(
            Block(width, FLAGS.heads, 4 * width, dtype=dtype, implementation=name), lambda result: result[0]
        )
        for name in FLAGS.implementations
    }
    return {
        **ours,
        "flax linen": compiled(FlaxBlock(FLAGS.heads, 4 * width, dtype)),
        "torch": lambda: torch_case(of_torch, which, xs),
    }


def row(part: str, length: int) -> dict[str, Any]:
    batch = max(1, FLAGS.tokens // length)
    make = {"attention": attention_cases, "block": block_cases}[part]
    title, dtype = f"{part} B={batch} T={length}", jnp.dtype(FLAGS.dtype)
    found = side_by_side(
        title, lambda which: make(batch, length, dtype, which), rounds=FLAGS.rounds, memory_mb=FLAGS.memory_mb
    )
    return {"part": part, "batch": batch, "length": length, **found}


VOCABULARY = 50_257  # GPT-2's


def decoder_row(length: int, rate: float) -> dict[str, Any]:
    """Time of a gradient of the loss, and its share of the rate: the FLOPs of a forward pass three times."""
    batch, width = max(1, FLAGS.tokens // length), FLAGS.heads * FLAGS.features
    model = gpt2(VOCABULARY, width, FLAGS.layers, FLAGS.heads, max_seq_len=length, dtype=jnp.dtype(FLAGS.dtype))
    tokens = jax.random.randint(jax.random.key(0), (batch, length + 1), 0, VOCABULARY)
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
        f"\ndecoder of {parameters:,} parameters, B={batch} T={length}: {1e3 * seconds:.1f} ms, {share:.0%} of the rate"
    )
    return {"parameters": parameters, "batch": batch, "length": length, "ms": 1e3 * seconds, "share": share}


def decoding_row() -> dict[str, Any]:
    """Tokens a second, B 1."""
    width, vocabulary = FLAGS.heads * FLAGS.features, 4096
    model = gpt2(vocabulary, width, FLAGS.layers, FLAGS.heads, max_seq_len=FLAGS.written, dtype=jnp.dtype(FLAGS.dtype))
    variables = model.init(jax.random.key(1), jnp.zeros((1, 2), jnp.int32))

    def write(model, variables):
        def step(cache, token):
            result: Any = model.apply(variables, token[None, None], cache)
            return result[0], result[1][0, 0]

        return decoding.greedy(step, model.start(), 0, max_length=FLAGS.written)

    apart, parts = unstack(model, dict(variables))
    cases = {
        "jaxnets": harness.compiled(functools.partial(write, apart), parts),
        "jaxnets, stacked": harness.compiled(functools.partial(write, model), variables),
    }
    try:
        import torch

        from benchmarks.models.torch_decoder import Decoder

        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        decoder = Decoder(vocabulary, width, FLAGS.layers, FLAGS.heads, FLAGS.written)
        decoder = decoder.to(device, getattr(torch, FLAGS.dtype)).eval()
        cases["torch"] = harness.Case(lambda: decoder.greedy(0, FLAGS.written))
    except ImportError:
        pass
    timings, _ = harness.interleaved(cases, FLAGS.rounds)
    rates = {name: 1e3 * FLAGS.written / timing.ms for name, timing in timings.items()}
    print("\ndecoding, tokens a second: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()))
    return {"layers": FLAGS.layers, "width": width, "vocabulary": vocabulary, "tokens_per_second": rates}


def main(overrides: program.Overrides) -> None:
    for part in FLAGS.parts:
        if part not in PARTS:
            raise UsageError(f"--parts: {', '.join(PARTS)}; given {part!r}")
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
