"""Summary of a model: parameters and FLOPs of one forward pass, per submodule, without allocating any array.

python -m jaxnets.summary --config=char_lm
python -m jaxnets.summary --model=recurrent.CharRNN --config.model.vocab_size=65 --config.model.hidden_size=512 --json
python -m jaxnets.summary --model=convolution.resnet50 --input=1,224,224,3
"""

from jaxnets import startup

startup.prepare(__name__)

import json
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from jaxnets import program
from jaxnets.training import build, config
from jaxnets.training.errors import UsageError, format_error
from jaxnets.training.reporting import flops

FLAGS = flags.FLAGS

flags.DEFINE_string("config", "char_lm", "Config file or name of a shipped config; NAME:VARIANT selects a variant.")
flags.DEFINE_string(
    "model",
    None,
    "Model to use instead of a config's, such as recurrent.CharRNN; --config.model.NAME=VALUE sets its arguments.",
)
flags.DEFINE_string(
    "input",
    None,
    "Shape of every input, such as 1,64; int32 if it has two axes, else float32. Without it, an example of the config.",
)
flags.DEFINE_bool("json", False, "Print the summary as one line of JSON.")


def main(overrides: program.Overrides) -> None:
    if FLAGS.model:
        if others := [key for key, _ in overrides if not key.startswith("model.")]:
            raise UsageError(
                f"--config.{others[0]} must not be used with --model, which has only --config.model.NAME settings"
            )
        settings, default = ConfigDict({"model": {"name": FLAGS.model}}), (1, 64)
        config.override(settings, overrides)
        model = build.model(settings.model, trusted=None)()
    else:
        settings = config.load(FLAGS.config)
        config.override(settings, overrides)
        dataset = build.dataset(settings, trusted=None)
        model, task, *_ = build.model_and_task(settings, dataset.spec, trusted=None)
        batch = dataset.train[0]
        default = (1, *batch["inputs"].shape[1:])
    name = settings.model.name
    shape = _shape(FLAGS.input) if FLAGS.input else default
    parts = _count(name, model, shape) if FLAGS.model or FLAGS.input else flops.count_task(task, batch)
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


def _count(name: str, model: Any, shape: tuple[int, ...]) -> list[flops.ModuleCost]:
    inputs = jax.ShapeDtypeStruct(shape, jnp.int32 if len(shape) == 2 else jnp.float32)
    try:
        return flops.count(model, inputs)
    except Exception as error:  # models and JAX raise various errors for wrong shapes
        message = str(error) if isinstance(error, ValueError) else format_error(error)
        raise UsageError(f"--input={','.join(map(str, shape))} does not fit {name}: {message}") from error


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise UsageError(f"--input must be sizes separated by commas, such as 1,64, got {text}") from error
    if min(shape) < 0:
        raise UsageError(f"--input must have sizes of at least 0, got {text}")
    return shape


if __name__ == "__main__":
    program.run(main)
