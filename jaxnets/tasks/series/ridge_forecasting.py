"""Linear forecasting in closed form."""

import jax
import jax.numpy as jnp

from jaxnets.data.targets import Horizon
from jaxnets.learning import MakeLearner, closed_form
from jaxnets.series import NLinear, point
from jaxnets.tasks.models import Model, check_spec, complete_with_sizes
from jaxnets.tasks.series.forecasting import at_once, filled, predictor, task_of
from jaxnets.tasks.task import Task


def ridge_forecasting(model: Model, spec: Horizon, make_learner: MakeLearner, *, strength: float = 1.0) -> Task:
    r"""Returns the task of linear forecasting in closed form, by ridge regression, shared by all channels.

    With the window relative to its last value, x, and the targets relative to the same value, y, over all windows and
    channels of one epoch:

    .. math:: W = (X^\top X + \lambda n I)^{-1} X^\top Y

    where n is the number of rows. The metrics are as in ``forecasting``.

    Args:
        model: A factory of ``series.NLinear``.
        spec: The horizon.
        make_learner: Not used, because there is no optimizer.
        strength: :math:`\lambda`, positive, in units of the squared inputs.
    """
    check_spec("tasks.ridge_forecasting", spec, Horizon)
    if not (isinstance(strength, int | float) and strength > 0):
        raise ValueError(f"`strength` must be a positive number, got {strength!r}")
    network = complete_with_sizes(model, horizon=spec.horizon, num_outputs=1)
    if not isinstance(network, NLinear) or network.normalization != "last":
        raise ValueError(f"`model` must be series.NLinear with the normalization last, got {network!r}")
    predict = predictor(network, point())

    def statistics(batch):
        inputs, targets = batch["inputs"], filled(batch)
        last = inputs[:, -1:]
        complete = jnp.all(batch["mask"], axis=1, keepdims=True)  # of each window and channel
        if "observed" in batch:
            complete &= jnp.all(batch["observed"], axis=1, keepdims=True)
        rows = lambda values: jnp.swapaxes(jnp.where(complete, values - last, 0), 1, 2).reshape(-1, values.shape[1])
        xs, ys = rows(inputs), rows(targets)
        dot = lambda a, b: jnp.matmul(a.T, b, precision="highest")
        return {"xx": dot(xs, xs), "xy": dot(xs, ys), "count": jnp.sum(complete, dtype=jnp.float32)}

    def solve(sums):
        penalty = strength * jnp.maximum(sums["count"], 1) * jnp.eye(len(sums["xx"]))
        # The last column of X is 0: without the penalty the matrix would be singular.
        kernel = jax.scipy.linalg.solve(sums["xx"] + penalty, sums["xy"], assume_a="pos")
        bias = {"bias": jnp.zeros(kernel.shape[1])} if network.use_bias else {}
        return {"params": {"linear": {"kernel": kernel, **bias}}}

    return task_of(network, spec, point(), closed_form(statistics, solve), at_once(predict, spec, point()))
