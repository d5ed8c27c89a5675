"""Training on batches of several lengths: one compilation per length, resumption, evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxnets import data, learning, reports
from jaxnets.tasks.cross_entropy import cross_entropy, is_correct
from jaxnets.tasks.supervised import supervised
from jaxnets.training import config, loop
from jaxnets.training.compiled import compile_run

TRACES = []


class BagOfWords(nn.Module):
    vocab_size: int

    @nn.compact
    def __call__(self, tokens, lengths=None, train=False):
        TRACES.append((train, tokens.shape))
        valid = jnp.arange(tokens.shape[1])[None] < lengths[:, None] if lengths is not None else tokens == tokens
        logits = nn.Embed(self.vocab_size, 2)(tokens)
        return jnp.sum(jnp.where(valid[..., None], logits, 0), axis=1) / tokens.shape[1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("texts") / "texts.tsv"
    rows = []
    for i in range(300):
        words = random.choice(["good" if i % 2 else "bad", "a", "film"], int(random.integers(1, 33)), p=[0.6, 0.2, 0.2])
        rows.append(f"{' '.join(words)}\t{i % 2}\n")
    path.write_text("text\tlabel\n" + "".join(rows))
    return data.labeled_texts(str(path), max_length=32, batch_size=16, buckets=3, validation_fraction=0.3)


def ready(dataset, steps):
    settings = config.load("char_lm")
    settings.train.update({"steps": steps, "evaluate_every": 20, "log_every": 20})
    metrics = lambda logits, targets: {"loss": cross_entropy(logits, targets), "accuracy": is_correct(logits, targets)}
    draw = lambda logits, batch: {"count": reports.Text(f"{len(logits)} of {batch['inputs'].shape}")}
    model = BagOfWords(dataset.spec.tokenizer.size)
    task = supervised(model, learning.Gradient(optax.adam(0.1)), metrics, draw, "nats")
    return settings, dataset, task, compile_run(settings, dataset, task)


def test_training_compiles_once_for_each_length(dataset, tmp_path):
    run = ready(dataset, 40)
    TRACES.clear()
    outcome = loop.train(run[0], tmp_path, *run[1:])
    trained = {shape for train, shape in TRACES if train}
    lengths = {dataset.train[i]["inputs"].shape[1] for i in range(40)}
    assert trained <= {(16, length) for length in lengths} and len(lengths) == 3
    assert run[3].step._cache_size() == 3
    evaluated = [shape for train, shape in TRACES if not train]
    assert len(evaluated) <= 3 * 4  # ``init`` and ``measure`` of the evaluator, and the figures
    assert outcome.texts["count"].endswith(" of (96, 32)")


@pytest.mark.slow(6)
def test_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path):
    whole = ready(dataset, 30)
    expected = loop.train(whole[0], tmp_path / "whole", *whole[1:]).variables
    for steps in (13, 30):
        part = ready(dataset, steps)
        found = loop.train(part[0], tmp_path / "part", *part[1:]).variables
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), jax.device_get(expected))
