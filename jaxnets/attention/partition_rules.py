"""Partition rules of transformers: mesh axes over which parameters are sharded."""

# Pattern of a parameter's path, and the mesh axes of its last axes. As in Megatron-LM (Shoeybi et al. 2019,
# arXiv:1909.08053), heads and hidden units are sharded, so that attention and MLP need one all-reduce each.
PARTITION_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(query|key|value)/kernel$", (None, "model", None)),  # [D, heads, depth]
    (r"(query|key|value)/bias$", ("model", None)),
    (r"(attention|cross)/out/kernel$", ("model", None, None)),  # [heads, depth, D]
    (r"(inner|gate)/kernel$", (None, "model")),
    (r"(inner|gate)/bias$", ("model",)),
    (r"outer/kernel$", ("model", None)),
    (r"embed/embedding$", ("model", None)),  # [vocabulary, D]
    (r"params/head$|head/kernel$", (None, "model")),  # [D, vocabulary or classes]
)
