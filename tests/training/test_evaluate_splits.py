"""Evaluation of chosen evaluators on chosen splits."""

import numpy as np
from in_process import ready

from jaxnets.learning import Evaluator, ScheduledEvaluator
from jaxnets.training.compiled import evaluate_run, evaluate_splits

ROWS = Evaluator(
    init=lambda variables, batch: (),
    measure=lambda variables, batch, key, carry: (batch["mask"], ()),
    add=lambda count, mask: (count or 0) + int(np.sum(mask)),
    compute=lambda counts: {f"{split}/rows": float(count) for split, count in counts.items()},
)


def test_chosen_evaluators_run_on_chosen_splits():
    _, dataset, task, compiled = ready(name="digits")
    task = task._replace(evaluators={**task.evaluators, "rows": ScheduledEvaluator(ROWS, every=0)})
    variables = task.learner.variables(compiled.create(None).learner)
    by_split = evaluate_splits(task, variables, dataset, ["test", "validation"], ["rows"], 0)
    assert list(by_split) == ["test", "validation"]
    assert [list(metrics) for metrics in by_split.values()] == [["test/rows"], ["validation/rows"]]
    assert by_split["test"]["test/rows"] != by_split["validation"]["validation/rows"]
    metrics = evaluate_run(task, variables, dataset, "test", 0)
    assert set(metrics) == {"test/loss", "test/accuracy", "test/rows"}
