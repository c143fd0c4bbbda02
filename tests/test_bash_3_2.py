"""template.sh runs in the bash of macOS too, 3.2 for ever; Debian and PyPI have none to try it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "template/docker-amd64/template.sh"
# What came with bash 4 and 5, as it looks in a script; and what 3.2 cannot do under `set -u`.
NEWER = {
    "mapfile, readarray": r"\b(mapfile|readarray)\b",
    "declare -A, -g, -n": r"\b(declare|local|typeset) +-[a-zA-Z]*[Agn]",
    "upper and lower case": r"\$\{\w+(\[[^]]*\])?(\^|,)",
    "${x@Q}": r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}",
    "|& and &>>": r"\|&|&>>",
    "negative indices": r"\[-[0-9]+\]|: -[0-9]+",
    "[[ -v": r"\[\[ -v\b|\btest -v\b|\[ -v\b",
    "coproc, wait -n": r"\bcoproc\b|\bwait -n\b",
    "printf %(time)T": r"%\([^)]*\)T",
    "read -t with a fraction, -i, -N": r"\bread\b.* -(t *0?\.|[a-z]*[iN])",
    "shopt globstar, lastpipe, inherit_errexit": r"\b(globstar|lastpipe|inherit_errexit)\b",
    "{01..10}, {a..b..2}": r"\{0\d+\.\.|\.\.\w+\.\.",
    ";& and ;;&": r";;?&",
    "EPOCHSECONDS, BASHPID, SRANDOM": r"\b(EPOCH(SECONDS|REALTIME)|BASHPID|SRANDOM)\b",
    # An empty array counts as unset there: "${x[@]}" has to be ${x[@]+"${x[@]}"}, but for those
    # that are checked for content before they are used.
    "an array that may be empty": r'(?<!\+)"\$\{(?!targets|names)\w+\[@\]\}"',
}


@pytest.mark.parametrize("feature", NEWER)
def test_template_sh_uses_nothing_that_bash_3_2_lacks_by_its_text(feature: str) -> None:
    code = re.sub(r"(?m)^\s*#.*$", "", SCRIPT.read_text())
    assert re.findall(f".*(?:{NEWER[feature]}).*", code) == []


@pytest.mark.parametrize(
    ("feature", "line"),
    [
        ("mapfile, readarray", "mapfile -t lines <file"),
        ("upper and lower case", 'echo "${name,,}"'),
        ("|& and &>>", "make |& tee log"),
        ("negative indices", 'echo "${lines[-1]}"'),
        ("declare -A, -g, -n", "local -A seen"),
        ("an array that may be empty", 'run "${options[@]}"'),
    ],
)
def test_the_patterns_find_what_they_are_for(feature: str, line: str) -> None:
    assert re.search(NEWER[feature], line)
