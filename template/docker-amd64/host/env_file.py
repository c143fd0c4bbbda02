"""The .env file: reading, quoting, merging and writing it.

It is the user's file. `merge` adds the keys that .env.example has and .env lacks, and leaves every
other line of the user as it is; a value that differs from what this machine suggests is kept,
unless a refresh asks for it. The last line of .env records the example of that day: its keys, so
that one which leaves it is told from a key of the user's; the values that answers decided, so that
a value which the user never touched can follow the answers; and its id in git, so that comments
which the user never touched can follow the template (env_renewal.py).

This is the one reader: what it returns is what Docker Compose makes of the same file. Where Compose
refuses a file, it raises ProbeError, which names the line.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .files import PRIVATE, read_file, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

# ruff: noqa: PLC0415  what only some calls need is imported there: the probe has to be quick

# The keys of .env that this machine decides; all others are the project's or the user's.
FILLED = (
    *("USRID", "GRPID", "USR", "GRP", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE"),
    "CONTAINER_ENGINE",
    *("CPU_OR_GPU", "GPU_IDS", "CCA", "SHM_SIZE", "TZ", "CA_BUNDLE", "SSH_PORT", "SSH_KEYS"),
)
# What follows from the answers and from the GPUs that they were judged for.
DERIVED = ("CCA", "CUDA_COMPAT")
ALL = ("all",)  # for `refresh`: every key that this machine decides


class ProbeError(Exception):
    """Something the user can put right; the message is one sentence that says how."""


# ----------------------------------------------------------------------------- reading and writing


def quote(value: str) -> str:
    """Write a value so that Compose and bash (`. ./.env`) both read exactly this string.

    Raises ValueError for what cannot be written so: line ends, NUL, and a back-tick together with a
    single quote or a final backslash.
    """
    if re.search(r"[\n\r\0]", value):
        raise ValueError(f"a value in .env must be one line of text, {value!r} is not")
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,=-]*", value):
        return value
    # Single quotes make everything literal for both, but to Compose \' is no end of the string.
    if "'" not in value and not re.search(r"(?<!\\)(\\\\)*\\$", value):
        return f"'{value}'"
    if "`" in value:  # in double quotes bash would run it, and Compose shows the escape
        raise ValueError(f"no way of quoting makes Compose and bash read {value!r} alike in .env")
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def unwritable(values: Mapping[str, str]) -> dict[str, str]:
    """The keys whose values `quote` refuses, with the reason."""

    def reason(value: str) -> str:
        try:
            quote(value)
        except ValueError as error:
            return str(error)
        return ""

    return {key: reason(value) for key, value in values.items() if reason(value)}


@dataclass
class Entry:
    """A line of an .env file; with a key if it is an assignment, active or commented out."""

    text: str
    key: str = ""
    value: str = ""
    active: bool = False


# How Compose reads the file, for the sets and patterns below:
# https://github.com/compose-spec/compose-go/blob/main/dotenv/parser.go and template/template.go
BLANKS = "\t\v\f\r \x85\xa0"  # within a line
SPACES = (
    BLANKS + "\n\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
)
SKIPPED = re.compile(rf"(?:[{SPACES}]|#.*)*")
NAME = re.compile(
    rf"(?:export(?=[\t\n\f\r ])[{BLANKS}]*)?([\w.\-\[\]{BLANKS}]*)([=:\n]|\Z)[{BLANKS}]*"
)
QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
BEHIND = re.compile(rf"[{BLANKS}]*(?:#.*)?(?:\n|\Z)")
ESCAPE = r'\\(?:([abfnrtv$"\\])|0([0-9]{0,3}))'  # compiled where a file has one
ESCAPES = dict(zip('abfnrtv"\\', '\a\b\f\n\r\t\v"\\'))
VARIABLE = r"(?a:\$(?:(\$)|([A-Za-z_]\w*)|\{(?:([A-Za-z_]\w*)(?:(:?[-+?])(.*))?\})?))"
COMMENTED = re.compile(r"#\s?([A-Z_][A-Z0-9_]*=.*)")


def refusal(text: str, at: int, why: str) -> ProbeError:
    """What Compose refuses at a place of the file; `why` continues a sentence."""
    return ProbeError(f"Line {text.count(chr(10), 0, at) + 1} of .env {why}")


def unescape(text: str, dollar: str) -> str:
    """The text between double quotes as Compose reads it, with `dollar` for an escaped one."""

    def character(match: re.Match[str]) -> str:
        letter, octal = match.groups()
        if letter:
            return ESCAPES.get(letter, dollar)
        return chr(int(octal, 8)) if re.fullmatch("[0-3][0-7]{2}", octal) else "\\" + octal

    text = text.replace('\\"', '"')
    return re.sub(ESCAPE, character, text) if "\\" in text else text


def assignments(text: str) -> Iterator[tuple[int, int, str, str, str | None]]:
    """What an .env file sets: start, end, key, value and, unless it is literal, what to expand.

    Variables in the value are not expanded. Raises ProbeError where Compose refuses the file, and
    for text behind a closing quote, which bash adds to the value and Compose does not.
    """
    at = int(text.startswith("\ufeff"))
    while True:
        skipped = SKIPPED.match(text, at)
        start = skipped.end() if skipped else at
        if start == len(text):
            return
        name = NAME.match(text, start)
        key = name.group(1).rstrip(SPACES) if name else " "
        if not name or " " in key:
            why = "is not KEY=VALUE, and Compose refuses the file. Correct it, or put # before it."
            raise refusal(text, start, why)
        at = name.end()
        if name.group(2) not in ("=", ":"):
            continue  # a key without a value: the shell's, which counts anyway
        if text[at : at + 1] in ("'", '"'):
            quoted = QUOTED.match(text, at)
            if not quoted:
                why = f"opens a quote for {key} that no line closes. Close it on that line."
                raise refusal(text, start, why)
            behind = BEHIND.match(text, quoted.end())
            if not behind:
                why = f"has text behind the closing quote of {key}. Put it inside the quotes."
                raise refusal(text, quoted.end(), why)
            at, double = behind.end(), quoted.group(2)
            if double is None:
                value, template = quoted.group(1).replace("\\'", "'"), None
            else:
                value, template = unescape(double, "$"), unescape(double, "$$")
        else:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            value = template = text[at:end].partition(" #")[0].rstrip(SPACES)
            at = end
        yield start, at, key, value, template


def expand(template: str, find: Callable[[str], str | None]) -> str:
    """A text with its variables, as Compose expands them. Raises ValueError where it refuses to."""

    def value(match: re.Match[str]) -> str:
        escaped, bare, braced, operator, rest = match.groups()
        name = bare or braced
        if escaped:
            return "$"
        if not name:
            raise ValueError(
                "has a ${ that Compose cannot read. Write ${NAME}, or $$ for a dollar sign."
            )
        found = find(name)
        if not operator:
            return found or ""
        # The pattern went to the last brace of the line; the word ends at the one that fits.
        depth, at, rest = 1, 0, rest + "}"
        while at < len(rest) and depth:
            depth -= rest[at] == "}"
            if rest[at] == "{":
                depth, at = depth + 1, at + 1  # Compose skips a character here
            at += 1
        word, behind = (rest[:-1], "") if depth else (rest[: at - 1], rest[at:])
        word = expand(word, find)  # Compose 2 does so even where it does not use the word
        unset = found is None or (operator[0] == ":" and not found)
        if unset and operator[-1] == "?":
            raise ValueError(f"requires {name}, which has no value. Set {name} above that line.")
        replaced = {"-": unset, "+": not unset, "?": False}[operator[-1]]
        return (word if replaced else found or "") + expand(behind, find)

    return re.sub(VARIABLE, value, template) if "$" in template else template


def parse_env(text: str) -> list[Entry]:
    """The lines of an .env file, with LF line ends; a quoted value may make one of several.

    Raises ProbeError (`assignments`).
    """
    text = text[text.startswith("\ufeff") :].replace("\r\n", "\n")
    entries: list[Entry] = []
    done = 0
    for begin, behind, key, value, _ in assignments(text):
        start, end = text.rfind("\n", 0, begin) + 1, behind - (text[behind - 1] == "\n")
        entries += map(commented, text[done:start].split("\n")[:-1])
        entries.append(Entry(text[start:end], key, value, active=bool(key)))
        done = end + 1
    lines = text[done:].split("\n")
    return entries + [commented(line) for line in (lines if lines[-1] else lines[:-1])]


def commented(line: str) -> Entry:
    """A line that sets nothing; with the key that it sets when its # is taken away."""
    match = COMMENTED.fullmatch(line)
    try:
        for _, _, key, value, _ in assignments(match.group(1)) if match else ():
            return Entry(line, key, value)
    except ProbeError:
        pass
    return Entry(line)


def read_env(text: str) -> dict[str, str]:
    """The keys and values of an .env file, variables not expanded; a key's last line counts.

    Raises ProbeError where Compose refuses the file.
    """
    return {key: value for _, _, key, value, _ in assignments(text) if key}


class Settings:
    """What Compose uses for `${KEY}` in `folder`: the shell's variables, then .env, expanded.

    Variables in .env are the shell's too, then those of the lines above. The file is read once.
    Raises ProbeError where Compose refuses it.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        """Read .env in `folder`; one that is not there is an empty one."""
        self.folder, self.environ = folder, environ
        self.file: dict[str, str] = {}
        text = read_or_explain(folder / ".env") or ""
        start = 0
        try:
            for start, _, key, value, template in assignments(text):  # noqa: B007  used below
                self.file[key] = value if template is None else expand(template, self._find)
        except ValueError as error:
            raise refusal(text, start, str(error)) from error

    def _find(self, key: str) -> str | None:
        return self.environ.get(key, self.file.get(key))

    def __contains__(self, key: str) -> bool:
        """Whether the shell or .env sets a key, if only to nothing."""
        return self._find(key) is not None

    def get(self, key: str) -> str:
        """The value of a key, "" if it is not set."""
        return self._find(key) or ""

    def in_file(self, key: str) -> str:
        """The value of a key in .env alone, "" if it is not set there."""
        return self.file.get(key, "")

    def path(self, key: str) -> Path | None:
        """The file or folder that Compose mounts for a key; None if it is unset, or HOME is.

        As in Compose: what follows `~` is below HOME, and a relative path starts at the folder.
        """
        value = self.get(key)
        if value.startswith("~"):
            home = self.environ.get("HOME", "")
            value = home and f"{home}/{value[1:]}"
        return Path(os.path.normpath(self.folder / value)) if value else None

    def files(self) -> list[str]:
        """The Compose files, as COMPOSE_FILE names them."""
        return [name for name in self.names() if name] or ["compose.yaml"]

    def names(self) -> list[str]:
        """What stands between the separators of COMPOSE_FILE, empty names too."""
        return self.get("COMPOSE_FILE").split(self.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)


# ----------------------------------------------------------------------------------------- merging

EXAMPLE_ID = ".example"  # in the record; no key begins with a dot
RECORD = "# The keys of .env.example when this file was last filled (leave this line): "
COPIES = (".bak", *(f".bak{number}" for number in range(1, 10)))  # ends of names, the first first
COPY = "# A copy of the former .env: the next change replaces it, unless you edit it. "
GONE = "# No longer in .env.example, nothing reads it: delete it when you like."


@dataclass(frozen=True)
class Said:
    """What the answers said about a key when .env was last filled.

    `example` is the value in the example, `given` what .env was given for it: "8.9" for "auto".
    """

    example: str
    given: str


@dataclass(frozen=True)
class Difference:
    """A key whose value in .env is not what this machine, or an answer, suggests."""

    key: str
    yours: str
    suggested: str
    by_answers: bool = False


@dataclass(frozen=True)
class Merge:
    """A merged .env file and what is worth telling about it."""

    text: str
    added: tuple[str, ...] = ()
    refreshed: tuple[str, ...] = ()
    taken: tuple[Difference, ...] = ()
    differing: tuple[Difference, ...] = ()
    gone: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def example_id(example: str) -> str:
    """The id that git gives to a text of .env.example, in a repository of the usual kind."""
    from hashlib import sha1

    data = example.encode("utf-8", "surrogateescape")
    return sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()  # noqa: S324  as git does


def recorded_id(current: str) -> str:
    """The id of the example that .env was filled from; "" if its record has none."""
    said = split_record(current)[1].get(EXAMPLE_ID)
    return said.given if said and re.fullmatch("[0-9a-f]{40}", said.given) else ""


def read_record(text: str) -> dict[str, Said | None]:
    """The keys behind RECORD, each with what was said of it; None where that was not recorded.

    A word is KEY, KEY:EXAMPLE or KEY:EXAMPLE:GIVEN, percent-encoded: no blank, quote or line end
    of a value can spoil this line, or the lines above it. There is no `=` in it, so that a person's
    `sed s/KEY=.*/KEY=mine/` does not change it.
    """
    from urllib.parse import unquote

    record: dict[str, Said | None] = {}
    for word in text.split():
        key, *values = (unquote(part, errors="surrogateescape") for part in word.split(":"))
        record[key] = Said(values[0], values[-1]) if values else None
    return record


def write_record(record: Mapping[str, Said | None]) -> str:
    """The last line of .env."""
    from urllib.parse import quote as encode

    words: list[str] = []
    for key, said in record.items():
        values = [] if said is None else [said.example, said.given]
        values = list(dict.fromkeys(values))
        coded = (encode(value, safe="/.,+@~", errors="surrogateescape") for value in values)
        words.append(":".join([key, *coded]))
    return RECORD + " ".join(words)


def split_record(text: str) -> tuple[list[Entry], dict[str, Said | None]]:
    """The lines of an .env file without its record, and what the record says."""
    entries, record = parse_env(text), {}
    for entry in entries:
        if entry.text.startswith(RECORD):
            record.update(read_record(entry.text[len(RECORD) :]))
    # A copy that was made .env again still says that it is one.
    return [entry for entry in entries if not entry.text.startswith((RECORD, COPY))], record


def setting_line(key: str, value: str) -> Entry:
    """The line that sets a key. Raises ValueError (`quote`)."""
    return Entry(f"{key}={quote(value)}", key, value, active=True)


def answer_lines(example: Sequence[Entry]) -> dict[str, Entry]:
    """The example's lines that answers decide, by key."""
    return {
        entry.key: entry
        for entry in example
        if entry.active and (entry.key not in FILLED or entry.key in DERIVED)
    }


def offered(
    answers: Mapping[str, Entry],
    said: Mapping[str, Said],
    answered: Mapping[str, str],
    values: Mapping[str, str],
) -> dict[str, Entry]:
    """The line that each key should have: the machine's, else what the answers mean or say."""
    again = {  # what was made of the same answer before, by a hook that is not here now
        key: said[key].given
        for key in DERIVED
        if key in answers and said[key].example == answers[key].value
    }
    meant = {key: value for key, value in {**again, **answered}.items() if key in answers}
    for key in unwritable(meant):  # somebody edited the record
        del meant[key]
    lines = {key: setting_line(key, value) for key, value in {**meant, **values}.items()}
    return {**answers, **lines}


def fate(one: Difference, before: Said | None, *, named: bool, machine: bool) -> str:
    """What becomes of a value that is not the one offered: refreshed, taken, differing or kept.

    `named`: `--refresh` asks for the key; `machine`: this machine decides it.
    """
    if named:
        return "refreshed"
    if one.by_answers and before and one.yours in (before.example, before.given):
        return "taken"
    return "differing" if one.by_answers or machine else "kept"


def merge(
    example: str,
    current: str | None,
    values: Mapping[str, str],
    refresh: Collection[str] = (),
    answered: Mapping[str, str] | None = None,
    *,
    decided: Mapping[str, str] | None = None,
    former: str = "",
    former_values: Mapping[str, str] | None = None,
) -> Merge:
    """Merge the text of .env.example into the user's .env.

    Without a current text the result is the example with this machine's `values`. Else every line
    of the user stays; what the example has and the user lacks is put in, with its comments, after
    the key that it follows in the example. Keys in `refresh` (ALL: every one of `values`) get the
    machine's value, or the example's where no machine decides. A key that the example has only as a
    comment is optional and is written only if `refresh` names it.

    `former` is the example that .env was filled from, "" if that is not known or is this one, and
    `former_values` is what the machine had for it: lines that are still so follow the new example.

    What answers decide follows them when they change, unless the user had changed it. `answered` is
    what they mean where that is not what the example says: what follows from names of GPUs.
    `decided` is what shall be remembered of keys that no answer decides.

    Merging a result again changes nothing. Raises ValueError where a value cannot be written.
    """
    wanted = parse_env(example)
    known = dict.fromkeys(entry.key for entry in wanted if entry.key)
    answers, answered = answer_lines(wanted), answered or {}
    if tuple(refresh) == ALL:
        refresh = {entry.key for entry in wanted if entry.active and entry.key in values}
    mine, recorded = split_record(current or "")
    # Without a record the answers are taken to be what they were: no change is made up.
    said = {key: recorded.get(key) or Said(one.value, one.value) for key, one in answers.items()}
    offers = offered(answers, said, answered, values)

    def filled(entry: Entry) -> Entry:
        return offers.get(entry.key, entry) if entry.active else entry

    there = {own.key for own in mine if own.active}
    if current is None:
        mine = [filled(entry) for entry in wanted]
    elif former:
        from .env_renewal import Former, renew

        given = ({key: one.given for key, one in recorded.items() if one}, former_values or {})
        mine = renew(mine, Former(parse_env(former), given), wanted, filled)
    else:
        insert_missing(mine, wanted, filled)
    removed = there - {own.key for own in mine if own.active}
    added = [one.key for one in wanted if one.active and one.key not in there]
    fates: dict[str, list[Difference]] = {"refreshed": [], "taken": [], "differing": [], "kept": []}
    settings = {own.key: own.value for own in mine if own.active}
    for key in filter(offers.__contains__, known):
        offer, before = offers[key].value, said.get(key)
        if key not in settings and key not in refresh:
            continue  # optional, and not in use
        if settings.get(key) != offer:
            news = before is not None and (
                before.example != answers[key].value
                or before.given != answered.get(key, before.given)
            )
            one = Difference(key, settings.get(key, ""), offer, by_answers=news)
            what = fate(one, before, named=key in refresh, machine=key in values)
            fates[what].append(one)
            if what in ("differing", "kept"):
                continue  # with the record as it is: it tells what the user did not want
            assign(mine, offers[key])
        if before:
            said[key] = Said(answers[key].value, offer)
    left = dict.fromkeys([*recorded, *(one.key for one in parse_env(former))])
    gone = mark_gone(mine, [key for key in left if key not in known], known)
    decided = {**(decided or {}), EXAMPLE_ID: example_id(example)}
    said.update({key: Said(value, value) for key, value in decided.items()})
    record = write_record({key: said.get(key) for key in [*known, EXAMPLE_ID]})
    return Merge(
        text="\n".join(own.text for own in mine).rstrip("\n") + f"\n\n{record}\n",
        added=tuple(added),
        refreshed=tuple(one.key for one in fates["refreshed"]),
        taken=tuple(fates["taken"]),
        differing=tuple(fates["differing"]),
        gone=tuple(gone),
        removed=tuple(one.key for one in parse_env(former) if one.key in removed),
    )


def insert_missing(
    mine: list[Entry], wanted: Sequence[Entry], filled: Callable[[Entry], Entry]
) -> None:
    """Put the example's keys that `mine` lacks where they belong, with their comments."""
    comments = {own.text.strip() for own in mine if not own.key and own.text.strip()}
    head: list[Entry] = []  # the comments above the next key
    at = 0  # behind the last key that both have
    for entry in wanted:
        if not entry.key:
            head.append(entry)
            continue
        places = [i for i, own in enumerate(mine) if own.key == entry.key]
        at = places[-1] + 1 if places else at
        if not any(mine[i].active or not entry.active for i in places):
            new = [line for line in head if not places and line.text.strip() not in comments]
            if new and not new[0].text.strip() and (at == 0 or not mine[at - 1].text.strip()):
                del new[0]
            mine[at:at] = [*new, filled(entry)]
            at += len(new) + 1
        head = []


def assign(mine: list[Entry], line: Entry) -> None:
    """Put a line where its key is last set, else where it is commented out, else at the end."""
    places = [at for at, own in enumerate(mine) if own.key == line.key]
    active = [at for at in places if mine[at].active]
    words = [mine[active[-1]].text.split()[0], line.text.split()[0]] if active else []
    if words and words[0] == "export" != words[1]:
        line = replace(line, text=f"export {line.text}")
    comment = comment_behind(mine[active[-1]].text) if active else ""
    if comment and not comment_behind(line.text):
        value = "" if line.value else "''"  # or the comment would be the value
        line = replace(line, text=line.text + value + comment)
    if places:
        mine[(active or places)[-1]] = line
    else:
        mine.append(line)


def comment_behind(line: str) -> str:
    """The comment behind the value of an assignment, with the blanks before it."""
    start = SKIPPED.match(line)
    name = NAME.match(line, start.end() if start else 0)
    at = name.end() if name else 0
    quoted = QUOTED.match(line, at)
    rest = line[quoted.end() :] if quoted else "".join(line[at:].partition(" #")[1:])
    return rest.rstrip() if "#" in rest else ""


def mark_gone(mine: list[Entry], left: Collection[str], known: Collection[str]) -> list[str]:
    """Put the comment GONE above the keys that left the example, and return those keys.

    Take it away again from a key that came back.
    """
    gone = [key for key in left if any(own.active and own.key == key for own in mine)]
    for at in reversed(range(len(mine))):
        marked = at > 0 and mine[at - 1].text == GONE
        if mine[at].active and mine[at].key in gone and not marked:
            mine.insert(at, Entry(GONE))
        elif mine[at].active and mine[at].key in known and marked:
            del mine[at - 1]
    return gone


# ----------------------------------------------------------------------------------------- on disk


def write_env(path: Path, text: str, owner: tuple[int, int] | None = None) -> Path | None:
    """Replace a file in one step, for its owner's eyes only, and return the copy of the former one.

    `owner` is the user and group id it is given by a caller who is root. Returns None if there was
    no such file, or if it had this text already. Raises ProbeError.
    """
    former, copy = read_or_explain(path), None
    if former is not None and former != text:
        copy = keep_copy(path.resolve(), former, owner)  # an .env that is a link stays one
    write_file(path, text, PRIVATE, owner)
    return copy


def checksum(text: str) -> str:
    """What tells a copy that the program wrote from one that somebody has edited."""
    from hashlib import sha256

    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def is_copy(text: str) -> bool:
    """Whether the program wrote a text as a copy of .env, and nobody has edited it since."""
    former, _, found = text.rpartition(COPY)
    return found.strip() == checksum(former)


def keep_copy(path: Path, text: str, owner: tuple[int, int] | None) -> Path:
    """Write the copy of a former .env beside it, as .env.bak unless that name is the user's.

    Raises ProbeError.
    """
    text += "" if text.endswith("\n") else "\n"
    names = [f"{path.name}{ending}" for ending in COPIES]
    for copy in map(path.with_name, names):
        try:
            found = read_or_explain(copy)
        except ProbeError:  # such as a folder of that name
            continue
        if found is None or is_copy(found):
            write_file(copy, f"{text}{COPY}{checksum(text)}\n", PRIVATE, owner)
            return copy
    raise ProbeError(
        f"{names[0]} to {names[-1]} are files of yours: rename one, for a copy of .env."
    )


def set_keys(folder: Path, settings: Sequence[str]) -> None:
    """Change keys of .env, each given as KEY=VALUE. Raises ProbeError."""
    path = folder.absolute() / ".env"
    current = read_settings(path)
    mine = parse_env(current or "")
    try:
        for setting in settings:
            key, _, value = setting.partition("=")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) or "=" not in setting:
                raise ProbeError(f"Write KEY=VALUE, not {setting!r}.")
            assign(mine, setting_line(key, value))
        write_env(path, "\n".join([*(own.text for own in mine), ""]))
    except ValueError as error:
        raise ProbeError(f"{str(error).capitalize()}.") from error


def read_settings(path: Path) -> str | None:
    """The text of .env, or None if there is none. Raises ProbeError where Compose refuses it."""
    text = read_or_explain(path)
    read_env(text or "")
    return text


def read_or_explain(path: Path) -> str | None:
    """The text of a file, or None if there is none. Raises ProbeError if it cannot be read."""
    try:
        return read_file(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProbeError(f"Cannot read {path}: {error.strerror}.") from error
