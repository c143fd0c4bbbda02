"""A few rows of answers in which every pair of answers that can go together goes together once.

What can go together is not guessed by trying: the questions are walked through once, and ways that
differ only in what no later question looks at are one way. So all rows lie in a graph of a few
thousand edges, though there are hundreds of thousands, and whether answers fit is a search in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from tests.support.questionnaire import Answers, Questionnaire, Row

# A question and what was answered; the text, because not every answer can be in a set.
Item = tuple[str, str]
Pair = frozenset[Item]


def items(answers: Answers) -> set[Item]:
    """The single answers of a row."""
    return {(name, repr(value)) for name, value in answers.items()}


def pairs(answers: Answers) -> set[Pair]:
    """The pairs of answers of a row."""
    return {frozenset(pair) for pair in combinations(sorted(items(answers)), 2)}


def cover_items(rows: Sequence[Row]) -> list[Row]:
    """A few of these rows in which every single answer of them stands at least once."""
    missing = {item for answers, _ in rows for item in items(answers)}
    chosen = []
    while missing:
        row = max(rows, key=lambda row: len(items(row[0]) & missing))
        chosen.append(row)
        missing -= items(row[0])
    return chosen


@dataclass(eq=False)
class _Node:
    """Where a row stands before a question; all that later questions look at is known here.

    Attributes:
        at: how many questions come before; those that are not asked count too.
        known: answers and computed values of one of the ways that lead here.
        edges: for each answer, the item, the value, and what comes then; no item where not asked.
        ahead: the items of all rows that pass here, from here on.
    """

    at: int
    known: Answers
    edges: list[tuple[Item | None, Any, _Node]] = field(default_factory=list)
    ahead: set[Item] = field(default_factory=set)


class Choices:
    """All valid rows of a questionnaire, and how to find some of them.

    `given` names values for questions, in place of all that can be answered.
    """

    def __init__(self, questionnaire: Questionnaire, given: Mapping[str, Sequence[Any]]) -> None:
        self._questionnaire = questionnaire
        self._order, needed = self._needed()
        self._position = {name: at for at, name in enumerate(self._order)}
        self._start = _Node(0, {})
        layer = [self._start]
        layers = [layer]
        for at, name in enumerate(self._order):
            found: dict[tuple[str, ...], _Node] = {}
            for node in layer:
                asked, offered = questionnaire.offer(name, node.known, given)
                for said in offered:
                    known = node.known | said
                    key = questionnaire.outlook(needed[at], known)
                    then = found.setdefault(key, _Node(at + 1, known))
                    item = (name, repr(said[name])) if asked else None
                    node.edges.append((item, said.get(name), then))
                assert node.edges, f"nothing can be answered to {name} after {node.known}"
            layer = [*found.values()]
            layers.append(layer)
        for node in (node for layer in reversed(layers) for node in layer):
            for item, _, then in node.edges:
                node.ahead |= then.ahead | ({item} if item else set())
        self._nodes = [node for layer in layers for node in layer]

    def _needed(self) -> tuple[list[str], list[set[str]]]:
        """The questions, with the values that they look at; after each, what is looked at later."""
        asked = set(self._questionnaire.names())
        later: set[str] = set()
        order: list[str] = []
        needed: list[set[str]] = []
        for name in reversed(self._questionnaire.details):
            if name in asked or name in later:
                order.append(name)
                needed.append(later)
                later = (later - {name}) | self._questionnaire.reads[name]
        return order[::-1], needed[::-1]

    def items(self) -> set[Item]:
        """Every answer that can be given."""
        return set(self._start.ahead)

    def pairs(self) -> set[Pair]:
        """Every pair of answers that some valid row has."""
        return {
            frozenset((item, other))
            for node in self._nodes
            for item, _, then in node.edges
            if item
            for other in then.ahead
        }

    def way(self, wanted: Mapping[str, str], liked: Mapping[str, Any] | None = None) -> Answers:
        """The answers of a row that has what is wanted, question to text; empty if there is none.

        Of several answers that fit, one that is liked is taken, else the first.
        """
        failed: set[_Node] = set()

        def walk(node: _Node) -> Answers | None:
            left = {item for item in wanted.items() if self._position[item[0]] >= node.at}
            if node in failed or not left <= node.ahead:
                return None
            if node.at == len(self._order):
                return {}
            name = self._order[node.at]
            edges = node.edges
            if liked and name in liked:
                edges = sorted(edges, key=lambda edge: edge[1] != liked[name])
            for item, value, then in edges:
                # A question that is wanted and not asked fails at the next node.
                if name in wanted and item != (name, wanted[name]):
                    continue
                rest = walk(then)
                if rest is not None:
                    return ({name: value} if item else {}) | rest
            failed.add(node)
            return None

        return walk(self._start) or {}

    def row(self, answers: Answers) -> Row:
        """These answers with all that is computed from them."""
        (row,) = self._questionnaire.combinations({name: [x] for name, x in answers.items()})
        return row

    def matrix(
        self, start: Iterable[Answers] = (), liked: Mapping[str, Any] | None = None
    ) -> list[Row]:
        """A few rows that have every pair, the same each time.

        Each row starts from the answer that lacks most, and takes one more as long as one is to be
        had that brings pairs which no row has yet. What is left open is filled with what is liked.
        The first rows start from what `start` says.
        """
        missing: dict[Item, set[Item]] = defaultdict(set)
        for one, other in sorted(map(sorted, self.pairs())):
            missing[one].add(other)
            missing[other].add(one)
        found: list[Row] = []
        starts = list(start)
        while starts or any(missing.values()):
            given = dict(items(starts.pop(0))) if starts else {}
            answers = self.way(self._wanted(given, missing), liked)
            assert answers, f"no row has {given}"
            new = items(answers)
            for item in new:
                missing[item] -= new
            found.append(self.row(answers))
        return found

    def _wanted(
        self, given: Mapping[str, str], missing: Mapping[Item, set[Item]]
    ) -> dict[str, str]:
        wanted = dict(given)
        gains: dict[Item, int] = defaultdict(int)
        for item in wanted.items():
            for other in missing[item]:
                gains[other] += 1
        left = [item for item in missing if missing[item]]
        while left:
            best = max(left, key=lambda item: (gains[item], len(missing[item])))
            if wanted and not gains[best]:
                break
            left.remove(best)
            if best[0] not in wanted and self.way(wanted | dict([best])):
                wanted[best[0]] = best[1]
                for other in missing[best]:
                    gains[other] += 1
        return wanted


def uncovered(choices: Choices, rows: Iterable[Row]) -> set[Pair]:
    """The pairs that could be and that no row has."""
    return choices.pairs() - {pair for answers, _ in rows for pair in pairs(answers)}
