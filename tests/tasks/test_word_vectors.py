"""Word vectors: an epoch of updates against a loop in NumPy in float64, learning, endpoints and wrong settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import data, tasks, text, weights
from jaxnets.learning import Gradient, optimizers
from jaxnets.tasks.words.objectives import Negatives, row_loss_of, subwords_of, word_table
from jaxnets.training import descriptions

STEPS, RATE = 4, 0.05


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two groups of words that occur in different sentences."""
    random = np.random.default_rng(0)
    groups = [[f"{letter}{i}" for i in range(6)] for letter in "ab"]
    lines = [" ".join(random.choice(groups[i % 2], 12)) for i in range(60)]
    file = tmp_path_factory.mktemp("words") / "text.txt"
    file.write_text("\n".join(lines))
    return str(file)


@pytest.fixture(scope="module")
def corpus(path):
    return data.word_corpus(path, 1, 2, subsample=0.2, batch_words=96, chunk_words=8)


def make_task(dataset, rate=RATE, steps=STEPS, **settings):
    model = text.WordVectorModel(dataset.spec.size, embed_dim=6, **settings.pop("model", {}))
    return tasks.word_vectors(model, dataset.spec, Gradient(optimizers.linear_sgd(steps, rate)), **settings), model


def trained(task, dataset, steps):
    state = task.learner.init(jax.random.key(0), dataset.train[0])
    update, losses = jax.jit(task.learner.update), []
    for step in range(steps):
        state, metrics = update(state, dataset.train[step], jax.random.key(step), jnp.int32(step))
        assert metrics["finite"]
        losses.append(float(metrics["loss"].total / metrics["loss"].count))
    return state, losses


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(model, spec, params, batches, negatives, rates):
    """Trains word by word as in word2vec, but adds the updates of a row of a batch at its end."""
    tree = text.huffman_tree(np.array(spec.counts))
    subwords = subwords_of(model, spec)
    rows_of = lambda word: [word] if subwords is None else [row for row in subwords[word] if row >= 0]
    tables = {name: np.array(table, np.float64) for name, table in params.items()}
    for batch, drawn, rate in zip(batches, negatives, rates, strict=True):
        for tokens, left, right, noise in zip(batch["inputs"], batch["left"], batch["right"], drawn, strict=True):
            old = {name: table.copy() for name, table in tables.items()}
            window = (len(tokens) - len(left)) // 2

            def predict(sources, target, old=old, rate=rate, noise=noise):
                rows = [row for source in sources for row in rows_of(source)]
                vectors = [old["input"][rows_of(source)].mean(0) for source in sources]
                hidden = np.mean(vectors, 0)
                if model.hierarchical:
                    path = [
                        (node, 0.0 if code else 1.0, 1.0)
                        for node, code in zip(tree.nodes[target], tree.codes[target], strict=True)
                    ][: tree.lengths[target]]
                else:
                    path = [(target, 1.0, 1.0)] + [(n, 0.0, 5 / len(noise)) for n in noise if n != target]
                error = np.zeros_like(hidden)
                for output, label, weight in path:
                    gradient = weight * rate * (label - sigmoid(old["output"][output] @ hidden))
                    error += gradient * old["output"][output]
                    tables["output"][output] += gradient * hidden
                for row in rows:
                    tables["input"][row] += error

            for i in range(len(left)):
                center = tokens[window + i]
                around = [window + j for j in range(i - left[i], i + right[i] + 1) if j != i]
                if model.objective == "cbow" and around:
                    predict([tokens[j] for j in around], center)
                for j in around if model.objective == "skip_gram" else ():
                    source, target = (tokens[j], center) if model.hierarchical else (center, tokens[j])
                    predict([source], target)
    return tables


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"objective": "cbow"},
        {"hierarchical": True},
        {"objective": "cbow", "hierarchical": True},
        {"num_buckets": 40},
        {"objective": "cbow", "num_buckets": 40},
    ],
    ids=str,
)
def test_updates_are_those_of_the_equations_in_float64(corpus, settings):
    with jax.enable_x64(True):
        task, model = make_task(corpus, model=settings, shared_negatives=4)
        state = task.learner.init(jax.random.key(0), corpus.train[0])
        params = {
            name: np.random.default_rng(1).normal(0, 0.3, table.shape)
            for name, table in state.variables["params"].items()
        }
        state = task.learner.init(jax.random.key(0), corpus.train[0], {"params": jax.tree.map(jnp.asarray, params)})
        prepare = row_loss_of(model, corpus.spec, Negatives(5, 4, 0.75), 100.0).prepare
        batches = [corpus.train[step] for step in range(STEPS)]
        keys = [jax.random.key(step) for step in range(STEPS)]
        negatives = [
            np.asarray(prepare(batch, key).get("negatives", np.zeros((len(batch["inputs"]), 1))))
            for batch, key in zip(batches, keys, strict=True)
        ]
        update = jax.jit(task.learner.update)
        rates = []
        for step in range(STEPS):
            state, metrics = update(state, batches[step], keys[step], jnp.int32(step))
            rates.append(float(metrics["learning_rate"]))
    np.testing.assert_allclose(rates, [RATE * (1 - step / STEPS) for step in range(STEPS)], rtol=1e-6)
    expected = loop(model, corpus.spec, params, batches, negatives, rates)
    for name, table in state.variables["params"].items():
        assert table.dtype == jnp.float64
        np.testing.assert_allclose(table, expected[name], rtol=1e-9, atol=1e-12)
        assert np.abs(expected[name] - params[name]).max() > 1e-3


def test_adagrad_of_glove_is_that_of_the_equations(path):
    dataset = data.cooccurrences(path, 1, 3, batch_size=16)
    spec = dataset.spec
    with jax.enable_x64(True):
        task, _ = make_task(dataset, model={"objective": "glove"}, group=1, max_count=10.0)
        state = task.learner.init(jax.random.key(0), dataset.train[0])
        tables = {name: np.array(table, np.float64) for name, table in state.variables["params"].items()}
        state = task.learner.init(jax.random.key(0), dataset.train[0], {"params": jax.tree.map(jnp.asarray, tables)})
        state, metrics = jax.jit(task.learner.update)(state, dataset.train[0], jax.random.key(0), jnp.int32(0))
    squares = {name: np.ones_like(table) for name, table in tables.items()}
    total = 0.0
    for (word, context), count in zip(
        dataset.train[0]["inputs"], dataset.train[0]["counts"].astype(float), strict=True
    ):
        at = {"input": word, "input_bias": word, "output": context, "output_bias": context}
        row = {name: tables[name][index].copy() for name, index in at.items()}
        error = row["input"] @ row["output"] + row["input_bias"] + row["output_bias"] - np.log(count)
        weight = min(1, (count / 10) ** 0.75)
        total += 0.5 * weight * error[0] ** 2
        slopes = {"input": row["output"], "output": row["input"], "input_bias": 1.0, "output_bias": 1.0}
        for name, index in at.items():
            step = RATE * weight * error * slopes[name]
            squares[name][index] += step**2
            tables[name][index] -= step / np.sqrt(squares[name][index])
    assert metrics["loss"].total == pytest.approx(total, rel=1e-6)
    for name, table in state.variables["params"].items():
        np.testing.assert_allclose(table, tables[name], rtol=1e-6)
    assert spec.size == 13


@pytest.mark.slow(14)
@pytest.mark.parametrize(
    "settings",
    [{}, {"objective": "cbow"}, {"hierarchical": True}, {"num_buckets": 50}, {"objective": "glove"}],
    ids=str,
)
def test_words_of_a_group_become_neighbors(path, settings):
    glove = settings.get("objective") == "glove"
    if glove:
        dataset = data.cooccurrences(path, 1, 5, batch_size=128)
    else:
        dataset = data.word_corpus(path, 1, 3, subsample=0, batch_words=640, chunk_words=16)
    options = {"group": 16} if glove else {"shared_negatives": 8}
    task, model = make_task(
        dataset, {"glove": 0.2, "cbow": 0.05}.get(settings.get("objective"), 0.03), 400, model=settings, **options
    )
    state, losses = trained(task, dataset, 100)
    assert losses[-1] < losses[0]
    endpoint = task.endpoints["neighbors"]
    found = endpoint.function(state.variables, endpoint.read("a0\nb3"))
    show = dataset.spec.tokenizer.show
    # GloVe does not see that words never occur together.
    assert glove or [[show(i)[0] for i in row] for row in np.asarray(found["answers"])] == [["a"] * 5, ["b"] * 5]
    evaluator = task.evaluators["metrics"].evaluator
    outputs, _ = evaluator.measure(state.variables, dataset.splits["validation"][0], jax.random.key(0), ())
    assert np.isfinite(float(outputs["loss"].total)) and outputs["loss"].count > 0
    table = word_table(model, subwords_of(model, dataset.spec), state.variables["params"])
    assert table.shape == (13, 6)


def test_a_larger_group_adds_the_updates_of_its_rows(path):
    dataset = data.cooccurrences(path, 1, 3, batch_size=6)
    batch = dataset.train[0]
    with jax.enable_x64(True):
        together, _ = make_task(dataset, model={"objective": "glove"}, group=6)
        state = together.learner.init(jax.random.key(0), batch)
        update = jax.jit(together.learner.update)
        updated, metrics = update(state, batch, jax.random.key(0), jnp.int32(0))
        repeated = {name: np.repeat(array[:1], 6, axis=0) for name, array in batch.items()}
        six, of_six = update(state, repeated, jax.random.key(0), jnp.int32(0))
    assert metrics["loss"].count == 6
    word = batch["inputs"][0, 0]
    single = float(of_six["loss"].total) / 6
    gradient = (state.variables["params"]["input_bias"][word] - six.variables["params"]["input_bias"][word]) / RATE / 6
    error = gradient * np.sqrt(six.squares["input_bias"][word])  # of one co-occurrence, times its weight
    weight = min(1, (batch["counts"][0] / 100) ** 0.75)
    assert float(error[0]) ** 2 / 2 / weight == pytest.approx(single, rel=1e-5)
    assert (updated.squares["input"] >= 1).all()
    with pytest.raises(ValueError, match="divisible by `group`, 4, got 6"):
        make_task(dataset, model={"objective": "glove"}, group=4)[0].learner.init(jax.random.key(0), batch)


def test_endpoints_read_words_and_answer(corpus, tmp_path):
    task, _ = make_task(corpus)
    variables = task.learner.variables(task.learner.init(jax.random.key(0), corpus.train[0]))
    analogy = task.endpoints["analogy"]
    inputs = analogy.read("a0 A1 a2\n\nb1 b2 b3\n")
    assert inputs["inputs"].shape == (2, 3)
    outputs = analogy.function(variables, inputs)
    assert not {0, *inputs["inputs"][0].tolist()} & set(np.asarray(outputs["answers"])[0].tolist())
    artifacts = analogy.present(outputs)
    assert artifacts["text"].text.startswith("a0 : a1 = a2 :  ")
    assert len(artifacts["answers"].rows) == 2
    predict = task.endpoints["predict"]
    vectors = predict.function(variables, predict.read("a0\nb1"))
    presented = predict.present(vectors)
    assert presented["vectors"].columns[:3] == ("row", "word", "v0")
    (tmp_path / "vectors.txt").write_text(presented["text"].text + "\n")
    written = weights.read_word_vectors(tmp_path / "vectors.txt", format="word2vec")
    assert written.words == ("a0", "b1")
    np.testing.assert_array_equal(written.vectors, np.asarray(vectors["vectors"])[:, 0])
    for wrong, message in (("a0 a1", "line 1 must have 3 words, got 2"), ("a0 a1 what", "in the vocabulary.*got what")):
        with pytest.raises(ValueError, match=message):
            analogy.read(wrong)


def test_reports_and_questions(corpus, tmp_path):
    (tmp_path / "questions.txt").write_text(": family\na0 a1 a2 a3\nman king woman queen\n")
    (tmp_path / "pairs.tsv").write_text("a0\ta1\t9\na0\tb1\t1\na2\tb2\t2\n")
    task, _ = make_task(corpus, analogies=str(tmp_path / "questions.txt"), similarities=str(tmp_path / "pairs.tsv"))
    variables = task.learner.variables(task.learner.init(jax.random.key(0), corpus.train[0]))
    artifacts = task.reports["words"](variables, corpus.held_out, jax.random.key(0))
    assert set(artifacts) == {"map", "neighbors", "sections", "words"}
    assert (corpus.spec.tokenizer.ids(artifacts["words"].text.split("\n")) == np.arange(1, corpus.spec.size)).all()
    assert artifacts["sections"].rows[0][2:] == (1, 2)
    evaluator = task.evaluators["questions"].evaluator
    outputs, _ = evaluator.measure(variables, corpus.splits["validation"][0], jax.random.key(0), ())
    metrics = evaluator.compute({"validation": evaluator.add(None, outputs)})
    assert metrics["validation/analogies_coverage"] == 0.5
    assert metrics["validation/similarity_coverage"] == 1
    with pytest.raises(ValueError):
        make_task(corpus, analogies=str(tmp_path / "missing.txt"))


def test_the_spec_is_saved_with_a_run(corpus):
    described = descriptions.describe_targets(corpus.spec)
    assert (
        descriptions.targets(
            {
                **described,
                "counts": list(described["counts"]),
                "tokenizer": {**described["tokenizer"], "symbols": list(described["tokenizer"]["symbols"])},
            }
        )
        == corpus.spec
    )
    with pytest.raises(ValueError, match="`counts` must be"):
        descriptions.targets({**described, "tokenizer": {**described["tokenizer"], "symbols": ["a"]}, "counts": "x"})


def test_wrong_settings(corpus, path):
    with pytest.raises(ValueError, match=r"must be optimizers.linear_sgd"):
        tasks.word_vectors(text.WordVectorModel, corpus.spec, Gradient(optimizers.sgd(5, 0.1)))
    with pytest.raises(ValueError, match="`num_negatives` must be"):
        make_task(corpus, num_negatives=0)
    with pytest.raises(ValueError, match="must be data.cooccurrences, got other data"):
        make_task(corpus, model={"objective": "glove"})[0].learner.init(jax.random.key(0), corpus.train[0])
    with pytest.raises(ValueError, match=r"must be text.WordVectorModel of 13 words"):
        tasks.word_vectors(text.WordVectorModel(5), corpus.spec, Gradient(optimizers.linear_sgd(5, 0.1)))
