"""Next-token prediction by maximum likelihood: p(w_1 ... w_T) = prod_t p(w_t | w_<t)."""

import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets import decoding
from jaxnets.data import Vocabulary
from jaxnets.learning import Aux, MakeLearner, Mean
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.modules.stepwise import Stepwise, of_language_model
from jaxnets.ops.embedding import fill_padding
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Text
from jaxnets.reports.figures import escape_text
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Stream, Task, partition_rules_of

SAMPLE_LENGTH = 400


def language_model(model: Model, spec: Vocabulary, make_learner: MakeLearner) -> Task:
    """Returns the task of a language model such as ``CharRNN`` or ``DecoderLM`` on batches of ``data.text``.

    The loss is the mean cross entropy over valid tokens, in nats. Rows with ``start`` use the initial carry of the
    model; other rows continue from the previous batch.

    Args:
        model: ``(tokens [B, T], carry, train=) -> (carry, logits [B, T, V])``. An optional method ``stepwise`` defines
            its token-by-token generation (``modules.stepwise``).
        spec: The vocabulary.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
    """
    check_spec("tasks.language_model", spec, Vocabulary)
    model, vocabulary = complete(model, spec), spec

    def run(variables, batch, carry, **options):
        chex.assert_rank(batch["inputs"], 2)
        chex.assert_equal_shape([batch[name] for name in ("inputs", "targets", "mask")])
        if carry is not None:
            initial = model.apply(variables, batch["inputs"][:, :0])[0]
            choose = functools.partial(jax.vmap(jnp.where), batch["start"])  # by row
            carry = jax.tree.map(choose, initial, carry)
        inputs = fill_padding(batch["inputs"], vocabulary.size, batch["mask"])
        result: Any = model.apply(variables, inputs, carry, **options)
        carry, logits = result
        return carry, cross_entropy(logits, batch["targets"], batch["mask"])

    def loss(variables, batch, context):
        carry, nats = run(variables, batch, context.carry, train=True, rngs={"dropout": context.key})
        return masked_mean(nats, batch["mask"]), Aux(jax.lax.stop_gradient(carry))

    def measure(variables, batch, key, carry):
        carry, nats = run(variables, batch, carry)
        return {"loss": Mean(jnp.sum(nats), jnp.sum(batch["mask"], dtype=jnp.float32))}, carry

    def draw(variables, splits, key):
        batch = splits["validation"][0]
        nats = jax.jit(lambda variables, batch: run(variables, batch, None)[1])(variables, batch)
        rows = slice(4)
        mask = np.asarray(batch["mask"])[rows]
        return {"surprise": _surprisal(vocabulary, batch["targets"][rows][mask], np.asarray(nats)[rows][mask])}

    def sample(variables, splits, key):
        prompt = vocabulary.encode(vocabulary.start)
        tokens = decoding.stream(step_function(model, variables), None, prompt, key, temperature=0.8)
        return {"sample": Text(vocabulary.decode([next(tokens) for _ in range(SAMPLE_LENGTH)]))}

    def score(variables, inputs):
        """Returns the loss of each target ``[B, S, T]``; the carry of a row continues from step to step."""

        def advance(carry, batch):
            batch = {**batch, "start": jnp.zeros(len(batch["inputs"]), bool)}
            return run(variables, batch, carry)

        steps = {name: jnp.swapaxes(inputs[name], 0, 1) for name in ("inputs", "targets", "mask")}
        initial = model.apply(variables, steps["inputs"][0, :, :0])[0]
        nats = jnp.swapaxes(jax.lax.scan(advance, initial, steps)[1], 0, 1)
        return {"tokens": inputs["targets"], "nats": nats, "valid": inputs["mask"]}

    stepper = stepwise(model)
    derived = {
        f"bits_per_{vocabulary.unit}": lambda metrics: metrics["loss"] / math.log(2),
        "perplexity": lambda metrics: math.exp(min(metrics["loss"], 700.0)),
    }
    return Task(
        learner=make_learner(lambda key, batch: model.init(key, batch["inputs"][:1, :1]), loss),
        evaluators={"metrics": ScheduledEvaluator(means(measure, derived))},
        objective=("validation/loss", "min"),
        reports={"figures": draw, "sample": sample},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: model.apply(variables, batch["inputs"])[1], {"inputs": ("batch", "length")}
            ),
            "score": Endpoint(
                score,
                dict.fromkeys(("inputs", "targets", "mask"), ("batch", "step", "length")),
                present=lambda scores: {"tokens": tables.token_table(**scores, vocabulary=vocabulary)},
            ),
            "stream": Stream(
                inputs={},
                begin=lambda variables, row: stepper.begin(variables),
                step=stepper.step,
                prepare=stepper.prepare,
                carry_axes=stepper.carry_axes,
            ),
        },
        items=Items(lambda batch: batch["inputs"].size, vocabulary.unit),
        units={"loss": f"nats per {vocabulary.unit}"},
        partition_rules=partition_rules_of(model),
    )


def stepwise(model: nn.Module) -> Stepwise:
    """Returns the token-by-token functions of a model; by default, they call the model with one token at a time."""
    method = getattr(model, "stepwise", None)
    return of_language_model(model) if method is None else method()


def step_function(model: nn.Module, variables: Any) -> Callable[[Any, jax.Array], tuple[Any, jax.Array]]:
    """Returns the step function of a model for ``decoding``: ``(carry, token []) -> (carry, logits [V])``.

    The carry None starts a new text.
    """
    stepper = stepwise(model)
    prepared = stepper.prepare(variables)
    return lambda carry, token: stepper.step(prepared, stepper.begin(prepared) if carry is None else carry, token)


def _surprisal(vocabulary: Vocabulary, targets, nats):
    """Draws the text of held-out tokens; a darker background marks a higher surprisal."""
    from matplotlib.figure import Figure

    columns = 32
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(columns * 0.3, rows * 0.42 + 0.7))
    axes = figure.subplots()
    grid = np.full(rows * columns, np.nan)
    grid[: len(targets)] = nats
    image = axes.imshow(grid.reshape(rows, columns), cmap="Blues", vmin=0, vmax=6, aspect="auto")
    for i, token in enumerate(targets):
        shown = vocabulary.show(int(token)).removeprefix("0x")
        shown = shown[1:-1] if shown[0] in "'\"" else shown
        color = "white" if nats[i] > 3.5 else "black"
        axes.text(
            i % columns, i // columns, escape_text(shown), ha="center", va="center", family="monospace", color=color
        )
    axes.set(xticks=[], yticks=[], title=f"surprisal of each {vocabulary.unit} of held-out text, in nats")
    figure.colorbar(image, ax=axes, pad=0.01)
    figure.tight_layout()
    return figure
