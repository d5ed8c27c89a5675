"""Tokens of Python sources with their classes, by rules on the tokens around them."""

import io
import keyword
import tokenize
from collections.abc import Iterator

from jaxnets.data.formats.conll import Sentences

CLASSES = (
    "argument",  # f(argument=1)
    "attribute",  # x.attribute
    "call",  # call(x)
    "class",  # class Class
    "comment",
    "decorator",  # @decorator
    "function",  # def function
    "keyword",
    "method",  # x.method()
    "module",  # import module, from module import name
    "name",  # other names
    "number",
    "operator",
    "parameter",  # def f(parameter)
    "string",
)

_IGNORED = {tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
_ERRORS = (tokenize.TokenError, SyntaxError, ValueError, RecursionError)  # ValueError: null bytes
_ESCAPED = str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f"})  # words are written one per line


def tagged_lines(source: str) -> Sentences:
    """Returns the logical lines of a Python source as sentences: its tokens, and their classes as tags.

    Lines that are comments only are left out. Line ends and tabs within strings are escaped.

    Raises:
        ValueError: The source cannot be tokenized.
    """
    found = Sentences([], [], [])
    line: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NEWLINE:
                words = [each.string.translate(_ESCAPED) for each in line]
                if words:
                    found.words.append(words)
                    found.tags.append(list(_classes(line)))
                    found.lines.append(line[0].start[0])
                line = []
            elif token.type not in _IGNORED and (line or token.type != tokenize.COMMENT):
                line.append(token)
    except _ERRORS as error:
        raise ValueError(f"a source of Python cannot be tokenized: {error}") from error
    return found


def _classes(line: list[tokenize.TokenInfo]) -> Iterator[str]:
    """Yields the class of each token of a logical line."""
    texts = [token.string for token in line]
    first = texts[1] if texts[0] == "async" and len(texts) > 1 else texts[0]
    depth = 0  # of brackets
    has_parameters = first == "def"  # until their bracket is closed
    for i, token in enumerate(line):
        before, after = texts[i - 1] if i else "", texts[i + 1] if i + 1 < len(texts) else ""
        depth += (token.string in tuple("([{")) - (token.string in tuple(")]}"))
        has_parameters &= depth > 0 or token.string != ")"
        if token.type != tokenize.NAME:
            yield _class_of_type(token.type)
        elif keyword.iskeyword(token.string):
            yield "keyword"
        else:
            yield _class_of_name(first, before, after, depth, has_parameters, "import" in texts[:i])


def _class_of_type(kind: int) -> str:
    if kind == tokenize.NUMBER:
        return "number"
    if kind == tokenize.COMMENT:
        return "comment"
    return (
        "operator" if kind in (tokenize.OP, tokenize.ERRORTOKEN) else "string"
    )  # strings have several types since 3.12


def _class_of_name(first: str, before: str, after: str, depth: int, has_parameters: bool, is_imported: bool) -> str:
    if before in ("def", "class"):
        return "function" if before == "def" else "class"
    if first == "import" or (first == "from" and not is_imported):
        return "name" if before == "as" else "module"
    if first == "@" and depth == 0:
        return "decorator"
    if before == ".":
        return "method" if after == "(" else "attribute"
    if has_parameters and depth == 1 and before in ("(", ",", "*", "**"):
        return "parameter"
    if depth and after == "=" and before in ("(", ","):
        return "argument"
    return "call" if after == "(" else "name"
