"""Finds the failures that a text shows: a log, or what somebody copied from a terminal.

The text is all that is known. It is cleaned of what terminals, BuildKit, Compose and copying add to
it, and lines that were wrapped are put together. It asks nothing of this machine, so that the
page of the documentation runs it, too.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from functools import lru_cache
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from .failure_rows import PARTS, REGISTRY, Failure, fill_in, pattern, table, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .failure_rows import Known

PACKAGES = Path(__file__).resolve().parents[1] / "image" / "system_packages.json"
MOST = 1 << 20  # characters that are read, from the end
LONGEST = 1500  # characters of a line; a longer one is looked at in pieces
OVERLAP = 300  # characters that two pieces share
SOME = 8  # different lines that are looked at for a text of the table, from the end
WIDEST = 300  # characters of a line that was wrapped
MANY = 1000  # lines with the same words, most of them equal
NARROWEST = 72  # characters that fit into such lines
AROUND = 4  # lines before and after one that may belong to it

# What terminals do, as they read it; as programs print it; as it is left when ESC gets lost.
ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b."
    r"|(?:\^\[|\\u001b|\\x1b|\\033|\\e)\[[\d;?]*[A-Za-z]|\[(?:\d{1,3};){0,5}\d{1,3}m"
)
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
# What editors, chats and pages make of quotes and blanks, and JSON of quotes.
SPELT = {ord(a): b for a, b in zip("\u2018\u2019\u201c\u201d\xa0\u202f\t", "''\"\"   ")}
# What BuildKit, Compose, timestamps and quoting put before a line.
PREFIX = re.compile(
    r"(?:#\d+ (?:\d+\.\d+ )?|\d+\.\d+ (?=\S)| ?=> (?:=> )?# |[\w.-]{1,80}[-_]\d+ +\| ?"
    r"|\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)? |> ?|\u2502 ?)"
)
# Lines of a Dockerfile that BuildKit repeats: what they would print was not printed.
REPEATED = re.compile(r"(?:#\d+ | ?=> (?:CACHED |ERROR )?| > )\[|\s*\d+ \| ")
COMMAND = ('process "', '" did not complete')  # what is between them was not printed either
# A line is about a registry that images are pushed to; the words of its rows are common ones.
OF_REGISTRY = re.compile(
    r"(?i)^(?!.*(?:source metadata|manifest for|pull access denied)).*(?:/v2/|manifest|registry"
    r"|resource is denied|basic auth|authentication required|resolve reference|failed to push"
    r"|(?:docker|podman|template\.sh) (?:push|pull|publish))"
)
IN_REGISTRY = re.compile(r"https?://(?P<registry>(?P<host>[\w.-]+)(?::(?P<port>\d+))?)/v2/")
# What Hearth itself has said: a failure with its id, and a finding of the doctor.
SAID = re.compile(r"\(failure:\s+([a-z-]+)\)(?:\s+Run: (.*))?")
FOUND = re.compile(r"(?m)^(?:error|warning): ([a-z]+(?:-[a-z]+)+)\n((?:  .*(?:\n|\Z))+)")
SENTENCES = 600  # characters before an id, at most
# What a sentence of the table says where the text does not tell a word of it.
UNKNOWN = (
    ("The registry {registry}", "The registry"),
    ("{registry}", "the registry"),
    ("has no image {image}", "does not have the image"),
    ("{image}", "the image"),
    ("the image 127.0.0.1:{port}/{path}", "the image by 127.0.0.1 and the port of the tunnel"),
    ("can be {key} in .env", "can be in .env, as BASE_IMAGE for instance"),
    ("Line {number} of", "A line of"),
    ("{file} cannot be read", "pyproject.toml cannot be read"),
    ("The path {root}", "The path of the project"),
    ("{reason}", "the text does not say why"),
    ("{package} needs", "A program needs"),
    ("{said}", "Compiling PyTorch was stopped; the text says why"),
)
USUAL = {"me": "./docker-amd64/template.sh", "folder": "docker-amd64"}
# A command of the script of a project, with plain or quoted words alone.
OF_SCRIPT = re.compile(r"(?:\S*/)?template\.sh((?: (?:[\w./:@%+=,~*-]+|'[^']*'))*)")
# Where a command needs a word that only a project or a machine knows.
SUPPOSED = {"key": "BASE_IMAGE", "number": "1", "port": "5000"}


class Explanation(NamedTuple):
    """A failure that a text shows.

    Attributes:
        name: the id of its row.
        line: where the text shows it.
        cause: sentences.
        commands: what helps, by engine and host as in the table, "" for all others.
        unknown: words in capitals in them, in place of names that the text does not tell.
    """

    name: str
    line: str
    cause: str
    commands: dict[str, str]
    unknown: tuple[str, ...] = ()


class Hit(NamedTuple):
    """Where a text of the table was found: a line, or some put together, and their numbers."""

    text: str
    lines: range


def clean(text: str) -> str:
    """The end of a text without what terminals and copying have added."""
    text = LINE_ENDS.sub("\n", text[-MOST:])
    text = ESCAPES.sub("", text).translate(SPELT).replace('\\"', '"')
    text = UNSEEN.sub("", re.sub("[^\n\b]\b", "", text))
    return re.sub(r"\n\s*\n", "\n\n", text)


def is_said(says: str, text: str) -> bool:
    """Whether a line says a text of the table."""
    return has_parts(says, text) and bool(re.search(pattern(says), text, re.IGNORECASE))


def has_parts(says: str, line: str) -> bool:
    """Whether a line has what is always the same in a text of the table; the rest takes longer."""
    small = line.lower()
    return all(part in small for part in parts_of(says))


@lru_cache(maxsize=None)
def parts_of(says: str) -> list[str]:
    """What is always the same in a text of the table, in small letters."""
    return [part.lower() for part in re.split(PARTS, says)[::2]]


@lru_cache(maxsize=None)
def literal(says: str) -> str:
    """The longest of these parts."""
    return max(parts_of(says), key=len)


class Pasted:
    """A text in lines, in which texts of the table are found.

    Attributes:
        lines: without what stands before them.
        widths: how long they were with it.
    """

    def __init__(self, text: str):
        """Take a clean text."""
        self.lines: list[str] = []
        self.widths: list[int] = []
        for line in text.split("\n"):
            if REPEATED.match(line):
                continue
            found = PREFIX.match(line)
            line = line.rstrip()  # noqa: PLW2901
            self.widths += [len(line)]
            while found:
                line = line[found.end() :]  # noqa: PLW2901
                found = PREFIX.match(line)
            start, end = line.find(COMMAND[0]), line.rfind(COMMAND[1])
            if 0 <= start < end:
                line = line[:start] + "...".join(COMMAND) + line[end + len(COMMAND[1]) :]  # noqa: PLW2901
            self.lines.append(line[:LONGEST])
            for at in range(LONGEST - OVERLAP, len(line) - OVERLAP, LONGEST - OVERLAP):
                self.lines.append(line[at : at + LONGEST])
                self.widths.append(LONGEST)
        small = [line.lower() for line in self.lines]
        stripped = [line.strip() for line in small]
        self.indexes = [Index(small, "\n"), Index(small, ""), Index(stripped, " ")]

    def find(self, says: str) -> list[Hit]:
        """Where the text says a text of the table; wrapped lines only if no line says it."""
        wanted = re.compile(pattern(says), re.IGNORECASE)
        hits: list[Hit] = []
        seen: set[str] = set()
        for at in self.indexes[0].places(literal(says)):
            line = self.lines[at]
            if line in seen or not has_parts(says, line):
                continue
            seen.add(line)
            if wanted.search(line):
                hits.append(Hit(line, range(at, at + 1)))
            if len(seen) == SOME:
                break
        if not hits:
            for index in self.indexes[1:]:
                places = islice(index.places(literal(says)), SOME)
                hits += filter(None, (self.wrapped(wanted, at, index.between) for at in places))
        return hits

    def wrapped(self, wanted: re.Pattern[str], at: int, between: str) -> Hit | None:
        """The lines around this one that seem to be one line, if they say it together."""
        lines = self.whole(at)
        if len(lines) == 1:
            return None
        parts = self.lines[lines.start : lines.stop]
        joined = between.join(part.strip() for part in parts) if between else "".join(parts)
        return Hit(joined, lines) if wanted.search(joined) else None

    def whole(self, at: int) -> range:
        """The lines that seem to be one line with this one: the next word had no room in each."""
        first, last = max(0, at - AROUND), min(len(self.lines), at + AROUND + 1)
        width = max(NARROWEST, *self.widths[first:last])

        def goes_on(one: int) -> bool:
            """Whether the next line is the rest of a line."""
            if one + 1 >= last or self.widths[one] > WIDEST:
                return False
            word = len(self.lines[one + 1].strip().partition(" ")[0])
            return word > 0 and self.widths[one] + 1 + word > width

        start, end = at, at + 1
        while start > first and goes_on(start - 1):
            start -= 1
        while goes_on(end - 1):
            end += 1
        return range(start, end)

    def is_of_registry(self, hit: Hit) -> bool:
        """Whether it is a registry of images that is spoken of where a text was found."""
        lines = self.whole(hit.lines.start)
        joined = "".join(self.lines[lines.start : max(lines.stop, hit.lines.stop)])
        return bool(OF_REGISTRY.search(joined))


class Index:
    """Lines put together, in which a word is found quickly."""

    def __init__(self, lines: list[str], between: str):
        """Join them."""
        self.between = between
        self.text = between.join(lines)
        self.starts = [0]
        for line in lines:
            self.starts.append(self.starts[-1] + len(line) + len(between))

    def places(self, word: str) -> Iterator[int]:
        """The numbers of the lines in which a word begins, from the end."""
        if word not in self.text:  # this is quicker than to search from the end
            return
        end = len(self.text)
        for _ in range(MANY):
            found = self.text.rfind(word, 0, end)
            if found < 0:
                return
            at = min(bisect_right(self.starts, found) - 1, len(self.starts) - 2)
            yield at
            end = self.starts[at] + len(word) - 1


def said_by_us(text: str) -> dict[str, Known]:
    """The ids that Hearth itself has said in a text, with its sentences and its command."""
    said: dict[str, Known] = {}
    for name, found in {one[1]: one for one in SAID.finditer(text)}.items():
        before = text[max(0, found.start() - SENTENCES) : found.start()]
        sentence = " ".join(before.rpartition("\n\n")[2].split())
        remedy = (found[2] or "").strip()
        said[name] = {"line": sentence, "cause": sentence, "remedy": remedy}
    for name, found in {one[1]: one for one in FOUND.finditer(text)}.items():
        told, _, command = found[2].partition("  Run: ")
        cause, _, seen = " ".join(told.split()).partition(" Seen: ")
        remedy = command.partition("\n")[0].strip()
        said[name] = {"line": seen or cause, "cause": cause, "remedy": remedy}
    return said


def shown_by(pasted: Pasted) -> Iterator[tuple[Failure, Known]]:
    """The rows whose words a text has, the likeliest cause first.

    Where one line is about several rows, the first of them counts, unless they have the same words.
    """
    earlier: list[str] = []
    taken: set[int] = set()
    for failure in table():
        hits = {says: pasted.find(says) for says in failure.says}
        if failure.when == REGISTRY:
            hits = {
                says: [hit for hit in found if pasted.is_of_registry(hit)]
                for says, found in hits.items()
            }
        new = [
            hit
            for says, found in hits.items()
            for hit in found
            if says in earlier
            or not (taken.issuperset(hit.lines) or any(is_said(one, hit.text) for one in earlier))
        ]
        known = words_of(failure, "\n".join(hit.text for hit in new)) if new else None
        if known:
            earlier += [says for says, found in hits.items() if found]
            # A line of its own may be about more: what it says is compared, see above.
            taken |= {at for hit in new if len(hit.lines) > 1 for at in hit.lines}
            yield failure, known


def explanations(text: str, known: Mapping[str, str] = USUAL) -> list[Explanation]:
    """The failures that a text shows: what Hearth says itself, then the likeliest cause first.

    Args:
        text: a log, or what somebody has copied, of any kind and length; its end is read.
        known: the words me, folder, root and project, as far as they are known.
    """
    pasted = Pasted(clean(text))
    rows = {one.name: one for one in table()}
    found: dict[str, Explanation] = {}
    for name, said in said_by_us("\n".join(pasted.lines)).items():
        if name in rows:
            found[name] = explanation(rows[name], {**known, **said})
    for failure, said in shown_by(pasted):
        found.setdefault(failure.name, explanation(failure, {**known, **said}))
    return [*found.values()]


def explanation(failure: Failure, known: Known) -> Explanation:
    """A failure in words; of what the text does not tell, a command has the name in capitals."""
    if failure.when == REGISTRY:
        found = IN_REGISTRY.search(known["line"])
        known = {**known, **{k: v for k, v in (found.groupdict() if found else {}).items() if v}}
    cause = known.get("cause") or failure.cause
    for words, instead in UNKNOWN:
        if any(word not in known for word in re.findall(r"\{(\w+)\}", words)):
            cause = cause.replace(words, instead)
    cause = fill_in(cause, known)
    cause = cause if cause.endswith((".", "?", "!")) else f"{cause}."
    told = own_command(known.get("remedy", ""), known["me"])
    if told:
        return Explanation(failure.name, known["line"], cause, {"": told})
    if "advice" in known:
        advice = own_command(known["advice"], known["me"]) or f"{known['me']} build"
        known = {**known, "advice": advice}
    known = {**SUPPOSED, **libraries(known), **known}
    # These two are commands themselves.
    quoted = {k: v if k in ("advice", "me") else quote(v) for k, v in known.items()}
    commands = {kind: fill_in(run, quoted).strip() for kind, run in failure.run.items()}
    names = (name for run in failure.run.values() for name in re.findall(r"(?<!\$)\{(\w+)\}", run))
    unknown = dict.fromkeys(name.upper() for name in names if name not in known)
    return Explanation(failure.name, known["line"], cause, commands, tuple(unknown))


def own_command(told: str, script: str) -> str:
    """A command that a text gives, for the script of this project; "" if it is of another program.

    A text may be anybody's, so what else it wants to be run is not repeated as advice.
    """
    parts = [OF_SCRIPT.fullmatch(part) for part in told.split(" && ")]
    return " && ".join(f"{script}{part[1]}" for part in parts if part) if all(parts) else ""


def libraries(known: Known) -> Known:
    """The package of the distribution that brings a missing library, if that is known."""
    package = packages().get(known.get("library", ""))
    return {"packages": package} if package else {}


@lru_cache(maxsize=None)
def packages() -> dict[str, str]:
    """The packages of the distribution by the libraries that they bring."""
    found: dict[str, str] = json.loads(PACKAGES.read_text("utf-8"))["packages"]
    return found
