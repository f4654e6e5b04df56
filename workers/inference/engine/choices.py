"""How many ways llama.cpp has to follow at once in a schema: alternatives that begin alike, times those inside of them.

It looks at all of them for each token of its vocabulary, and nobody else's reply on the machine gets on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Ways at once. With 700 a token takes a fifth of a second on a small machine; what repeats them inside of each other
#: comes to millions in a few hundred characters.
MOST: Final = 1000
#: A bound of a number is written out digit by digit, with a choice at each.
WAYS_A_DIGIT: Final = 8
#: References within each other that are followed.
DEEP: Final = 64
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def ways(schema: Mapping[str, Any]) -> int:
    """Return how many; over MOST where they are, or have no end."""
    return _Count(schema).of(schema)[0]


#: Ways in a part of the schema, and the references around it that it comes back to.
_Found = tuple[int, frozenset[str]]
_NOWHERE: Final[frozenset[str]] = frozenset()


class _Count:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root: Final = root
        self._known: Final[dict[str, _Found]] = {}
        self._within: Final[set[str]] = set()

    def of(self, node: Any) -> _Found:
        """Look at one part."""
        if not isinstance(node, Mapping):
            return 1, _NOWHERE
        if isinstance(ref := node.get("$ref"), str):
            return self._referred(ref)
        inside = [self.of(one) for one in _parts(node)]
        most = max((count for count, _ in inside), default=1)
        back = _NOWHERE.union(*(refs for _, refs in inside))
        for word in ("anyOf", "oneOf"):
            if isinstance(choices := node.get(word), list):
                count, refs = self._choice(choices)
                most, back = max(most, count), back | refs
        if isinstance(values := node.get("enum"), list):
            most = max(most, len(values))
        digits = sum(len(str(node[name])) for name in _BOUNDS if isinstance(node.get(name), int | float))
        return min(MOST + 1, max(most, digits * WAYS_A_DIGIT)), back

    def _referred(self, ref: str) -> _Found:
        if ref in self._within:
            return 1, frozenset((ref,))
        if len(self._within) > DEEP:
            return MOST + 1, _NOWHERE
        if ref not in self._known:
            self._within.add(ref)
            count, back = self.of(self._found(ref))
            self._known[ref] = count, back - {ref}
            self._within.discard(ref)
        return self._known[ref]

    def _found(self, ref: str) -> Any:
        node: Any = self._root
        for name in ref.lstrip("#").split("/")[1:]:
            node = node.get(name) if isinstance(node, Mapping) else None
        return node

    def _choice(self, choices: Sequence[Any]) -> _Found:
        alike: dict[str, list[_Found]] = {}
        for one in choices:
            alike.setdefault(self._beginning(one), []).append(self.of(one))
        anything = alike.pop("", [])
        most, back = 1, _NOWHERE
        for group in list(alike.values()) or [[]]:
            found = group + anything
            back = back.union(*(refs for _, refs in found))
            if len(found) > 1 and any(refs for _, refs in found):
                return MOST + 1, back  # Each time round there are as many times more.
            most = max(most, sum(count for count, _ in found))
        return most, back

    def _beginning(self, node: Any) -> str:
        """Return what tells an alternative from others at its beginning; empty where it may be anything."""
        for _ in range(len(self._root) + 1):
            if not (isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str)):
                break
            node = self._found(ref)
        if not isinstance(node, Mapping) or not isinstance(kind := node.get("type"), str):
            return ""
        properties = node.get("properties")
        if kind != "object" or not isinstance(properties, Mapping) or not properties:
            return kind
        name, first = next(iter(properties.items()))
        required = node.get("required")
        told = isinstance(first, Mapping) and "const" in first and isinstance(required, list) and name in required
        return f"{kind} {json.dumps([name, first['const']])}" if told else kind


def _parts(node: Mapping[str, Any]) -> list[Any]:
    """Return what stands in an object or a list of the schema, each at its own place in the text."""
    found: list[Any] = [node.get("items"), node.get("additionalProperties")]
    for word in ("properties", "prefixItems", "allOf"):
        inside = node.get(word)
        found += inside.values() if isinstance(inside, Mapping) else inside if isinstance(inside, list) else []
    if isinstance(items := node.get("items"), list):
        found += items
    return found
