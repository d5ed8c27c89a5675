"""Macro F1 equals scikit-learn's; the calibration error equals its definition; masks, NaN and empty splits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from jaxnets.learning.classification import calibration, calibration_bins, expected_calibration_error, macro_f1

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(60, 5)).astype(np.float32) * 2
TARGETS = RANDOM.integers(0, 3, 60).astype(np.int32)  # two classes are never targets
MASK = RANDOM.random(60) < 0.7


def score(variables, batch):
    return batch["logits"], batch["targets"], batch["mask"]


def metric(evaluator, logits=LOGITS, targets=TARGETS, mask=MASK, parts=3):
    total, measure = None, jax.jit(evaluator.measure)
    for a, b, c in zip(*(np.array_split(array, parts) for array in (logits, targets, mask)), strict=True):
        outputs, _ = measure((), {"logits": a, "targets": b, "mask": c}, jax.random.key(0), ())
        total = evaluator.add(total, outputs)
    (value,) = evaluator.compute({"test": total}).values()
    return value


def test_macro_f1_equals_scikit_learn():
    for logits in (LOGITS, np.where(np.arange(5) == 4, -np.inf, LOGITS)[:, :4]):  # the last class never occurs
        expected = f1_score(TARGETS[MASK], logits.argmax(-1)[MASK], average="macro")
        assert metric(macro_f1(score), logits) == pytest.approx(expected, rel=1e-12)


def test_masked_examples_do_not_count():
    logits = np.where(MASK[:, None], LOGITS, np.nan)
    targets = np.where(MASK, TARGETS, 10**6).astype(np.int32)
    for evaluator in (macro_f1(score), calibration(score)):
        assert metric(evaluator, logits, targets) == pytest.approx(metric(evaluator), rel=1e-6)
        assert np.isnan(metric(evaluator, np.where(MASK[:, None], np.nan, LOGITS)))
        assert np.isnan(metric(evaluator, mask=np.zeros(60, bool)))


def test_calibration_error_equals_its_definition():
    shifted = np.exp(LOGITS[MASK].astype(np.float64))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    confidence, correct = probabilities.max(-1), probabilities.argmax(-1) == TARGETS[MASK]
    expected = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        bin_ = (confidence > low) & (confidence <= high)
        if bin_.any():
            expected += bin_.mean() * abs(correct[bin_].mean() - confidence[bin_].mean())
    assert metric(calibration(score)) == pytest.approx(expected, rel=1e-5)


def test_a_certain_model_is_calibrated_if_it_is_right():
    logits = jnp.array([[200.0, 0], [0, 200]])
    for targets, expected in (([0, 1], 0.0), ([1, 0], 1.0), ([0, 0], 0.5)):
        counts = calibration_bins(logits, jnp.array(targets), jnp.ones(2, bool))
        assert expected_calibration_error(counts) == expected
        assert counts["count"][-1] == 2
