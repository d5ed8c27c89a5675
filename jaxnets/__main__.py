"""List of the programs of jaxnets, each with the first line of its docstring.

python -m jaxnets
"""

import ast
import sys
from pathlib import Path

GUARD = 'if __name__ == "__main__":'  # marks a module as a program


def programs() -> dict[str, str]:
    """Returns the first line of each program's docstring, by program name, without importing the programs."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text("utf-8")
        if path.stem != "__main__" and f"\n{GUARD}\n" in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    """Prints the list of programs and returns the exit code."""
    known = programs()
    if unexpected := set(arguments) - {"-h", "-help", "--help"}:
        name = min(unexpected)
        hint = f"; run it with: python -m jaxnets.{name}" if name in known else ""
        print(f"jaxnets: must have no arguments, got {name!r}{hint}", file=sys.stderr)
        return 2
    width = max(map(len, known))
    print("Programs. Run one with python -m jaxnets.NAME, and list its flags with --help.\n")
    for name, line in known.items():
        print(f"{name:<{width}}  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
