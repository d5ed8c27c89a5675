"""Generation with a trained model: the continuation of a prompt, a translation, or samples.

python -m jaxnets.generate --workdir=runs/char_lm --prompt="def " --length=500 --temperature=0.8
python -m jaxnets.generate --workdir=runs/char_lm --prompt="def " --tree
python -m jaxnets.generate --workdir=runs/gan --count=64 --labels=0,1,2 --output=samples.png
python -m jaxnets.generate --workdir=runs/ddpm --count=64 --sampler=ddim --steps=20 --output=samples.png
"""

from jaxnets import startup

startup.prepare(__name__)

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from jaxnets import decoding, program
from jaxnets.reports import Arrays, Text
from jaxnets.tasks import Endpoint, Stream
from jaxnets.training import build, restore
from jaxnets.training.errors import RunError, UsageError
from jaxnets.training.prediction import samples
from jaxnets.training.reporting import artifacts

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", "runs/char_lm", "Run folder.")
flags.DEFINE_string("step", "best", "Checkpoint: best (by the task's objective), last, or a step.")
flags.DEFINE_string("prompt", None, "Text to continue (the default is a new line), to translate or to draw.")
flags.DEFINE_integer("length", 500, "Number of tokens to generate.", lower_bound=0)
flags.DEFINE_float("temperature", 0.8, "Sampling temperature; 0 always selects the most likely token.", lower_bound=0)
flags.DEFINE_integer("top_k", 0, "Sample among the k most likely tokens; 0 samples among all.", lower_bound=0)
flags.DEFINE_float(
    "top_p", 1.0, "Total probability of the most likely tokens to sample from (nucleus sampling).", 0.0, 1.0
)
flags.DEFINE_integer("count", 16, "Number of samples, of images and other examples.", lower_bound=1)
flags.DEFINE_list("labels", None, "Classes of the samples of a conditional model, in turn; the default is all.")
flags.DEFINE_bool("interpolate", False, "Interpolate between two samples, in --count steps.")
flags.DEFINE_integer("steps", None, "Steps of the sampler of a diffusion model.", lower_bound=1)
flags.DEFINE_string("sampler", None, "Sampler of a diffusion model: ddim, dpm_solver, ancestral; euler, heun.")
flags.DEFINE_float("guidance", None, "Weight of classifier-free guidance of a diffusion model.", lower_bound=0)
flags.DEFINE_string(
    "output",
    None,
    "Folder that receives samples/ with images and other files (the default is the run folder), or a file: .png for "
    "images, .npz for arrays.",
)
flags.DEFINE_integer("seed", 0, "Random seed.")
flags.DEFINE_bool(
    "tree", False, "Print a tree of the most likely next tokens and their probabilities, two levels deep."
)
flags.DEFINE_integer("branches", 5, "Number of children of each node of the tree.", lower_bound=1)
flags.DEFINE_list("trust", [], "Packages outside jaxnets that the run's config may import.")


def main(overrides: program.Overrides) -> None:
    restore.reject_overrides(overrides)
    run = restore.open_run(Path(FLAGS.workdir), FLAGS.step, tuple(FLAGS.trust))
    _check_unicode(FLAGS.prompt or "")
    with restore.run_errors(run.workdir):
        if (generate := run.task.endpoints.get("generate")) is not None:
            _print_outputs(run, generate)
        elif "stream" in run.task.endpoints:
            _print_text(run, run.task.endpoints["stream"])
        else:
            raise UsageError(
                f"--workdir={FLAGS.workdir} must be a run of a task that generates, got {build.task_name(run.config)}"
            )


def _print_outputs(run: restore.Run, generate: Endpoint) -> None:
    """Prints generated texts, and writes other artifacts to files."""
    if generate.read is None:
        request = samples.Request(FLAGS.count, FLAGS.seed, FLAGS.labels, FLAGS.interpolate)
        given = samples.inputs(run.spec, generate, request)
    else:
        given = _given_text(generate.read)
        if "key" in generate.inputs:  # --count samples of the text
            keys = jax.random.split(jax.random.key(FLAGS.seed), FLAGS.count)
            given = {"key": keys, **{name: np.repeat(row, FLAGS.count, axis=0) for name, row in given.items()}}
    options = samples.options(generate, {name: FLAGS[name].value for name in ("steps", "sampler", "guidance")})
    try:
        outputs = generate.function(run.variables, given, **options)
    except ValueError as error:
        if not options:
            raise
        raise UsageError(f"{' '.join(f'--{name}={value}' for name, value in options.items())}: {error}") from error
    presented = {"outputs": Arrays(outputs)} if generate.present is None else generate.present(outputs)
    if FLAGS.output and Path(FLAGS.output).suffix in samples.SUFFIXES:
        samples.write_file(Path(FLAGS.output), outputs, presented)
        print(FLAGS.output)
        return
    for name, artifact in presented.items():
        if isinstance(artifact, Text):
            print(artifact.text)
            continue
        folder = Path(FLAGS.output) if FLAGS.output else run.workdir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            artifacts.write(folder, name, artifact)
        except OSError as error:
            raise RunError(f"cannot write to {folder}: {error.strerror}") from error
        print(f"{name} in {folder / 'samples'}")


def _given_text(read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    if FLAGS.prompt is None or not FLAGS.prompt.strip():
        raise UsageError("--prompt must be a text, got none")
    try:
        return read(FLAGS.prompt.strip())
    except ValueError as error:
        raise UsageError(f"--prompt: {error}") from error


def _print_text(run: restore.Run, stream: Stream) -> None:
    vocabulary = run.spec
    text = vocabulary.start if FLAGS.prompt is None else FLAGS.prompt
    try:
        prompt = vocabulary.encode(text)
    except ValueError as error:
        raise UsageError(f"--prompt: {error}") from error
    if not len(prompt):
        raise UsageError("--prompt must have at least one character, got none")
    variables = stream.prepare(run.variables)
    initial = stream.begin(variables, {})
    step = lambda carry, token: stream.step(variables, initial if carry is None else carry, token)
    if FLAGS.tree:
        print(repr(text))
        _print_tree(vocabulary, decoding.tree(step, None, prompt, FLAGS.branches))
        return
    tokens = decoding.stream(
        step,
        None,
        prompt,
        jax.random.key(FLAGS.seed),
        temperature=FLAGS.temperature,
        top_k=FLAGS.top_k,
        top_p=FLAGS.top_p,
    )
    text_of = vocabulary.decoder()
    print(text, end="", flush=True)
    for token in itertools.islice(tokens, FLAGS.length):
        print(text_of(token), end="", flush=True)
    print()


def _check_unicode(prompt: str) -> None:
    """Raises a ``UsageError`` if the prompt is not UTF-8. Python decodes the wrong bytes as surrogates."""
    for place, character in enumerate(prompt):
        if "\ud800" <= character <= "\udfff":
            wrong = f"byte 0x{ord(character) - 0xDC00:02x}" if "\udc80" <= character <= "\udcff" else ascii(character)
            raise UsageError(f"--prompt must be text in UTF-8, got {wrong} at position {place}")


def _print_tree(vocabulary, nodes, indent: str = "") -> None:
    for i, (token, probability, children) in enumerate(nodes):
        last = i == len(nodes) - 1
        print(f"{indent}{'└─' if last else '├─'} {probability:.3f} {vocabulary.show(token)}")
        _print_tree(vocabulary, children, indent + ("   " if last else "│  "))


if __name__ == "__main__":
    program.run(main)
