r"""Tagging of the words of sentences, with a conditional random field or with a softmax for each word.

A batch is a dict: ``inputs`` int32 ``[B, T]``, ids of words; ``characters`` int32 ``[B, T, W]``, ids of their
characters, if the model reads them; ``lengths`` int32 ``[B]``; ``targets`` int32 ``[B, T]``, ids of tags; and ``mask``
bool ``[B, T]``, the words with a tag.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets import text
from jaxnets.data.targets import Tags
from jaxnets.data.tokens.tag_schemes import allowed_transitions
from jaxnets.learning import Aux, MakeLearner, Mean
from jaxnets.learning.entities import entity_f1
from jaxnets.learning.evaluators import Evaluator, ScheduledEvaluator, from_all_scores, means
from jaxnets.ops.checks import check_choice
from jaxnets.ops.host import extras
from jaxnets.ops.masks import masked_sum, valid_steps
from jaxnets.reports import Table, figures, tag_figures
from jaxnets.tasks.models import Model, check_spec, complete_with_sizes, learner_of
from jaxnets.tasks.task import Endpoint, Items, Task, partition_rules_of
from jaxnets.tasks.text.embeddings import with_embeddings

CONSTRAINTS = ("none", "decoding", "always")
MAX_SENTENCES = 10_000  # for reports


def tagging(model: Model, spec: Tags, make_learner: MakeLearner, *, constraints: str = "decoding") -> Task:
    r"""Returns the task of a model of the scores of tags, ``text.Tagger``, on batches of ``data.tagged_sentences``.

    The loss is the mean negative log-likelihood per word, in nats: the sum over the sentences of a batch, divided by
    the number of their words with a tag. A model without transitions is a chain with transitions of 0, so that its
    likelihood is the product of a softmax for each word. Words without a tag are left out of the chain. Tags are
    predicted by the Viterbi algorithm, for all words.

    Metrics are ``loss``; ``accuracy`` of the words; for schemes of entities those of ``learning.entities.entity_f1``,
    and ``entity_f1`` selects the best checkpoint; otherwise ``macro_f1``, the mean F1 over the tags that are true or
    predicted somewhere, and ``accuracy`` selects the best checkpoint. ``jaxnets.evaluate`` adds the F1 of each type of
    entity.

    The endpoint ``predict`` computes ``tags`` int32 ``[B, T]``, -1 in the padding. ``probabilities`` also computes
    their marginal probabilities ``[B, T, K]``.

    Args:
        model: ``(words [B, T], characters=, lengths=, train=) -> TagScores(emissions, transitions, start, end)``, where
            the last three are None without a conditional random field; or a factory of it with the arguments
            ``num_tags``, ``vocab_size`` and ``num_characters``.
        spec: The tags and their scheme.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.
        constraints: Where transitions that are invalid in the scheme are excluded: in ``"decoding"``, ``"always"`` (in
            training and in the loss too) or ``"none"``.

    Raises:
        ValueError: ``constraints`` is unknown, or the model has other sizes than the spec.
    """
    check_spec("tasks.tagging", spec, Tags)
    check_choice("constraints", constraints, CONSTRAINTS)
    num_characters = spec.characters.size + 1 if spec.characters is not None else 0  # one more for padding
    sizes = {"num_tags": spec.size, "vocab_size": spec.tokenizer.size, "num_characters": num_characters}
    network = with_embeddings(complete_with_sizes(model, **sizes), spec.tokenizer)
    allowed = tuple(map(jnp.asarray, allowed_transitions(spec.names, spec.scheme)))

    has_characters = _reads_characters(network, spec)

    def keywords(batch):
        return {name: batch[name] for name in ("lengths", *["characters"] * has_characters)}

    def apply(variables, batch, **options):
        return network.apply(variables, batch["inputs"], **keywords(batch), **options)

    def chain(scores, is_loss) -> tuple[Any, Any, Any, Any]:
        """Returns the emissions, transitions, start and end; those that are invalid are minus infinity."""
        emissions, transitions, start, end = scores
        if transitions is None:
            transitions, start, end = (jnp.zeros(array.shape, emissions.dtype) for array in allowed)
        if constraints == "always" or (constraints == "decoding" and not is_loss):
            transitions, start, end = text.constrained(transitions, start, end, *allowed)
        return emissions, transitions, start, end

    def nats_of(scores, batch):
        """Returns the negative log-likelihood of each sentence, ``[B]``, and the number of words."""
        emissions, transitions, start, end = chain(scores, is_loss=True)
        scored = emissions, batch["targets"], transitions, start, end, batch["mask"]
        likelihood = text.crf_log_likelihood(*scored)
        return -likelihood, jnp.sum(batch["mask"], dtype=jnp.float32)

    def loss(variables, batch, context):
        options = {"train": True, "rngs": {"dropout": context.key}, "mutable": ["batch_stats"]}
        scores, updated = apply(variables, batch, **options)
        nats, count = nats_of(scores, batch)
        return jnp.sum(nats) / jnp.maximum(count, 1).astype(nats.dtype), Aux(updated=updated)

    def words_of(batch):
        return valid_steps(jnp.asarray(batch["lengths"]), batch["inputs"].shape[1])

    def decode(variables, batch):
        return text.crf_viterbi(*chain(apply(variables, batch), is_loss=False), words_of(batch))[0]

    def predict(variables, batch):
        return {"tags": jnp.where(words_of(batch), decode(variables, batch), -1)}

    def probabilities(variables, batch):
        scores, words = chain(apply(variables, batch), is_loss=False), words_of(batch)
        tags = jnp.where(words, text.crf_viterbi(*scores, words)[0], -1)
        return {"tags": tags, "probabilities": text.crf_marginals(*scores, words)}

    def measure(variables, batch, key, carry):
        nats, count = nats_of(apply(variables, batch), batch)
        correct = decode(variables, batch) == batch["targets"]
        return {"loss": Mean(jnp.sum(nats), count), "accuracy": Mean(masked_sum(correct, batch["mask"]), count)}, ()

    def decoded(variables, batch):
        return decode(variables, batch), batch["targets"], batch["mask"]

    def init(key, batch):
        first = {name: array[:1] for name, array in batch.items()}
        return network.init(key, first["inputs"], **keywords(first))

    compiled = jax.jit(decode)

    def draw(variables, splits, key):
        found, count = [], 0
        batches = splits["validation"]
        for i in range(len(batches)):  # by index: an iterator would prefetch many batches
            batch = batches[i]
            found.append({**batch, "predicted": np.asarray(compiled(variables, batch))})
            count += len(batch["mask"])
            if count > MAX_SENTENCES:
                break
        drawn: dict[str, Any] = {"sentences": tag_figures.tagged_sentences(found, spec)}
        if spec.scheme == "none":
            whole = lambda name: np.concatenate([batch[name].ravel() for batch in found])
            counted = whole("targets"), whole("predicted"), whole("mask")
            drawn["confusion"] = figures.confusion_matrix(*counted, spec.names)
        scores = apply(variables, {name: array[:1] for name, array in batches[0].items()})
        if scores.transitions is not None:
            _, transitions, start, end = map(np.asarray, chain(scores, is_loss=False))
            drawn["transitions"] = tag_figures.transition_matrix(transitions, start, end, spec.names)
        return drawn

    is_entity = spec.scheme != "none"
    axes: dict[str, tuple[str, ...]] = {"inputs": ("batch", "length"), "lengths": ("batch",)}
    if has_characters:
        axes["characters"] = ("batch", "length")
    evaluators = {"metrics": ScheduledEvaluator(means(measure))}
    if is_entity:
        scored, types = (entity_f1(decoded, spec.names, spec.scheme, by_type) for by_type in (False, True))
        evaluators |= {"entities": ScheduledEvaluator(scored), "types": ScheduledEvaluator(types, every=0)}
    else:
        evaluators["tags"] = ScheduledEvaluator(macro_f1(decoded))
    present = lambda outputs: {"tags": tag_table(outputs, spec)}
    return Task(
        learner=learner_of(network, init, loss, make_learner),
        evaluators=evaluators,
        objective=("validation/entity_f1" if is_entity else "validation/accuracy", "max"),
        reports={"figures": draw},
        endpoints={
            "predict": Endpoint(predict, axes, present=present),
            "probabilities": Endpoint(probabilities, axes, present=present),
        },
        items=Items(lambda batch: int(np.sum(batch["lengths"])), "word"),
        units={"loss": "nats per word"},
        partition_rules=partition_rules_of(network),
    )


def macro_f1(decode: Any) -> Evaluator:
    """Creates an evaluator of ``macro_f1``, as ``sklearn.metrics.f1_score`` with ``average="macro"``.

    Args:
        decode: ``(variables, batch) -> (predicted [B, T], targets [B, T], mask [B, T])``, class indices.
    """

    def metrics(predicted, targets):
        extras.require(__name__, "train")
        from sklearn.metrics import f1_score  # the import takes a second

        return {"macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0.0))}

    return from_all_scores(decode, metrics)


def tag_table(outputs: dict[str, Any], spec: Tags) -> Table:
    """Returns the tag of each word, and the probabilities of all tags if they are given.

    Args:
        outputs: ``tags`` ``[N, T]``, -1 in the padding, and ``probabilities`` ``[N, T, K]`` or not.
        spec: The tags.
    """
    tags, given = np.asarray(outputs["tags"]), outputs.get("probabilities")
    columns = ("row", "step", "tag", *(() if given is None else (f"p({name})" for name in spec.names)))
    found = (
        (int(row), int(step) + 1, spec.names[tags[row, step]], *(() if given is None else given[row, step].tolist()))
        for row, step in np.argwhere(tags >= 0)
    )
    return Table(columns, list(found))


def _reads_characters(network: nn.Module, spec: Tags) -> bool:
    """Returns whether a model reads characters: all do but those whose ``character_encoder`` is ``"none"``."""
    encoder = getattr(network, "character_encoder", None)
    if encoder not in (None, "none") and spec.characters is None:
        given = f"(max_characters=0), got {encoder!r}"
        raise ValueError(f"`character_encoder` of the model must be none for data without characters {given}")
    return spec.characters is not None and encoder != "none"
