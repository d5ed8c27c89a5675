"""Words per second of skip-gram and CBOW beside gensim, at equal settings, with the quality of the vectors.

    python -m benchmarks.models.word_vectors --text=corpus.txt --threads=1
    python -m benchmarks.models.word_vectors --text=corpus.txt --threads=2 --output=found.json

The text has one sentence per line. Both libraries train vectors of 100 numbers with 5 negatives, windows of up to 5
words and subsampling at 1e-3, with a learning rate from 0.025 to 0.0001, and begin with uniform vectors of gensim's
size, twice that of word2vec.c. Words are those of the text, before rare and frequent ones are dropped. Compilation is
not timed. ``cpu s`` is the time of all threads, which other processes on the machine disturb less than the elapsed
time. gensim ships the questions.
"""

import logging
import os
import time
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("text", None, "Text file with one sentence per line.", required=True)
flags.DEFINE_integer("threads", 1, "Threads of both libraries.", lower_bound=1)
flags.DEFINE_integer("epochs", 5, "Epochs.", lower_bound=1)
flags.DEFINE_integer("chunk_words", 32, "Centers of an update of jaxnets.", lower_bound=1)
flags.DEFINE_list("shared_negatives", ["32", "8"], "Numbers of negatives that these centers share.")
flags.DEFINE_integer("seed", 0, "Seed of both libraries, which use it differently.", lower_bound=0)
flags.DEFINE_string("output", "", "JSON file for the results.")


def main(_: Any) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.threads])  # before XLA creates its threads
    logging.getLogger("gensim").setLevel(logging.WARNING)
    from benchmarks import harness

    rows = []
    for objective in ("skip_gram", "cbow"):
        rows.append({"library": "gensim", "objective": objective, **_gensim(objective)})
        for shared in map(int, FLAGS.shared_negatives):
            rows.append({"library": f"jaxnets, M = {shared}", "objective": objective, **_ours(objective, shared)})
        for row in rows[-1 - len(FLAGS.shared_negatives) :]:
            print(_line(row), flush=True)
    if FLAGS.output:
        result = {"command": harness.command(), "machine": harness.machine(), "threads": FLAGS.threads, "rows": rows}
        harness.write(FLAGS.output, result)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['objective']:<10}{row['library']:<18}{row['words_per_second'] / 1e3:>8.0f} K words/s"
        f"{row['words_per_cpu_second'] / 1e3:>8.0f} K words/cpu s{row['analogies']:>8.3f} analogies"
        f"{row['similarity']:>8.3f} WordSim"
    )


def _ours(objective: str, shared: int) -> dict[str, float]:
    """Trains on all sentences but a held-out one in 10,000, and times all updates after the first."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxnets import data, tasks, text
    from jaxnets.learning import Gradient, optimizers

    corpus = data.word_corpus(FLAGS.text, chunk_words=FLAGS.chunk_words, validation_fraction=1e-4, seed=FLAGS.seed)
    spec: Any = corpus.spec
    kept = text.keep_probabilities(np.array(spec.counts)) @ np.array(spec.counts)
    rows = len(corpus.train[0]["inputs"])
    steps = round(FLAGS.epochs * kept / (rows * FLAGS.chunk_words))
    make_learner: Any = Gradient(optimizers.linear_sgd(steps, 0.025, 0.004))
    learner = tasks.word_vectors(
        text.WordVectorModel(spec.size, objective),
        spec,
        make_learner,
        shared_negatives=shared,
    ).learner
    first, second = jax.random.split(jax.random.key(FLAGS.seed))
    state = learner.init(first, corpus.train[0])
    doubled = {"params": {**state.variables["params"], "input": 2 * state.variables["params"]["input"]}}
    state = state._replace(variables=doubled)
    update = jax.jit(learner.update, donate_argnums=0)
    keys = jax.random.split(second, steps)
    begin = cpu = 0.0
    for step in range(steps):
        if step == 1:
            jax.block_until_ready(state)
            begin, cpu = time.perf_counter(), time.process_time()
        state, _ = update(state, corpus.train[step], keys[step], jnp.int32(step))
    jax.block_until_ready(state)
    vectors = np.asarray(state.variables["params"]["input"])[1:]
    words = FLAGS.epochs * _count() * (steps - 1) / steps
    return _measured(words, begin, cpu, spec.tokenizer.symbols, vectors)


def _gensim(objective: str) -> dict[str, float]:
    from gensim.models import Word2Vec

    skip_gram, seed = int(objective == "skip_gram"), FLAGS.seed + 1
    model = Word2Vec(vector_size=100, window=5, negative=5, sg=skip_gram, sample=1e-3, workers=FLAGS.threads, seed=seed)
    sentences = _sentences()
    model.build_vocab(sentences)
    begin, cpu = time.perf_counter(), time.process_time()
    model.train(sentences, total_examples=len(sentences), epochs=FLAGS.epochs)
    return _measured(FLAGS.epochs * _count(), begin, cpu, model.wv.index_to_key, model.wv.vectors)


def _measured(words: float, begin: float, cpu: float, names: Any, vectors: Any) -> dict[str, float]:
    import gensim

    from jaxnets import data, text

    elapsed, of_threads = time.perf_counter() - begin, time.process_time() - cpu
    folder = os.path.join(os.path.dirname(gensim.__file__), "test", "test_data")
    questions = data.read_analogies(os.path.join(folder, "questions-words.txt"))
    pairs = data.read_similarities(os.path.join(folder, "wordsim353.tsv"))
    found = text.evaluate_analogies(names, vectors, questions)
    return {
        "words_per_second": words / elapsed,
        "words_per_cpu_second": words / of_threads,
        "analogies": found["total"].accuracy,
        "answered": found["total"].answered,
        "family": found["family"].accuracy,
        "similarity": text.evaluate_similarities(names, vectors, pairs).correlation,
    }


def _sentences() -> list[list[str]]:
    from jaxnets.data.sources.words.corpus import WORD

    with open(FLAGS.text, encoding="utf-8") as file:
        return [WORD.findall(line.lower()) for line in file]


def _count() -> int:
    return sum(map(len, _sentences()))


if __name__ == "__main__":
    app.run(main)
