"""Translation: p(target | source) = prod_t p(w_t | w_<t, source), by maximum likelihood; found by beam search."""

import functools
import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import decoding
from jaxnets.data import Vocabulary
from jaxnets.data.sources.pairs import END, LINE_END, START
from jaxnets.learning import Aux, Learn, Mean
from jaxnets.learning.evaluators import Evaluator, Scheduled, means
from jaxnets.ops import extras
from jaxnets.ops.masks import masked_mean, masked_sum, valid_steps
from jaxnets.reports import Text
from jaxnets.reports.figures import literal
from jaxnets.tasks.cross_entropy import cross_entropy, is_right
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Stream, Task, max_length, rules_of

if TYPE_CHECKING:  # imported where something is drawn: to evaluate or export needs none
    from matplotlib.figure import Figure

EXAMPLES = 10
LONGEST = 512  # tokens of a translation, of a model that has no limit of its own


def translation(
    model: Model,
    spec: Vocabulary,
    learn: Learn,
    *,
    scheduled_sampling: float = 0.0,
    label_smoothing: float = 0.0,
    num_beams: int = 4,
) -> Task:
    """The task of an encoder and decoder, ``Transformer`` or ``EncoderDecoder``, on batches of ``data.pairs``.

    The loss is the mean of ``-log p`` over real target tokens, the end symbol included, in nats.

    Args:
        model: ``(source, target, source_lengths, target_lengths) -> logits``, with an attribute ``train`` and a method
            ``stepwise`` (``modules.stepwise``). What its method ``alignment(encoded, target)`` gives, if it has one, is
            drawn.
        spec: Of both sides, with start and end symbols.
        learn: ``(init, loss) -> Learner``.
        scheduled_sampling: Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099): the probability that, in
            training, the decoder reads what it would itself have written instead of the target's token. What it would
            have written comes from one pass over all steps at once (Duckworth et al. 2019, arXiv:1906.04331). 0: teacher forcing.
        label_smoothing: Part of each target's probability that all tokens share (label smoothing), in training only.
        num_beams: Of the beam search.

    Raises:
        MissingExtraError: ``[text]`` is not installed.
        ValueError: ``scheduled_sampling`` or ``label_smoothing`` is not from 0 to below 1.
    """
    extras.require("jaxnets.tasks.translation", "text")  # for BLEU: before training, not at the first evaluation
    for name, part in (("scheduled_sampling", scheduled_sampling), ("label_smoothing", label_smoothing)):
        if not 0 <= part < 1:
            raise ValueError(f"{name}: from 0 to below 1; given {part}")
    check_spec("tasks.translation", spec, Vocabulary)
    model, vocabulary = complete(model, spec), spec
    start, end = vocabulary.symbol(START), vocabulary.symbol(END)
    training = model.clone(train=True)
    writing = model.stepwise()
    limit = max_length(model)

    def read(batch):
        """What the decoder reads: the start symbol, then the target but its last token."""
        return jnp.pad(batch["targets"][:, :-1], ((0, 0), (1, 0)), constant_values=start)

    def real(batch):
        return valid_steps(jnp.asarray(batch["target_lengths"]), batch["targets"].shape[1]) & batch["mask"][:, None]

    def logits_of(network, variables, batch, given, **options):
        return network.apply(variables, batch["inputs"], given, batch["lengths"], batch["target_lengths"], **options)

    def loss(variables, batch, context):
        first, second, third = jax.random.split(context.key, 3)
        given = read(batch)
        if scheduled_sampling:
            logits = logits_of(training, variables, batch, given, rngs={"dropout": first})
            written = jnp.argmax(logits, -1)[:, :-1].astype(given.dtype)
            written = jnp.pad(written, ((0, 0), (1, 0)), constant_values=start)
            given = jnp.where(jax.random.bernoulli(third, scheduled_sampling, given.shape), written, given)
        logits = logits_of(training, variables, batch, given, rngs={"dropout": second})
        mask = real(batch)
        nats = cross_entropy(logits, batch["targets"], mask)
        if label_smoothing:
            evenly = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
            nats = (1 - label_smoothing) * nats + label_smoothing * evenly
        return masked_mean(nats, mask), Aux()

    def predict(variables, batch):
        return logits_of(model, variables, batch, read(batch))

    def measure(variables, batch, key, carry):
        logits, mask = predict(variables, batch), real(batch)
        nats = cross_entropy(logits, batch["targets"], mask)
        right = is_right(logits, batch["targets"])
        count = jnp.sum(mask, dtype=jnp.float32)
        return {"loss": Mean(jnp.sum(nats), count), "accuracy": Mean(masked_sum(right, mask), count)}, ()

    @functools.partial(jax.jit, static_argnames="length")
    def translate(variables, sources, lengths, length):
        """Tokens ``[B, length]`` and how many of each are a translation ``[B]``."""
        prepared = writing.prepare(variables)

        def one(source, source_length):
            begun = writing.begin(prepared, source, source_length)
            further = functools.partial(writing.step, prepared)
            found = decoding.beam_search(further, begun, start, end_token=end, num_beams=num_beams, max_length=length)
            return found.tokens[0], found.lengths[0]

        return jax.vmap(one)(sources, lengths)

    def texts(tokens, lengths):
        return [
            vocabulary.decode(row[:length]) for row, length in zip(np.asarray(tokens), np.asarray(lengths), strict=True)
        ]

    def translated(variables, batch, key, carry):
        return (batch, translate(variables, batch["inputs"], batch["lengths"], batch["targets"].shape[1])), ()

    def pairs_of(outputs):
        """Sources, translations and references of a batch, as texts."""
        batch, made = outputs
        rows = np.asarray(batch["mask"])
        lengths = batch["lengths"], batch["target_lengths"] - 1
        found = (
            texts(batch["inputs"], lengths[0]),
            texts(*made),
            texts(batch["targets"], lengths[1]),
        )
        return [list(itertools.compress(each, rows)) for each in found]

    def bleu(splits):
        import sacrebleu  # seconds to import

        columns = {split: list(zip(*kept, strict=True)) for split, kept in splits.items()}
        flat = {split: [list(itertools.chain(*column)) for column in found] for split, found in columns.items()}
        return {
            f"{split}/bleu": sacrebleu.corpus_bleu(found, [expected]).score
            for split, (_, found, expected) in flat.items()
        }

    scored = Evaluator(
        init=lambda variables, batch: (),
        measure=translated,
        add=lambda kept, outputs: [*(kept or []), pairs_of(outputs)],
        compute=bleu,
    )

    def examples(variables, splits, key):
        batch = splits["validation"][0]
        sources, found, expected = pairs_of(translated(variables, batch, key, ())[0])
        chosen = np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)
        shown = (f"{sources[i]}\n  model: {found[i]}\n  given: {expected[i]}" for i in chosen)
        return {"translations": Text("\n".join(shown))}

    def read_text(text):
        """A source on each line."""
        lines = LINE_END.split(text.rstrip())
        if empty := [number for number, line in enumerate(lines, 1) if not line.strip()]:
            raise ValueError(f"line {empty[0]} must have a text to translate, got an empty one")
        sources = [vocabulary.encode(line.strip()) for line in lines]
        lengths = np.array([len(source) for source in sources], np.int32)
        if limit is not None and lengths.max() > limit:
            number = int(np.argmax(lengths > limit)) + 1
            raise ValueError(f"line {number} must have at most {limit} pieces, got {lengths[number - 1]}")
        rows = np.zeros((len(sources), lengths.max()), np.int32)
        for row, source in zip(rows, sources, strict=True):
            row[: len(source)] = source
        return {"inputs": rows, "lengths": lengths}

    def generate(variables, inputs):
        length = min(2 * inputs["inputs"].shape[1] + 10, limit or LONGEST)
        return translate(variables, inputs["inputs"], inputs["lengths"], length)

    def draw(variables, splits, key):
        if not hasattr(model, "alignment"):
            return {}
        batch = {name: array[:1] for name, array in splits["validation"][0].items()}
        encoded = model.apply(variables, batch["inputs"], batch["lengths"], method="encode")
        weights = model.apply(variables, encoded, read(batch), method="alignment")
        if weights is None:
            return {}
        weights = np.asarray(weights)[0]
        source = batch["inputs"][0, : batch["lengths"][0]]
        target = batch["targets"][0, : batch["target_lengths"][0]]
        return {"attention": _map(vocabulary, source, target, weights[: len(target), : len(source)])}

    pair = {
        "inputs": ("batch", "source_length"),
        "lengths": ("batch",),
        "targets": ("batch", "target_length"),
        "target_lengths": ("batch",),
    }
    source = {name: pair[name] for name in ("inputs", "lengths")}
    return Task(
        learner=learn(lambda key, batch: model.init(key, batch["inputs"][:1], batch["targets"][:1]), loss),
        evaluators={
            "metrics": Scheduled(means(measure)),
            "bleu": Scheduled(scored, every=0),
        },
        objective=("validation/loss", "min"),
        reports={"figures": draw, "examples": examples},
        endpoints={
            "predict": Endpoint(predict, pair),
            "generate": Endpoint(generate, source, read_text, lambda made: {"text": Text("\n".join(texts(*made)))}),
            "stream": Stream(
                inputs=source,
                begin=lambda variables, row: writing.begin(variables, row["inputs"], row["lengths"]),
                step=writing.step,
                prepare=writing.prepare,
                carry_axes=writing.carry_axes,
            ),
        },
        items=Items(lambda batch: batch["targets"].size, vocabulary.unit),
        units={"loss": f"nats per {vocabulary.unit}"},
        partition_rules=rules_of(model),
    )


def _map(vocabulary: Vocabulary, source, target, weights) -> "Figure":
    """Which pieces of the source (columns) each piece of the target (rows) was read from."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 0.28 * len(source), 1.5 + 0.24 * len(target)))
    axes = figure.subplots()
    axes.imshow(weights, cmap="Blues", vmin=0, aspect="auto")
    piece = lambda token: literal(vocabulary.decode([token]).replace("\n", "\\n"))
    axes.set_xticks(range(len(source)), [piece(token) for token in source], rotation=90)
    axes.set_yticks(range(len(target)), [piece(token) for token in target])
    axes.xaxis.tick_top()
    axes.set(xlabel="source", ylabel="target, from top to bottom")
    figure.tight_layout()
    return figure
