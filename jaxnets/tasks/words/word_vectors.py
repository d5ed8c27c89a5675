"""Word vectors by skip-gram, CBOW or GloVe."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data import read_analogies, read_similarities
from jaxnets.data.targets import Words
from jaxnets.learning import Evaluator, Gradient, MakeLearner, sparse
from jaxnets.learning.evaluators import ScheduledEvaluator, means
from jaxnets.learning.sparse import mean_loss
from jaxnets.ops.checks import check_integer, check_number
from jaxnets.tasks.models import Model, check_spec, complete
from jaxnets.tasks.task import Items, Task, partition_rules_of
from jaxnets.tasks.words import endpoints, reports
from jaxnets.tasks.words.objectives import Negatives, row_loss_of, subwords_of, word_table
from jaxnets.text import WordVectorModel, evaluate_analogies, evaluate_similarities

GLOVE_GROUP = 512  # co-occurrences for each update


def word_vectors(
    model: Model,
    spec: Words,
    make_learner: MakeLearner,
    *,
    num_negatives: int = 5,
    shared_negatives: int = 32,
    noise_power: float = 0.75,
    max_count: float = 100.0,
    group: int = 0,
    analogies: str = "",
    similarities: str = "",
) -> Task:
    """Returns the task of word vectors on batches of ``data.word_corpus`` or, for GloVe, of ``data.cooccurrences``.

    Only the rows of the tables that occur in a batch are updated (``learning.sparse``), by SGD with a linear decay of
    the learning rate, or by AdaGrad for GloVe. The loss is a mean over pairs of words (skip-gram), words (CBOW) or
    co-occurrences (GloVe); losses of different settings cannot be compared.

    Args:
        model: A factory of ``text.WordVectorModel``.
        spec: The words.
        make_learner: ``learning.Gradient`` with ``optimizers.linear_sgd``.
        num_negatives: K, negatives of a pair.
        shared_negatives: M, random words that a row of a batch shares as negatives (``text.negative_weights``).
        noise_power: Exponent of the counts in the distribution of negatives.
        max_count: Count from which a co-occurrence has the weight 1 in GloVe.
        group: Rows of a batch for each update; 0: 1, or 512 for GloVe. A larger number is faster on a GPU; if it is too
            large, the sums of the updates of frequent words diverge.
        analogies: A file of analogies, as ``data.read_analogies`` reads it. The metrics ``analogies``, the fraction of
            right answers to questions of known words, and ``analogies_coverage`` are computed in each evaluation.
        similarities: A file of judged similarities, as ``data.read_similarities`` reads it, for the metrics
            ``similarity`` (Spearman's rank correlation) and ``similarity_coverage``.

    Raises:
        ValueError: An argument is out of range, or a file cannot be read.
    """
    check_spec("tasks.word_vectors", spec, Words)
    for name, value in (("num_negatives", num_negatives), ("shared_negatives", shared_negatives)):
        check_integer(name, value)
    check_integer("group", group, minimum=0)
    check_number("noise_power", noise_power)
    if not max_count > 0:
        raise ValueError(f"`max_count` must be a positive number, got {max_count!r}")
    network = complete(model, spec)
    if not isinstance(network, WordVectorModel) or network.vocab_size != spec.size:
        raise ValueError(f"`model` must be text.WordVectorModel of {spec.size} words, got {network!r}")
    if not isinstance(make_learner, Gradient):
        raise ValueError("`make_learner` must be learning.Gradient with optimizers.linear_sgd")
    glove = network.objective == "glove"
    row_loss = row_loss_of(network, spec, Negatives(num_negatives, shared_negatives, noise_power), max_count)
    subwords = subwords_of(network, spec)
    table = lambda variables: word_table(network, subwords, variables["params"]).at[0].set(0)  # of unknown words

    def init(key, batch):
        if ("counts" in batch) != glove:
            raise ValueError(
                f"the data of the objective {network.objective} must be "
                f"{'data.cooccurrences' if glove else 'data.word_corpus'}, got other data"
            )
        return network.init(key, jnp.zeros((1,), jnp.int32))

    evaluators = {
        "metrics": ScheduledEvaluator(
            means(lambda variables, batch, key, carry: ({"loss": mean_loss(row_loss, variables, batch, key)}, ()))
        )
    }
    questions = read_analogies(analogies) if analogies else {}
    pairs = read_similarities(similarities) if similarities else []
    if questions or pairs:
        evaluators["questions"] = ScheduledEvaluator(_answers(spec, table, questions, pairs))
    return Task(
        learner=sparse(init, row_loss, make_learner.only_optimizer(), group or (GLOVE_GROUP if glove else 1), glove),
        evaluators=evaluators,
        objective=("validation/loss", "min"),
        reports={"words": reports.of_words(spec, jax.jit(table), questions)},
        endpoints=endpoints.of_words(spec, table),
        items=Items(lambda batch: batch["counts" if glove else "left"].size, "co-occurrence" if glove else "word"),
        units={
            "loss": "weighted squared error"
            if glove
            else "nats per word"
            if network.objective == "cbow"
            else "nats per pair"
        },
        partition_rules=partition_rules_of(network),
    )


def _answers(spec: Words, table: Any, questions: Any, pairs: Any) -> Evaluator:
    """Creates the evaluator of analogies and similarities, which do not depend on the batches of a split."""
    names = ("", *spec.tokenizer.symbols)

    def compute(splits):
        metrics: dict[str, float] = {}
        for split, vectors in splits.items():
            if questions:
                found = evaluate_analogies(names, vectors, questions)["total"]
                metrics |= {f"{split}/analogies": found.accuracy, f"{split}/analogies_coverage": found.coverage}
            if pairs:
                similar = evaluate_similarities(names, vectors, pairs)
                metrics |= {
                    f"{split}/similarity": similar.correlation,
                    f"{split}/similarity_coverage": similar.coverage,
                }
        return metrics

    return Evaluator(
        lambda variables, batch: (),
        lambda variables, batch, key, carry: (table(variables), ()),
        lambda accumulator, outputs: np.asarray(outputs) if accumulator is None else accumulator,
        compute,
    )
