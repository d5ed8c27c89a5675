"""Sentences about scenes: a grammar with paraphrases, and its parser."""

import re
from typing import NamedTuple

from jaxnets.data.sources.problems.scenes.shapes import COLORS, SHAPES
from jaxnets.ops.checks import describe_value

RELATIONS = ("above", "below", "to the left of", "to the right of")
ONE = ("{a}", "there is {a}", "an image of {a}", "a picture with {a}", "a scene with {a}")
TWO = (
    "{a} {relation} {b}",
    "{a} is {relation} {b}",
    "there is {a} {relation} {b}",
    "an image of {a} {relation} {b}",
    "{relation} {b} there is {a}",
)


class Scene(NamedTuple):
    """The meaning of a sentence.

    Attributes:
        objects: Color and shape of one or two objects.
        relation: Relation of the first object to the second, one of ``RELATIONS``; None for one object.
    """

    objects: tuple[tuple[str, str], ...]
    relation: str | None = None


def paraphrases(relation: str | None) -> list[str]:
    """Returns sentences with the placeholders ``color_a``, ``shape_a``, ``color_b`` and ``shape_b``."""
    a, b = "a color_a shape_a", "a color_b shape_b"
    return [template.format(a=a, b=b, relation=relation) for template in (TWO if relation else ONE)]


def grammar_words() -> tuple[str, ...]:
    """Returns all words of the sentences, in alphabetical order."""
    sentences = [each for relation in (None, *RELATIONS) for each in paraphrases(relation)]
    placeholders = {"color_a", "shape_a", "color_b", "shape_b"}
    return tuple(sorted({word for each in sentences for word in each.split()} - placeholders | {*COLORS, *SHAPES}))


def max_words() -> int:
    """Returns the number of words of the longest sentence."""
    return max(len(each.split()) for relation in RELATIONS for each in paraphrases(relation))


def _pattern(template: str) -> re.Pattern[str]:
    described = {
        name: f"a (?P<color_{name}>{'|'.join(COLORS)}) (?P<shape_{name}>{'|'.join(SHAPES)})" for name in ("a", "b")
    }
    return re.compile(template.format(**described, relation=f"(?P<relation>{'|'.join(RELATIONS)})"))


_PATTERNS = tuple(map(_pattern, (*ONE, *TWO)))


def parse_scene(sentence: str) -> Scene:
    """Returns the meaning of a sentence of ``shape_scenes``. Case, spaces and a final period are ignored.

    Raises:
        ValueError: The sentence is not one of the grammar.
    """
    words = " ".join(sentence.lower().split()).removesuffix(".") if isinstance(sentence, str) else ""
    found = next((match for pattern in _PATTERNS if (match := pattern.fullmatch(words))), None)
    if found is None:
        raise ValueError(
            "`sentence` must describe one or two objects, such as 'a red circle above a blue square', "
            f"got {describe_value(sentence)}"
        )
    named = found.groupdict()
    names = "ab" if "color_b" in named else "a"
    objects = tuple((named[f"color_{name}"], named[f"shape_{name}"]) for name in names)
    return Scene(objects, named.get("relation"))
