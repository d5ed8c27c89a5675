"""Next-token prediction: p(w_1 ... w_T) = prod_t p(w_t | w_<t), learned by maximum likelihood."""

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
from jaxnets.learning import Aux, Learn, Mean
from jaxnets.learning.evaluators import Scheduled, means
from jaxnets.modules.stepwise import Stepwise, of_language_model
from jaxnets.ops.embedding import fill_padding
from jaxnets.ops.masks import masked_mean
from jaxnets.reports import Text
from jaxnets.reports.figures import literal
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Stream, Task, rules_of

SAMPLE_LENGTH = 400


def language_model(model: Model, spec: Vocabulary, learn: Learn) -> Task:
    """The task of a model ``(tokens [B, T], carry, train=) -> (carry, logits [B, T, V])``: ``CharRNN``, ``DecoderLM``.

    The loss is the mean of ``-log p`` over real tokens, in nats. Batches are those of ``data.text``: rows marked
    ``start`` begin from the model's initial carry, others go on from the batch before. ``learn`` is ``(init, loss) ->
    Learner``. A model may have a method ``stepwise`` (``modules.stepwise``) that says how it writes token by token.
    """
    check_spec("tasks.language_model", spec, Vocabulary)
    model, vocabulary = complete(model, spec), spec

    def run(variables, batch, carry, **options):
        chex.assert_rank(batch["inputs"], 2)
        chex.assert_equal_shape([batch[name] for name in ("inputs", "targets", "mask")])
        if carry is not None:
            initial = model.apply(variables, batch["inputs"][:, :0])[0]
            choose = functools.partial(jax.vmap(jnp.where), batch["start"])  # row by row
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
        real = np.asarray(batch["mask"])[rows]
        return {"surprise": _surprise(vocabulary, batch["targets"][rows][real], np.asarray(nats)[rows][real])}

    def sample(variables, splits, key):
        prompt = vocabulary.encode(vocabulary.start)
        tokens = decoding.stream(step_of(model, variables), None, prompt, key, temperature=0.8)
        return {"sample": Text(vocabulary.decode([next(tokens) for _ in range(SAMPLE_LENGTH)]))}

    def score(variables, inputs):
        """``-log p`` of each target; rows go on from step to step ``[B, S, T]``."""

        def further(carry, batch):
            batch = {**batch, "start": jnp.zeros(len(batch["inputs"]), bool)}
            return run(variables, batch, carry)

        steps = {name: jnp.swapaxes(inputs[name], 0, 1) for name in ("inputs", "targets", "mask")}
        first = model.apply(variables, steps["inputs"][0, :, :0])[0]
        nats = jnp.swapaxes(jax.lax.scan(further, first, steps)[1], 0, 1)
        return {"tokens": inputs["targets"], "nats": nats, "valid": inputs["mask"]}

    writing = stepwise(model)
    derived = {
        f"bits_per_{vocabulary.unit}": lambda found: found["loss"] / math.log(2),
        "perplexity": lambda found: math.exp(min(found["loss"], 700.0)),
    }
    return Task(
        learner=learn(lambda key, batch: model.init(key, batch["inputs"][:1, :1]), loss),
        evaluators={"metrics": Scheduled(means(measure, derived))},
        objective=("validation/loss", "min"),
        reports={"figures": draw, "sample": sample},
        endpoints={
            "predict": Endpoint(
                lambda variables, batch: model.apply(variables, batch["inputs"])[1], {"inputs": ("batch", "length")}
            ),
            "score": Endpoint(
                score,
                dict.fromkeys(("inputs", "targets", "mask"), ("batch", "step", "length")),
                present=lambda found: {"tokens": tables.of_tokens(**found, vocabulary=vocabulary)},
            ),
            "stream": Stream(
                inputs={},
                begin=lambda variables, row: writing.begin(variables),
                step=writing.step,
                prepare=writing.prepare,
                carry_axes=writing.carry_axes,
            ),
        },
        items=Items(lambda batch: batch["inputs"].size, vocabulary.unit),
        units={"loss": f"nats per {vocabulary.unit}"},
        partition_rules=rules_of(model),
    )


def stepwise(model: nn.Module) -> Stepwise:
    """The model's own functions that write token by token, or its calls with one token each."""
    own = getattr(model, "stepwise", None)
    return of_language_model(model) if own is None else own()


def step_of(model: nn.Module, variables: Any) -> Callable[[Any, jax.Array], tuple[Any, jax.Array]]:
    """The model as a step function for ``stream`` and ``tree``: ``(carry, token []) -> (carry, logits [V])``.

    The carry None begins a text.
    """
    writing = stepwise(model)
    prepared = writing.prepare(variables)
    return lambda carry, token: writing.step(prepared, writing.begin(prepared) if carry is None else carry, token)


def _surprise(vocabulary: Vocabulary, targets, nats):
    """Tokens as text, each token on a ground the darker the less the model expected it."""
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
        dark = "white" if nats[i] > 3.5 else "black"
        axes.text(i % columns, i // columns, literal(shown), ha="center", va="center", family="monospace", color=dark)
    axes.set(xticks=[], yticks=[], title=f"nats of each {vocabulary.unit} of the held-out text, given those before it")
    figure.colorbar(image, ax=axes, pad=0.01)
    figure.tight_layout()
    return figure
