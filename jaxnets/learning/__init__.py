"""Learning: the contract of a learner, learners by gradient, and wrappers of learners."""

from jaxnets.learning.contract import Aux, Context, Learn, Learner, Mean
from jaxnets.learning.gradient import GradientState, gradient
from jaxnets.learning.wrappers import skip_nonfinite, with_ema

__all__ = ["Aux", "Context", "GradientState", "Learn", "Learner", "Mean", "gradient", "skip_nonfinite", "with_ema"]
