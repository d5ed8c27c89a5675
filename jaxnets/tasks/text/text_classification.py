"""Classification of texts, with figures of the words that mattered."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnets.data.targets import Classes, TextClasses
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.learning import MakeLearner
from jaxnets.learning.classification import calibration, macro_f1
from jaxnets.learning.evaluators import ScheduledEvaluator
from jaxnets.reports import figures
from jaxnets.reports.text_figures import MarkedText, marked_texts, reliability_diagram
from jaxnets.tasks import tables
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.models import Model, check_spec, complete_with_sizes
from jaxnets.tasks.supervised import filled_targets, supervised, with_auroc
from jaxnets.tasks.task import Task
from jaxnets.tasks.text.embeddings import with_embeddings

INPUT_AXES = {"inputs": ("batch", "length"), "lengths": ("batch",)}
EXAMPLES = 3  # texts of each kind in the figure
MAX_TOKENS = 120  # of a text in the figure


def text_classification(model: Model, spec: TextClasses, make_learner: MakeLearner) -> Task:
    """Returns the task of a model with logits ``[B, C]`` for token ids ``[B, T]``.

    The loss is the mean cross entropy, in nats. Metrics are ``accuracy``; ``macro_f1`` and ``calibration_error``, as in
    ``learning.classification``; and ``auroc`` for two classes. Figures are the confusion matrix, a reliability diagram,
    and the most and the least certain texts, in which each token is marked by its effect on the predicted class,
    ``attributions``.

    Args:
        model: ``(tokens, lengths=, train=) -> logits``, such as ``text.TextCNN``. A factory is called with
            ``num_classes`` and ``vocab_size``.
        spec: The classes and the tokenizer.
        make_learner: ``(init, loss) -> Learner``, such as ``learning.Gradient(optimizer)``.

    Raises:
        ValueError: If the data has other targets, or a size of the model does not fit the data.
    """
    check_spec("tasks.text_classification", spec, TextClasses)
    completed = complete_with_sizes(model, num_classes=spec.size, vocab_size=spec.tokenizer.size)
    network = with_embeddings(completed, spec.tokenizer)

    def metrics(logits, targets):
        chex.assert_shape(logits, (*targets.shape, spec.size))
        return {"loss": cross_entropy(logits, targets), "accuracy": is_correct(logits, targets)}

    def draw(logits, batch):
        predicted = np.argmax(logits, axis=-1)
        targets, mask = batch["targets"], batch["mask"]
        return {
            "confusion": figures.confusion_matrix(targets, predicted, mask, spec.names),
            "reliability": reliability_diagram(logits, targets, mask),
        }

    def draw_texts(variables, batch, logits):
        return {"texts": _draw_texts(network, spec, variables, batch, logits)}

    task = supervised(
        network,
        make_learner,
        metrics,
        draw,
        "nats per text",
        draw_more=draw_texts,
        input_axes=INPUT_AXES,
        table=lambda logits: tables.class_table(logits, Classes(spec.names)),
    )
    task = task._replace(items=task.items._replace(unit="text"))
    predict = task.endpoints["predict"].function
    score = lambda variables, batch: (predict(variables, batch), filled_targets(batch), batch["mask"])
    own = {"macro_f1": ScheduledEvaluator(macro_f1(score)), "calibration": ScheduledEvaluator(calibration(score))}
    task = task._replace(evaluators={**task.evaluators, **own})
    return with_auroc(task) if spec.size == 2 else task


def attributions(model: nn.Module, variables: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    r"""Computes the effect of each token on the logit of the predicted class: gradient times input.

    .. math:: a_t = \sum_d \frac{\partial z_y}{\partial x_{td}} x_{td}, \quad y = \mathrm{argmax}_c\, z_c

    for the embeddings x (Denil et al. 2014, arXiv:1412.6815). The embeddings of n-grams count for their first token.

    Args:
        model: ``(tokens, lengths=) -> logits``, with its embeddings in modules ``nn.Embed``.
        variables: Its variables.
        tokens: Integers ``[B, T]``.
        lengths: Integers ``[B]``.

    Returns:
        ``[B, T]``, float32; zeros for a model without embeddings.
    """

    def logit(factors):
        def scaled(call, arguments, options, context):
            found = call(*arguments, **options)
            is_embedding = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
            if not is_embedding or found.shape[:-1] != factors.shape:
                return found
            return found * factors.astype(found.dtype)[..., None]

        with nn.intercept_methods(scaled):
            logits: Any = model.apply(variables, tokens, lengths=lengths)
        return jnp.sum(jnp.max(logits, axis=-1))

    return jax.grad(logit)(jnp.ones(tokens.shape, jnp.float32))


def _shown(tokenizer: Tokenizer, token: int) -> str:
    """Returns a token as in the text, without the quotes of bytes and subword units."""
    shown = tokenizer.show(token)
    return shown[1:-1] if tokenizer.unit in ("byte", "piece") and shown[0] in "'\"" else shown


def _draw_texts(model: nn.Module, spec: TextClasses, variables: Any, batch: dict[str, np.ndarray], logits: np.ndarray):
    """Draws the most certain correct texts, the most certain mistakes, and the least certain texts."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    predicted, confidence = logits.argmax(-1), probabilities.max(-1)
    correct, mask = predicted == batch["targets"], batch["mask"] & np.isfinite(confidence)
    order = np.argsort(-confidence, kind="stable")
    kinds = {
        "most certain, correct": [i for i in order if mask[i] and correct[i]],
        "most certain, wrong": [i for i in order if mask[i] and not correct[i]],
        "least certain": [i for i in order[::-1] if mask[i]],
    }
    chosen = [(kind, i) for kind, rows in kinds.items() for i in rows[:EXAMPLES]]
    if not chosen:
        return marked_texts([])
    rows = np.array([i for _, i in chosen])
    tokens, lengths = batch["inputs"][rows], batch["lengths"][rows]
    effects = np.asarray(jax.jit(lambda v, *a: attributions(model, v, *a))(variables, tokens, lengths))
    texts = []
    for (kind, i), row, length, effect in zip(chosen, tokens, lengths, effects, strict=True):
        true, guess = spec.names[batch["targets"][i]], spec.names[predicted[i]]
        outcome = f"{guess} {confidence[i]:.1%}" + ("" if correct[i] else f", true {true}")
        shown = min(int(length), MAX_TOKENS)
        pieces = [_shown(spec.tokenizer, int(token)) for token in row[:shown]]
        texts.append(MarkedText(kind, outcome, pieces, effect[:shown], cut=shown < length))
    return marked_texts(texts, separated=spec.tokenizer.unit == "word")
