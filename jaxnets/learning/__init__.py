"""Learners, learner wrappers and evaluators."""

from jaxnets.learning.alternating import AlternatingState, Player, alternating
from jaxnets.learning.closed_form import ClosedFormState, closed_form, fitted
from jaxnets.learning.contract import Aux, Context, Learner, MakeLearner, Mean
from jaxnets.learning.evaluators import Evaluator, ScheduledEvaluator, auroc, mean_over, means
from jaxnets.learning.gradient import Gradient, GradientState, gradient
from jaxnets.learning.sparse import RowLoss, SparseState, sparse
from jaxnets.learning.wrappers import skip_nonfinite, with_ema

__all__ = [
    "AlternatingState",
    "Aux",
    "ClosedFormState",
    "Context",
    "Evaluator",
    "Gradient",
    "GradientState",
    "Learner",
    "MakeLearner",
    "Mean",
    "Player",
    "RowLoss",
    "ScheduledEvaluator",
    "SparseState",
    "alternating",
    "auroc",
    "closed_form",
    "fitted",
    "gradient",
    "mean_over",
    "means",
    "skip_nonfinite",
    "sparse",
    "with_ema",
]
