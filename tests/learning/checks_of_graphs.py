"""Script of ``test_graphs``: trains a graph network for five steps on all available devices.

A batch is flat, as in jraph: the nodes and edges of all graphs of a shard are concatenated, and a last graph holds the
padding. The first axis of every array is the shard axis.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from jaxnets import data, learning
from jaxnets.learning import Aux, Mean, ScheduledEvaluator, means
from jaxnets.tasks import Endpoint, Items, Task
from jaxnets.training import config
from jaxnets.training.compiled import compile_run, evaluate
from jaxnets.training.distributed import sharding

SHARDS, GRAPHS, NODES, EDGES, STEPS = 8, 4, 20, 30, 5
GRAPH = {"senders": ("shard", "edge"), "receivers": ("shard", "edge"), "graph": ("shard", "node")}


def make_batch(seed: int) -> dict[str, np.ndarray]:
    """Samples graphs of 2 to 4 nodes. The target is the sum over edges of the products of both nodes' features."""
    random = np.random.default_rng(seed)
    batch = {
        "nodes": np.full((SHARDS, NODES, 2), np.nan, np.float32),
        "senders": np.full((SHARDS, EDGES), NODES - 1, np.int32),
        "receivers": np.full((SHARDS, EDGES), NODES - 1, np.int32),
        "graph": np.full((SHARDS, NODES), GRAPHS, np.int32),
        "targets": np.zeros((SHARDS, GRAPHS + 1), np.float32),
        "mask": np.ones((SHARDS, GRAPHS + 1), bool),
    }
    batch["mask"][:, GRAPHS] = False
    for shard in range(SHARDS):
        node = edge = 0
        for graph in range(GRAPHS):
            count = random.integers(2, 5)
            batch["nodes"][shard, node : node + count] = random.normal(size=(count, 2))
            batch["graph"][shard, node : node + count] = graph
            for _ in range(random.integers(1, 7)):
                ends = node + random.integers(0, count, 2)
                batch["senders"][shard, edge], batch["receivers"][shard, edge] = ends
                a, b = batch["nodes"][shard, ends]
                batch["targets"][shard, graph] += a @ b
                edge += 1
            node += count
    return batch


class Network(nn.Module):
    """A graph network with one round of message passing. Its inputs are the nodes and the links."""

    @nn.compact
    def __call__(self, nodes, links):
        valid = links["graph"] < GRAPHS
        nodes = jnp.where(valid[..., None], nodes, 0)
        at = jax.vmap(lambda rows, indices: rows[indices])
        ends = jnp.concatenate([at(nodes, links["senders"]), at(nodes, links["receivers"])], axis=-1)
        messages = nn.Dense(16)(nn.tanh(nn.Dense(16)(ends)))
        total = jax.vmap(functools.partial(jax.ops.segment_sum, num_segments=NODES))(messages, links["receivers"])
        of_graph = jax.vmap(functools.partial(jax.ops.segment_sum, num_segments=GRAPHS + 1))(total, links["graph"])
        return nn.Dense(1)(of_graph)[..., 0]


def graphs_task() -> Task:
    model = Network()
    links = lambda batch: {name: batch[name] for name in GRAPH}
    predict = lambda variables, batch: model.apply(variables, batch["nodes"], links(batch))

    def errors(variables, batch):
        error = jnp.where(batch["mask"], (predict(variables, batch) - batch["targets"]) ** 2, 0)
        return jnp.sum(error), jnp.sum(batch["mask"], dtype=jnp.float32)

    def loss(variables, batch, context):
        total, count = errors(variables, batch)
        return total / count, Aux(metrics={"error": Mean(total, count)})

    measure = lambda variables, batch, key, carry: ({"loss": Mean(*errors(variables, batch))}, ())
    return Task(
        learner=learning.gradient(
            lambda key, batch: model.init(key, batch["nodes"], links(batch)), loss, optax.adam(1e-2)
        ),
        evaluators={"metrics": ScheduledEvaluator(means(measure))},
        objective=("validation/loss", "min"),
        reports={},
        endpoints={"predict": Endpoint(predict, {"nodes": ("shard", "node"), **GRAPH})},
        items=Items(lambda batch: SHARDS * GRAPHS, "graph"),
        units={"loss": "squared error"},
    )


class Batches(list):
    """A list of batches with the method of a grain dataset that the loop uses."""

    def to_iter_dataset(self, *_):
        return iter(self)


def main(out: str) -> None:
    settings: ConfigDict = config.load("set_statistics")
    settings.train.grad_accum_steps = 1
    train = Batches(make_batch(step % 2) for step in range(STEPS))
    splits = {"train": train, "validation": Batches([make_batch(100), make_batch(101)])}
    dataset = data.Dataset(splits, data.Quantities(("product",)), fingerprint="", description="")  # type: ignore[arg-type]
    task = graphs_task()
    compiled = compile_run(settings, dataset, task)
    state = sharding.block_if_simulated(compiled.create())
    losses = []
    for batch in dataset.train:
        state, metrics = sharding.block_if_simulated(compiled.step(state, compiled.train.put(batch)))
        losses.append(float(metrics["loss"]))
        np.testing.assert_allclose(metrics["error"].total / metrics["error"].count, losses[-1], rtol=1e-5)
    variables = task.learner.variables(state.learner)
    metrics = evaluate(compiled.evaluators, variables, compiled.splits, 0, {"metrics": ("validation",)})
    with open(out, "w") as file:
        json.dump([*losses, metrics["validation/loss"]], file)


if __name__ == "__main__":
    main(sys.argv[1])
