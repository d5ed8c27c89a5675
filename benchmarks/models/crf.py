"""Benchmark of the conditional random field against pytorch-crf.

    python -m benchmarks.models.crf --json=benchmarks/results/models/crf.json

"gradient" computes the sum of the log-likelihoods and its gradients in the emissions and in all parameters. "Viterbi"
computes the best tags. Sentences have T / 2 to T words. pytorch-crf returns the best tags as lists of Python integers,
which is part of its time. Its arrays are small, so it is also run on one thread. "log space" evaluates the equation of
the forward algorithm, and JAX differentiates it.
"""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import harness
from jaxnets import program, text
from jaxnets.ops.masks import valid_steps
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

flags.DEFINE_integer("batch", 32, "Sentences B.", lower_bound=1)
flags.DEFINE_list("lengths", ["50", "200"], "Numbers of words T.")
flags.DEFINE_list("tags", ["9", "17", "50"], "Numbers of tags K.")
flags.DEFINE_integer("rounds", 7, "Number of rounds; each implementation runs once per round.", lower_bound=1)
flags.DEFINE_string("json", None, "Output file of the result.")

PASSES = ("gradient", "Viterbi")
Arrays = dict[str, np.ndarray]


def random_arrays(length: int, num_tags: int) -> Arrays:
    rng = np.random.default_rng(0)
    lengths = rng.integers((length + 1) // 2, length + 1, FLAGS.batch)
    normal = lambda *shape: np.asarray(rng.normal(size=shape), np.float32)
    return {
        "emissions": normal(FLAGS.batch, length, num_tags),
        "transitions": normal(num_tags, num_tags),
        "start": normal(num_tags),
        "end": normal(num_tags),
        "tags": rng.integers(0, num_tags, (FLAGS.batch, length)).astype(np.int32),
        "mask": np.asarray(valid_steps(jnp.asarray(lengths), length)),
    }


def log_space(emissions, tags, transitions, start, end, mask):
    """The log-likelihood by the forward algorithm in log space."""

    def step(alpha, inputs):
        emission, valid = inputs
        following = emission + jax.nn.logsumexp(alpha[:, :, None] + transitions[None], axis=1)
        return jnp.where(valid[:, None], following, alpha), None

    steps = jnp.swapaxes(emissions, 0, 1)
    alpha, _ = jax.lax.scan(step, start[None] + steps[0], (steps[1:], mask.T[1:]))
    log_z = jax.nn.logsumexp(alpha + end[None], axis=-1)
    return text.crf_score(emissions, tags, transitions, start, end, mask) - log_z


def jax_cases(arrays: Arrays, which: str) -> dict[str, harness.Case]:
    shared = {name: jnp.asarray(a) for name, a in arrays.items()}
    tags, mask = shared.pop("tags"), shared.pop("mask")
    if which == "Viterbi":
        return {"jaxnets": harness.compiled(lambda scores: text.crf_viterbi(**scores, mask=mask), shared)}

    def gradient(log_likelihood):
        objective = lambda scores: jnp.sum(log_likelihood(**scores, tags=tags, mask=mask))
        return harness.compiled(jax.value_and_grad(objective), shared)

    return {"jaxnets": gradient(text.crf_log_likelihood), "log space": gradient(log_space)}


def torch_case(arrays: Arrays, which: str, threads: int | None = None) -> harness.Case:
    import torch
    import torchcrf

    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    device = "cuda" if cuda else "cpu"
    crf = torchcrf.CRF(arrays["start"].shape[0], batch_first=True).to(device)
    names = {"transitions": "transitions", "start": "start_transitions", "end": "end_transitions"}
    crf.load_state_dict({theirs: torch.from_numpy(arrays[ours]) for ours, theirs in names.items()})
    tensor = lambda name: torch.from_numpy(arrays[name].copy()).to(device)
    emissions, tags, mask = tensor("emissions").requires_grad_(True), tensor("tags").long(), tensor("mask")
    wait = torch.cuda.synchronize if cuda else lambda: None
    threads = threads or torch.get_num_threads()

    def gradient() -> None:
        torch.set_num_threads(threads)
        emissions.grad = None
        crf.zero_grad(set_to_none=True)
        crf(emissions, tags, mask).backward()
        wait()

    def viterbi() -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            crf.decode(emissions, mask)

    return harness.Case(gradient if which == "gradient" else viterbi)


def measure(length: int, num_tags: int) -> dict[str, Any]:
    """Times all implementations for one size and prints the results."""
    arrays = random_arrays(length, num_tags)
    row: dict[str, Any] = {"length": length, "num_tags": num_tags, "rounds": FLAGS.rounds}
    for which in PASSES:
        cases = jax_cases(arrays, which)
        with contextlib.suppress(ImportError):
            cases |= {"pytorch-crf": torch_case(arrays, which), "pytorch-crf, 1 thread": torch_case(arrays, which, 1)}
        timings, disturbed = harness.interleaved(cases, FLAGS.rounds)
        row[which] = {
            name: {
                "ms": timing.ms,
                "ratio": harness.ratio(timings["jaxnets"], timing),
                "compile_seconds": cases[name].compile_seconds,
            }
            for name, timing in timings.items()
        }
        row[f"{which}_disturbed"] = disturbed
        print(f"\nT={length}, K={num_tags}, {which} ({disturbed} of {FLAGS.rounds} rounds disturbed)")
        for name, found in row[which].items():
            print(f"{name:<22}{found['ms']:>10.2f} ms   ratio {found['ratio']:.2f}", flush=True)
    return row


def sizes(name: str) -> list[int]:
    """Parses a flag of positive integers."""
    values = FLAGS[name].value or []
    if not all(value.isdecimal() and int(value) for value in values):
        raise UsageError(f"--{name} must be positive integers, got {','.join(values)!r}")
    return [int(value) for value in values]


def main(overrides: program.Overrides) -> None:
    lengths, tags = sizes("lengths"), sizes("tags")
    result: dict[str, Any] = {"command": harness.command(), **harness.machine(), "batch": FLAGS.batch, "crf": []}
    for length in lengths:
        for num_tags in tags:
            result["crf"].append(measure(length, num_tags))
            if FLAGS.json:
                harness.write(FLAGS.json, result)


if __name__ == "__main__":
    program.run(main)
