"""Axes of a transformer's parameters that are divided over devices."""

# Path of a parameter, and the axes of a mesh that its last axes are split over. Megatron-LM's way (Shoeybi et al. 2019,
# arXiv:1909.08053): heads and hidden units lie apart, so that a block adds up once per half.
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
