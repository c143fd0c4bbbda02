"""What a terminal shows of a command that really ran, as lines of text and as an SVG picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pexpect
import pyte
from pyte.screens import Char
from rich._export_format import CONSOLE_SVG_FORMAT  # the only place where its form can be had
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROWS = 40  # what a program is told of the terminal's height, and what a picture shows
LINES = 4000  # kept all the same, so that no scene loses its first line
NARROWEST = 100  # so that letters have about the same size in all pictures
# rich's own form, without the fonts that it takes from another host, and without its address.
SVG_FORMAT = re.sub(
    r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
)
# The names of pyte that rich does not have.
COLOURS = {"brown": "yellow", "bfightmagenta": "bright_magenta"}
SVG = "{http://www.w3.org/2000/svg}"


class Step(NamedTuple):
    """Wait until the terminal shows a text, then type something."""

    text: str
    keys: str


class Terminal:
    """A terminal without a screen, in which one command after the other is typed."""

    def __init__(self, columns: int = 130) -> None:
        """Show nothing yet."""
        self._columns = columns
        self._screen = pyte.Screen(columns, LINES)
        self._stream = pyte.Stream(self._screen)

    def write(self, text: str) -> None:
        """Show what a program writes; pexpect calls this."""
        self._stream.feed(text)

    def flush(self) -> None:
        """Do nothing: what is written is shown."""

    def run(
        self,
        shown: str,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        env: Mapping[str, str],
        steps: Sequence[Step] = (),
        until: str = "",
        status: int = 0,
        timeout: float = 240,
    ) -> None:
        """Run a command as a person does, who types `shown`, to its end or to the text `until`.

        Raises:
            RuntimeError: it ended with another exit status, or never showed what is waited for.
        """
        self.write(f"\x1b[32m$\x1b[0m \x1b[1m{shown}\x1b[0m\r\n")
        # pexpect answers no question for the cursor's position: let none be asked.
        settings = {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "PWD": str(cwd)}
        child = pexpect.spawn(
            "env",  # which looks for the program in cwd, as a shell does
            [str(word) for word in command],
            cwd=str(cwd),
            env={**env, **settings},
            encoding="utf-8",
            dimensions=(ROWS, self._columns),
            timeout=timeout,
        )
        child.logfile_read = self
        try:
            for text, keys in steps:
                child.expect_exact(text)
                child.send(keys)
            if until:
                child.expect_exact(until)
                child.expect(pexpect.TIMEOUT, timeout=0.5)  # what follows on the same screen
                return
            child.expect(pexpect.EOF)
            child.close()
            if child.exitstatus != status:
                raise RuntimeError(f"{shown}: exit status {child.exitstatus}, not {status}")
        except (pexpect.EOF, pexpect.TIMEOUT) as error:
            raise RuntimeError(f"{shown}: it never showed what the scene waits for") from error
        finally:
            child.close(force=True)

    def lines(self) -> list[str]:
        """What is shown, without empty lines at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().splitlines()

    def svg(self, name: str) -> str:
        """The same as a picture; `name` is unique among the pictures of a page."""
        shown = self.lines()
        width = max(NARROWEST, *map(cell_len, shown))
        console = Console(
            record=True,
            width=width,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        for number in range(len(shown)):
            if len(shown) - number < ROWS or not number:
                text = Text.assemble(*self._pieces(number, width))
                console.print(text, no_wrap=True, crop=True)
            elif number == 1:
                console.print("...")  # the command and the end of a long text are enough
        console.print()  # the frame cuts the last line at its feet
        picture = console.export_svg(title="", code_format=SVG_FORMAT, unique_id=name)
        return "".join(f"{line.rstrip()}\n" for line in picture.splitlines() if line.strip())

    def _pieces(self, number: int, width: int) -> Iterator[tuple[str, Style]]:
        """The texts of a line, and how each looks."""
        row = self._screen.buffer[number]
        # The cell behind a wide letter is empty.
        for style, cells in groupby((row[x] for x in range(width)), key=_style):
            yield "".join(cell.data for cell in cells), style


def _style(cell: Char) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


def _colour(name: str) -> str:
    """The name that rich has for a colour of pyte."""
    if re.fullmatch(r"[0-9a-f]{6}", name):
        return f"#{name}"
    name = COLOURS.get(name, name)
    return f"bright_{COLOURS.get(name[6:], name[6:])}" if name.startswith("bright") else name


def text_of(svg: Path) -> list[str]:
    """The lines of a picture that `Terminal.svg` made, without blanks."""
    lines: dict[float, list[str]] = {}
    tree = ET.parse(svg)  # noqa: S314 - a file of this repository
    for element in tree.iter(f"{SVG}text"):
        lines.setdefault(float(element.get("y", "0")), []).append("".join(element.itertext()))
    joined = ("".join("".join(parts).split()) for _, parts in sorted(lines.items()))
    return [line for line in joined if line]
