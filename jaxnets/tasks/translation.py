"""Translation by maximum likelihood and beam search: p(target | source) = prod_t p(w_t | w_<t, source)."""

import functools
import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import decoding
from jaxnets.data import Vocabulary
from jaxnets.data.formats.limited_text import LINE_END
from jaxnets.data.sources.pairs import END, START
from jaxnets.learning import Aux, MakeLearner, Mean
from jaxnets.learning.evaluators import Evaluator, ScheduledEvaluator, means
from jaxnets.ops.checks import check_probability
from jaxnets.ops.host import extras
from jaxnets.ops.masks import masked_mean, masked_sum, valid_steps
from jaxnets.reports import Text
from jaxnets.reports.figures import escape_text
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Endpoint, Items, Stream, Task, max_seq_len_of, partition_rules_of

if TYPE_CHECKING:  # matplotlib is imported on demand, since evaluation and export do not need it
    from matplotlib.figure import Figure

NUM_EXAMPLES = 10  # translations in a report
MAX_LENGTH = 512  # tokens of a translation, for models without a limit


def translation(
    model: Model,
    spec: Vocabulary,
    make_learner: MakeLearner,
    *,
    scheduled_sampling: float = 0.0,
    label_smoothing: float = 0.0,
    num_beams: int = 4,
) -> Task:
    """Returns the task of an encoder-decoder, ``Transformer`` or ``EncoderDecoder``, on batches of ``data.pairs``.

    The loss is the mean cross entropy over valid target tokens, including the end symbol, in nats. BLEU is computed
    with beam search.

    Args:
        model: ``(source, target, source_lengths, target_lengths) -> logits``, with an attribute ``train`` and a method
            ``stepwise`` (``modules.stepwise``). The report includes a figure of the weights that the optional method
            ``alignment(encoded, target)`` returns.
        spec: The vocabulary of both languages, with start and end symbols.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        scheduled_sampling: Probability that, in training, an input token of the decoder is its own prediction instead
            of the target (Bengio et al. 2015, arXiv:1506.03099). Predictions come from one parallel pass over all steps
            (Duckworth et al. 2019, arXiv:1906.04331). 0 is teacher forcing.
        label_smoothing: Probability that each target distributes uniformly over all tokens, in training only.
        num_beams: Number of beams of the beam search.

    Raises:
        MissingExtraError: If ``[text]`` is not installed.
        ValueError: If ``scheduled_sampling`` or ``label_smoothing`` is not in [0, 1).
    """
    extras.require("jaxnets.tasks.translation", "text")  # BLEU needs it; the error must come before training
    check_probability("scheduled_sampling", scheduled_sampling)
    check_probability("label_smoothing", label_smoothing)
    check_spec("tasks.translation", spec, Vocabulary)
    model, vocabulary = complete(model, spec), spec
    start, end = vocabulary.symbol(START), vocabulary.symbol(END)
    training = model.clone(train=True)
    stepper = model.stepwise()
    limit = max_seq_len_of(model)

    def decoder_inputs(batch):
        """Returns the start symbol, then the target without its last token."""
        return jnp.pad(batch["targets"][:, :-1], ((0, 0), (1, 0)), constant_values=start)

    def valid_targets(batch):
        return valid_steps(jnp.asarray(batch["target_lengths"]), batch["targets"].shape[1]) & batch["mask"][:, None]

    def apply(module, variables, batch, tokens, **options):
        return module.apply(variables, batch["inputs"], tokens, batch["lengths"], batch["target_lengths"], **options)

    def loss(variables, batch, context):
        first, second, third = jax.random.split(context.key, 3)
        tokens = decoder_inputs(batch)
        if scheduled_sampling:
            logits = apply(training, variables, batch, tokens, rngs={"dropout": first})
            predicted = jnp.argmax(logits, -1)[:, :-1].astype(tokens.dtype)
            predicted = jnp.pad(predicted, ((0, 0), (1, 0)), constant_values=start)
            tokens = jnp.where(jax.random.bernoulli(third, scheduled_sampling, tokens.shape), predicted, tokens)
        logits = apply(training, variables, batch, tokens, rngs={"dropout": second})
        mask = valid_targets(batch)
        nats = cross_entropy(logits, batch["targets"], mask)
        if label_smoothing:
            uniform = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
            nats = (1 - label_smoothing) * nats + label_smoothing * uniform
        return masked_mean(nats, mask), Aux()

    def predict(variables, batch):
        return apply(model, variables, batch, decoder_inputs(batch))

    def measure(variables, batch, key, carry):
        logits, mask = predict(variables, batch), valid_targets(batch)
        nats = cross_entropy(logits, batch["targets"], mask)
        correct = is_correct(logits, batch["targets"])
        count = jnp.sum(mask, dtype=jnp.float32)
        return {"loss": Mean(jnp.sum(nats), count), "accuracy": Mean(masked_sum(correct, mask), count)}, ()

    @functools.partial(jax.jit, static_argnames="length")
    def translate(variables, sources, lengths, length):
        """Returns the tokens of the best translations, ``[B, length]``, and their lengths ``[B]``."""
        prepared = stepper.prepare(variables)

        def translate_row(source, source_length):
            carry = stepper.begin(prepared, source, source_length)
            step = functools.partial(stepper.step, prepared)
            beams = decoding.beam_search(step, carry, start, end_token=end, num_beams=num_beams, max_length=length)
            return beams.tokens[0], beams.lengths[0]

        return jax.vmap(translate_row)(sources, lengths)

    def texts(tokens, lengths):
        return [
            vocabulary.decode(row[:length]) for row, length in zip(np.asarray(tokens), np.asarray(lengths), strict=True)
        ]

    def measure_translations(variables, batch, key, carry):
        return (batch, translate(variables, batch["inputs"], batch["lengths"], batch["targets"].shape[1])), ()

    def text_columns(outputs):
        """Sources, translations and references of the valid rows of a batch, as texts."""
        batch, translations = outputs
        rows = np.asarray(batch["mask"])
        columns = (
            texts(batch["inputs"], batch["lengths"]),
            texts(*translations),
            texts(batch["targets"], batch["target_lengths"] - 1),
        )
        return [list(itertools.compress(column, rows)) for column in columns]

    def bleu(splits):
        import sacrebleu  # takes seconds to import

        columns = {split: list(zip(*batches, strict=True)) for split, batches in splits.items()}
        flat = {split: [list(itertools.chain(*lists)) for lists in column] for split, column in columns.items()}
        return {
            f"{split}/bleu": sacrebleu.corpus_bleu(translations, [references]).score
            for split, (_, translations, references) in flat.items()
        }

    bleu_evaluator = Evaluator(
        init=lambda variables, batch: (),
        measure=measure_translations,
        add=lambda accumulator, outputs: [*(accumulator or []), text_columns(outputs)],
        compute=bleu,
    )

    def examples(variables, splits, key):
        batch = splits["validation"][0]
        sources, translations, references = text_columns(measure_translations(variables, batch, key, ())[0])
        rows = np.linspace(0, len(sources) - 1, min(NUM_EXAMPLES, len(sources))).astype(int)
        shown = (f"{sources[i]}\n  model: {translations[i]}\n  reference: {references[i]}" for i in rows)
        return {"translations": Text("\n".join(shown))}

    def read_text(text):
        """Reads one source per line."""
        lines = LINE_END.split(text.rstrip())
        if empty := [number for number, line in enumerate(lines, 1) if not line.strip()]:
            raise ValueError(f"line {empty[0]} must have a text to translate, got an empty line")
        sources = [vocabulary.encode(line.strip()) for line in lines]
        lengths = np.array([len(source) for source in sources], np.int32)
        if limit is not None and lengths.max() > limit:
            number = int(np.argmax(lengths > limit)) + 1
            raise ValueError(f"line {number} must have at most {limit} tokens, got {lengths[number - 1]}")
        rows = np.zeros((len(sources), lengths.max()), np.int32)
        for row, source in zip(rows, sources, strict=True):
            row[: len(source)] = source
        return {"inputs": rows, "lengths": lengths}

    def generate(variables, inputs):
        length = min(2 * inputs["inputs"].shape[1] + 10, limit or MAX_LENGTH)
        return translate(variables, inputs["inputs"], inputs["lengths"], length)

    def draw(variables, splits, key):
        if not hasattr(model, "alignment"):
            return {}
        batch = {name: array[:1] for name, array in splits["validation"][0].items()}
        encoded = model.apply(variables, batch["inputs"], batch["lengths"], method="encode")
        weights = model.apply(variables, encoded, decoder_inputs(batch), method="alignment")
        if weights is None:
            return {}
        weights = np.asarray(weights)[0]
        source = batch["inputs"][0, : batch["lengths"][0]]
        target = batch["targets"][0, : batch["target_lengths"][0]]
        return {"attention": _attention_map(vocabulary, source, target, weights[: len(target), : len(source)])}

    pair_axes = {
        "inputs": ("batch", "source_length"),
        "lengths": ("batch",),
        "targets": ("batch", "target_length"),
        "target_lengths": ("batch",),
    }
    source_axes = {name: pair_axes[name] for name in ("inputs", "lengths")}
    return Task(
        learner=make_learner(lambda key, batch: model.init(key, batch["inputs"][:1], batch["targets"][:1]), loss),
        evaluators={
            "metrics": ScheduledEvaluator(means(measure)),
            "bleu": ScheduledEvaluator(bleu_evaluator, every=0),
        },
        objective=("validation/loss", "min"),
        reports={"figures": draw, "examples": examples},
        endpoints={
            "predict": Endpoint(predict, pair_axes),
            "generate": Endpoint(
                generate, source_axes, read_text, lambda translations: {"text": Text("\n".join(texts(*translations)))}
            ),
            "stream": Stream(
                inputs=source_axes,
                begin=lambda variables, row: stepper.begin(variables, row["inputs"], row["lengths"]),
                step=stepper.step,
                prepare=stepper.prepare,
                carry_axes=stepper.carry_axes,
            ),
        },
        items=Items(lambda batch: batch["targets"].size, vocabulary.unit),
        units={"loss": f"nats per {vocabulary.unit}"},
        partition_rules=partition_rules_of(model),
    )


def _attention_map(vocabulary: Vocabulary, source, target, weights) -> "Figure":
    """Attention of each target token (rows) to the source tokens (columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 0.28 * len(source), 1.5 + 0.24 * len(target)))
    axes = figure.subplots()
    axes.imshow(weights, cmap="Blues", vmin=0, aspect="auto")
    text_of = lambda token: escape_text(vocabulary.decode([token]).replace("\n", "\\n"))
    axes.set_xticks(range(len(source)), [text_of(token) for token in source], rotation=90)
    axes.set_yticks(range(len(target)), [text_of(token) for token in target])
    axes.xaxis.tick_top()
    axes.set(xlabel="source", ylabel="target, from top to bottom")
    figure.tight_layout()
    return figure
