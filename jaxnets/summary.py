"""Counts a model's parameters and the work of one forward pass, by part; nothing is allocated or trained.

python -m jaxnets.summary --config=char_lm
python -m jaxnets.summary --model=recurrent.CharRNN --config.model.vocabulary=65 --config.model.hidden=512 --json
python -m jaxnets.summary --model=convolution.resnet50 --input=1,224,224,3
"""

from jaxnets import startup

if __name__ == "__main__":
    startup.prepare()

import dataclasses
import json

import jax
import jax.numpy as jnp
from absl import flags

from jaxnets import program
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError, sentence
from jaxnets.training.reporting import flops

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Path of a config file, or the name of a shipped config.")
flags.DEFINE_string(
    "model", None, "Where a model lives, instead of a config's; arguments as --config.model.NAME=VALUE."
)
flags.DEFINE_string(
    "input",
    None,
    "Shape of the input (of each, where there are more), such as 1,64; int32 where it has two axes, else float32.",
)
flags.DEFINE_bool("json", False, "Print one line of JSON.")


def main(overrides: program.Overrides) -> None:
    if FLAGS.model:
        default: tuple[int, ...] = (1, 64)
        name, model = FLAGS.model, build.model(_arguments(FLAGS.model, overrides), trusted=None)
    else:
        settings = config.load(FLAGS.config)
        config.override(settings, overrides)
        dataset = build.dataset(settings)
        name, model = settings.model.name, build.model(settings.model, trusted=None, outputs=dataset.spec.size)
        default = (1, *dataset.train[0]["inputs"].shape[1:])
    shape = _shape(FLAGS.input) if FLAGS.input else default
    given = jax.ShapeDtypeStruct(shape, jnp.int32 if len(shape) == 2 else jnp.float32)
    try:
        parts = flops.count(model, given)
    except Exception as error:  # each model, and JAX below it, refuses with errors of its own
        told = str(error) if isinstance(error, ValueError) else sentence(error)
        raise UsageError(f"--input={','.join(map(str, shape))} does not fit {name}: {told}") from error
    if FLAGS.json:
        print(
            json.dumps(
                {
                    "model": name,
                    "input": shape,
                    "parameters": sum(part.parameters for part in parts),
                    "flops": sum(part.flops for part in parts),
                    "activation_bytes": sum(part.activation_bytes for part in parts),
                    "parts": [part._asdict() for part in parts],
                }
            )
        )
        return
    print(flops.table(parts, f"{name}, input {'x'.join(map(str, shape))}"))


def _arguments(name: str, overrides: program.Overrides) -> dict[str, object]:
    """``--config.model.NAME=VALUE`` as arguments; each has the type of the model's default."""
    builder = build.resolve(name, trusted=None)
    defaults = {}
    if dataclasses.is_dataclass(builder):
        defaults = {f.name: f.default for f in dataclasses.fields(builder) if f.default is not dataclasses.MISSING}
    arguments: dict[str, object] = {"name": name}
    for key, text in overrides:
        section, _, argument = key.partition(".")
        if section != "model" or not argument:
            raise UsageError(f"--config.{key}: with --model only --config.model.NAME is read")
        default = defaults.get(argument)
        arguments[argument] = config.parse(key, text, default) if argument in defaults else config.literal(text)
    return arguments


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise UsageError(f"--input must be sizes with commas between them, such as 1,64, got {text}") from error
    if min(shape) < 0:
        raise UsageError(f"--input must be sizes of at least 0, got {text}")
    return shape


if __name__ == "__main__":
    program.run(main)
