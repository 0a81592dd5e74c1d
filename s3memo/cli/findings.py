"""The analyses of many source files, added up and shown."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from s3memo.cli.plain import plain
from s3memo.cli.screen import facts, titled

_SHOWN = 10


class Function(NamedTuple):
    """A function and its place in the source."""

    complexity: int
    name: str
    place: str


@dataclass
class Findings:
    """The results of `analyze`, added up over files."""

    files: int = 0
    problems: list[str] = field(default_factory=list)
    lines: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    identifiers: Counter[str] = field(default_factory=Counter)
    functions: list[Function] = field(default_factory=list)

    def add(self, file: str, result: Mapping[str, Any]) -> None:
        """Add the analysis of one file."""
        self.files += 1
        if "problem" in result:
            self.problems.append(f"{file}: {result['problem']}")
            return
        self.lines.update(result["lines"])
        self.tokens.update(result["tokens"])
        self.identifiers.update(result["identifiers"])
        self.functions += [
            Function(complexity, name, f"{file}:{line}") for name, line, complexity in result["functions"]
        ]

    def show(self, console: Console) -> None:
        """Print the most complex functions, and the totals."""
        console.print(self._most_complex(), self._totals())

    def _most_complex(self) -> Table:
        table = titled("\nThe most complex functions")
        table.add_column("complexity", justify="right")
        table.add_column("function", overflow="fold")
        table.add_column("where", overflow="fold", style="dim")
        for function in heapq.nlargest(_SHOWN, self.functions, key=lambda function: function.complexity):
            table.add_row(str(function.complexity), plain(function.name), plain(function.place))
        return table

    def _totals(self) -> Table:
        return facts(
            {
                "files": f"{self.files:,}",
                "not analyzed": _counted(self.problems),
                "lines": _breakdown(self.lines),
                "tokens": _breakdown(self.tokens),
                "functions": f"{len(self.functions):,}, of complexity {self._mean_complexity:.2f} on average",
                "identifiers": f"{len(self.identifiers):,}, {self._mean_length:.2f} characters long on average",
                "most used": _ranking(self.identifiers),
            },
            title="\nIn total",
        )

    @property
    def _mean_complexity(self) -> float:
        return sum(function.complexity for function in self.functions) / max(len(self.functions), 1)

    @property
    def _mean_length(self) -> float:
        return sum(map(len, self.identifiers)) / max(len(self.identifiers), 1)


def _breakdown(counts: Counter[str]) -> str:
    parts = ", ".join(f"{count:,} {kind.lower()}" for kind, count in counts.most_common())
    return f"{counts.total():,}: {parts}" if parts else "0"


def _ranking(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(_SHOWN))


def _counted(problems: list[str]) -> str:
    return f"{len(problems):,}, such as {problems[-1]}" if problems else ""
