"""Writes benchmarks/README.md and its pictures from the results in benchmarks/results/.

python -m benchmarks.report
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.report import models, recurrences
from jaxnets import program
from jaxnets.training.errors import UsageError

FLAGS = flags.FLAGS

HERE = Path(__file__).parent.parent
flags.DEFINE_string("results", str(HERE / "results"), "Folder of results.")
flags.DEFINE_string("out", str(HERE), "Folder that README.md and the pictures are written to.")

INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks.report` from `benchmarks/results/`. Every implementation of a row takes turns with the
others in one process. "gradient" is the forward pass and the gradients of all parameters and of the input, from float32
inputs unless stated. **Ratios are our time over theirs: below 1 we are faster**, above 1 we are slower; each is the
median over the rounds of the ratio within a round. "share" is what our row's products reach of the machine's rate in
one large product, measured in the same run. MB is the temporary memory of the compiled gradient.
"""


def results(folder: Path, key: str) -> dict[str, dict[str, Any]]:
    """The results that have this key, by name of their file."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))}
    return {name: result for name, result in found.items() if key in result}


def main(overrides: program.Overrides) -> None:
    out, folder = Path(FLAGS.out), Path(FLAGS.results)
    if not any(folder.rglob("*.json")):
        raise UsageError(f"--results={folder}: no results there")
    lines = [INTRODUCTION]
    for key, section in {
        "rows": recurrences.recurrence,
        "variants": recurrences.variants,
        "lengths": recurrences.long,
        "linear": recurrences.linear,
        "launches": recurrences.launches,
        "tiles": recurrences.tiles,
        "attention": models.attention,
        "sets": models.sets,
        "convolution": models.convolution,
        "scaling": models.scaling,
    }.items():
        for name, result in results(folder, key).items():
            lines += section(name, result)
            if key == "rows" and len(result["rows"]) > 1:
                recurrences.draw(out / f"{name}.png", result)
    (out / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    program.run(main)
