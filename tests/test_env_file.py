"""The .env file: what is written is what Compose and bash read, and nobody's line is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from host import env_file, files, fill, place
from host.env_file import (
    ALL,
    COPY,
    GONE,
    RECORD,
    ProbeError,
    Settings,
    merge,
    quote,
    read_env,
)
from host.facts import Engine, Person
from host.gpu_facts import Access, Gpu, Mig, chosen_gpus
from host.gpu_facts import GpuFacts as Facts
from host.project import bad_values
from tests.support.program import put_program, run_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# ------------------------------------------------------------------ what is written is what is read

# Any text a value may hold, with the characters that mean something to a reader made likely.
TEXT = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`#= \t!~{}()*?&|;<>%^-é"),
        st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]),
    ),
    max_size=24,
)
ODD = [
    "",
    " ",
    "a b",
    "a#b",
    "a # b",
    "#",
    "$HOME",
    "${HOME}",
    "$(touch x)",
    "`touch x`",
    "it's",
    'it\'s $5 \\ "x"',
    '"',
    "\\",
    "C:\\Users\\ada\\",
    "a\\\\",
    "\\'",
    "~/data",
    "x=~/data",
    "!!",
    "&&",
    "a,b;c",
    "line\u2028separator",
    "\t",
    "export X=1",
    "-----BEGIN-----",
    "\\n",
    "'\\n",
    "é",
    "\ufeffx",
]


# What the shell says while a file is read; HOME and LATER are in files too.
SHELL = {"HOME": "/home/ada", "LATER": "of the shell", "EMPTY": ""}
# Right-hand sides as people, and nobody, would write them.
PIECES = st.lists(
    st.sampled_from(
        [
            *("'", '"', "\\", "$", "${", "}", "{", ":-", "-", ":?", "?", ":+", "+", " ", " #", "#"),
            *(
                "\t",
                "\n",
                "\r\n",
                "n",
                "t",
                "0",
                "012",
                "303",
                "HOME",
                "EMPTY",
                "NOT",
                "LATER",
                "V0",
            ),
            *(
                "${HOME}",
                "${NOT:-",
                "${EMPTY-",
                "${EMPTY:-",
                "${HOME:?",
                "${HOME+",
                "${V0:+",
                "}",
                "$$",
                "~/",
                "=",
                ":",
                "é",
                "\u2003",
            ),
            *("\\n", "\\$", "\nexport V1=", "\nNOT: ", "'a'", '"b"', "\x1c", "\x85"),
        ]
    ),
    max_size=8,
).map("".join)
ODD_SIDES = [
    *("v", " v ", "", " # why", "#why", "a#b", "a # b", "a\t# b", "'a # b' # why", "a b"),
    *('"a\\tb\\0123\\012\\0\\c\\x"', "'a\\'b\\n'", '"a \\"b\\" \\$HOME \\\\"', "a\\b\\", "\\$HOME"),
    *("$HOME", "${HOME}/x", "'$HOME'", "a$$b", '"$$HOME"', "$5", "$", "a$", "$(x)", "~/x"),
    *(
        "${NOT:-a}b${NOT-c}",
        "${EMPTY:-a}",
        "${EMPTY-a}",
        "${NOT:-${HOME}/x}",
        "${NOT:-{}}",
        "${NOT",
    ),
    *("${HOME:+a}b", "${EMPTY:+a}", "${EMPTY+a}", "${NOT+a}", "${HOME:?no}", "${HOME:-a}}"),
    *("$V0", "${V1}", "$LATER\nLATER=2", "'a\nb'", "'a\r\nb'\r", '"a\nHOME=x\nb"', "v\r", "é'\""),
    *(
        "a\u2003",
        "\xa0a\x1c",
        "1\nV0=again",
        "1\nexport  V0 = again",
        "1\nV0: again",
        "1\nHOME\n=x",
    ),
]


def writable(values: list[str]) -> dict[str, str]:
    """The values that can be written, under numbered keys; most can."""
    kept = [value for value in values if not env_file.unwritable({"x": value})]
    return {f"V{number}": value for number, value in enumerate(kept)}


def env_text(values: dict[str, str]) -> str:
    return "".join(f"{key}={quote(value)}\n" for key, value in values.items())


@cache
def compose() -> list[str]:
    beside = Path(sys.executable).parent / "docker-compose"
    for command in ([str(beside)], ["docker-compose"], ["docker", "compose"]):
        if shutil.which(command[0]):
            said = subprocess.run(
                [*command, "version", "--short"], capture_output=True, check=False
            )
            if said.returncode == 0 and not said.stdout.startswith(b"1."):
                return command
    pytest.skip("there is no Compose: no plugin of docker, and its wheel needs Python 3.11")


def run_compose(folder: Path, text: str, service: Mapping[str, object]) -> subprocess.Popen[str]:
    """Compose on its way to read this .env, for a service that uses its keys."""
    folder.mkdir(exist_ok=True)
    (folder / ".env").write_bytes(text.encode())
    (folder / "compose.yaml").write_text(json.dumps({"services": {"x": {"image": "x", **service}}}))
    return subprocess.Popen(
        [*compose(), "config", "--format", "json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **SHELL},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_with_compose(
    folder: Path, text: str, keys: Iterable[str], sources: Iterable[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """The values that Compose has for keys, and the folders that it mounts for others."""
    service = {
        "environment": {key: f"${{{key}}}" for key in keys},
        "volumes": [
            {"type": "bind", "source": f"${{{key}}}", "target": f"/{key}"} for key in sources
        ],
    }
    process = run_compose(folder, text, service)
    out, error = process.communicate()
    assert process.returncode == 0, error
    read = json.loads(out)["services"]["x"]
    environment = read.get("environment") or {}
    mounts = [one["source"].replace("$$", "$") for one in read.get("volumes", [])]
    return {key: value.replace("$$", "$") for key, value in environment.items()}, mounts


def read_with_bash(folder: Path, values: dict[str, str]) -> dict[str, str]:
    (folder / ".env").write_text(env_text(values), "utf-8")
    script = 'set -ea; . ./.env; for key in "$@"; do printf "%s\\0" "${!key}"; done'
    said = subprocess.run(
        ["bash", "-c", script, "bash", *values],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert said.stderr == b""
    return dict(zip(values, said.stdout.decode().split("\0")[:-1], strict=True))


@given(st.lists(TEXT, max_size=20))
@example(ODD)
def test_what_is_written_is_what_the_probe_reads(values: list[str]) -> None:
    wanted = writable(values)
    assert read_env(env_text(wanted)) == wanted


@settings(
    max_examples=12,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)
@given(values=st.lists(TEXT, min_size=60, max_size=120))
@example(values=ODD)
def test_what_is_written_is_what_bash_reads(tmp_path: Path, values: list[str]) -> None:
    wanted = writable(values)
    assert read_with_bash(tmp_path, wanted) == wanted
    assert [path.name for path in tmp_path.iterdir()] == [".env"]  # nothing was run


def settings_of(folder: Path, text: str) -> Settings:
    (folder / ".env").write_bytes(text.encode())
    return Settings(folder, SHELL)


def is_readable(folder: Path, text: str) -> bool:
    try:
        return bool(settings_of(folder, text).file)
    except ProbeError:
        return False


@settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],  # to shrink would take a Compose for every step
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)
@given(values=st.lists(TEXT, max_size=60), sides=st.lists(PIECES, min_size=30, max_size=60))
@example(values=ODD, sides=ODD_SIDES)
def test_compose_reads_what_is_written_and_we_read_what_compose_reads(
    tmp_path: Path, values: list[str], sides: list[str]
) -> None:
    written = {f"W{key}": value for key, value in writable(values).items()}
    lines = [f"V{number}={side}\n" for number, side in enumerate(sides)]
    lines = [line for line in lines if is_readable(tmp_path, line)]
    text = "\ufeff" + "".join(lines) + env_text(written)
    keys = ["HOME", "LATER", "NOT", *(f"V{number}" for number in range(len(sides))), *written]
    read, _ = read_with_compose(tmp_path, text, keys)
    assert {key: read[key] for key in written} == written
    ours = settings_of(tmp_path, text)
    assert {key: ours.get(key) for key in keys} == read


REFUSED = [
    ("A=1\nprose with K=v\n", 2),
    ("A=1\n\n; K=v\n", 3),
    ("<<<<<<< HEAD\n", 1),
    ("K='b\n", 1),
    ("X='a\nb'\nK='b \\'\nTZ=x\n", 3),
    ('X="a\nb"\nexport K="b', 3),
    ("K='a'$b\n", 1),
    ("A=1\nK=${\n", 2),
    ("\nK=${1}\n", 2),
    ("K='a\nb'\nK=${NOT:?set it}\n", 3),
    ("K=${NOT?}\n", 1),
]


def test_what_compose_refuses_is_refused_with_the_line(tmp_path: Path) -> None:
    asked = [run_compose(tmp_path / str(at), text, {}) for at, (text, _) in enumerate(REFUSED)]
    for process, (text, line) in zip(asked, REFUSED, strict=True):
        process.communicate()
        assert process.returncode != 0, text
        with pytest.raises(ProbeError, match=rf"^Line {line} of \.env .*\.$"):
            settings_of(tmp_path, text)


def test_text_behind_a_closing_quote_is_refused_for_compose_drops_it(tmp_path: Path) -> None:
    for text in ("A=1\nK='a'b\n", "A=1\nK='a' L=b\n"):
        with pytest.raises(ProbeError, match=r"^Line 2 .* K\."):
            read_env(text)
    assert read_with_compose(tmp_path, text, ["K"]) == ({"K": "a"}, [])


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\0", "it's `x`", "`x`\\"])
def test_what_no_quoting_can_say_is_refused_in_one_sentence(value: str) -> None:
    with pytest.raises(ValueError, match=r"\.env") as error:
        quote(value)
    assert "\n" not in str(error.value)


def test_only_a_back_tick_beside_a_quote_is_refused_of_one_line() -> None:
    assert len(writable(ODD)) == len(ODD)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=v", "v"),
        ("K = v ", "v"),
        ("export K=v", "v"),
        ("K=v # why", "v"),
        ("K= # why", "# why"),
        ("K: v", "v"),
        ("K=a#b", "a#b"),
        ("K='a # b' # why", "a # b"),
        ('K="a \\"b\\" \\$c \\\\"', 'a "b" $c \\'),
        ("K='v'\r\n", "v"),
        ("\ufeffK=v", "v"),
        ("K=1\nK=2", "2"),
        ("K='one\ntwo'\nL=x", "one\ntwo"),
    ],
)
def test_lines_written_by_people_are_read(line: str, value: str) -> None:
    assert read_env(line)["K"] == value


@pytest.mark.parametrize("line", ["# K=v", "#K=v", "K", "", "1K=v", "=K"])
def test_other_lines_set_nothing(line: str) -> None:
    assert "K" not in read_env(line)


# ---------------------------------------------------------------------------------------- merging

EXAMPLE = """\
# What this machine needs.

# Who you are.
USRID=1000
GRPID=1000

# Shared memory.
SHM_SIZE=1gb
TZ=Etc/UTC

# Other sources.
# BASE_IMAGE=debian:13-slim
# MIRROR=https://mirror.example
"""
VALUES = {"USRID": "4321", "GRPID": "4321", "SHM_SIZE": "16gb", "TZ": "Europe/Berlin"}


def body(text: str) -> list[str]:
    """The lines of a merged file without its record."""
    lines = text.splitlines()
    assert lines[-1].startswith(RECORD)
    return lines[:-1]


def test_the_first_env_is_the_example_with_this_machines_values() -> None:
    merged = merge(EXAMPLE, None, VALUES)
    assert merged.added == ("USRID", "GRPID", "SHM_SIZE", "TZ")
    wanted = EXAMPLE.replace("=1000", "=4321").replace("1gb", "16gb")
    assert body(merged.text) == [*wanted.replace("Etc/UTC", "Europe/Berlin").splitlines(), ""]


def test_values_comments_and_keys_of_the_user_stay() -> None:
    mine = (
        "# my notes\nexport MINE='a b'\nUSRID=7 # for the NFS\n\n"
        "SHM_SIZE=8gb\nBASE_IMAGE=ubuntu:24.04\nTOKEN=ab$cd\n"
    )
    merged = merge(EXAMPLE, mine, VALUES)
    assert [line for line in body(merged.text) if line in mine.splitlines() and line] == [
        line for line in mine.splitlines() if line
    ]
    kept = read_env(merged.text)
    assert (kept["USRID"], kept["SHM_SIZE"], kept["BASE_IMAGE"]) == ("7", "8gb", "ubuntu:24.04")
    assert [(one.key, one.yours, one.suggested) for one in merged.differing] == [
        ("USRID", "7", "4321"),
        ("SHM_SIZE", "8gb", "16gb"),
    ]
    assert "# BASE_IMAGE" not in merged.text


def test_a_new_key_arrives_with_its_comment_behind_its_neighbour() -> None:
    old = merge(EXAMPLE.replace("\n# Shared memory.\nSHM_SIZE=1gb\n", ""), None, VALUES).text
    merged = merge(EXAMPLE, old, VALUES)
    assert merged.added == ("SHM_SIZE",)
    assert "GRPID=4321\n\n# Shared memory.\nSHM_SIZE=16gb\nTZ=Europe/Berlin\n" in merged.text


def test_a_new_optional_key_arrives_as_a_comment() -> None:
    old = merge(EXAMPLE, None, VALUES).text
    merged = merge(EXAMPLE + "# PROXY=\n", old, VALUES)
    assert merged.added == ()
    assert "# MIRROR=https://mirror.example\n# PROXY=\n" in merged.text


def test_a_needed_key_that_was_commented_out_comes_back() -> None:
    old = merge(EXAMPLE, None, VALUES).text.replace("USRID=4321", "# USRID=7")
    merged = merge(EXAMPLE, old, VALUES)
    assert merged.added == ("USRID",)
    assert "# USRID=7\nUSRID=4321\n" in merged.text


def test_a_key_that_left_the_example_is_named_once_and_kept() -> None:
    old = merge(EXAMPLE, None, VALUES).text + "MINE=1\n"
    smaller = EXAMPLE.replace("SHM_SIZE=1gb\n", "")
    merged = merge(smaller, old, VALUES)
    assert merged.gone == ("SHM_SIZE",)
    assert f"{GONE}\nSHM_SIZE=16gb\n" in merged.text
    again = merge(smaller, merged.text, VALUES)
    assert (again.gone, again.text) == ((), merged.text)
    back = merge(EXAMPLE, again.text, VALUES)
    assert GONE not in back.text
    assert back.added == ()


def test_an_optional_key_in_use_is_named_when_it_leaves_the_example() -> None:
    old = merge(EXAMPLE, None, VALUES).text.replace("# MIRROR=", "MIRROR=")
    merged = merge(EXAMPLE.replace("# MIRROR=https://mirror.example\n", ""), old, VALUES)
    assert merged.gone == ("MIRROR",)


@pytest.mark.parametrize(
    ("refresh", "refreshed"),
    [((), ()), (("TZ",), ("TZ",)), (ALL, ("USRID", "TZ")), (("SHM_SIZE",), ())],
)
def test_only_refresh_replaces_a_value(
    refresh: tuple[str, ...], refreshed: tuple[str, ...]
) -> None:
    text = merge(EXAMPLE, None, VALUES).text
    old = text.replace("USRID=4321", "export USRID=7").replace("Europe/Berlin", "Asia/Tokyo")
    merged = merge(EXAMPLE, old, VALUES, refresh)
    assert merged.refreshed == refreshed
    assert merged.text.count("\n") == old.count("\n")
    if refresh == ALL:
        assert merged.text == old.replace("USRID=7", "USRID=4321").replace(
            "Asia/Tokyo", VALUES["TZ"]
        )


def test_an_optional_key_is_filled_only_when_it_is_named() -> None:
    values = {"BASE_IMAGE": "ubuntu:24.04"}
    old = merge(EXAMPLE, None, values).text
    assert "\n# BASE_IMAGE=" in old
    assert "\n# BASE_IMAGE=" in merge(EXAMPLE, old, values, ALL).text
    assert "\nBASE_IMAGE=ubuntu:24.04\n" in merge(EXAMPLE, old, values, ["BASE_IMAGE"]).text


def test_the_last_of_two_lines_of_a_key_counts_and_both_stay() -> None:
    merged = merge(EXAMPLE, "TZ=Asia/Tokyo\nTZ=Europe/Berlin\n", VALUES)
    assert "TZ=Asia/Tokyo\nTZ=Europe/Berlin\n" in merged.text
    assert merged.differing == ()


def test_a_file_with_windows_line_ends_is_taken_and_made_readable_for_bash() -> None:
    merged = merge(EXAMPLE, "USRID=7\r\nMINE='a\r\nb'\r\n", VALUES)
    assert "\r" not in merged.text
    assert read_env(merged.text)["USRID"] == "7"
    assert read_env(merged.text)["MINE"] == "a\nb"


def test_a_value_of_several_lines_is_no_place_for_keys() -> None:
    mine = "CERT='-----BEGIN-----\nUSRID=0\n-----END-----'\n"
    merged = merge(EXAMPLE, mine, VALUES)
    assert mine in merged.text
    assert "USRID" in merged.added


# ------------------------------------------------------------------ answers that change

ANSWERS = """\
LOCAL_CODE_DIR=..
CCA='7.5 8.6+PTX'
"""


def taken(merged: env_file.Merge) -> list[tuple[str, str, str]]:
    return [(one.key, one.yours, one.suggested) for one in merged.taken]


def told(merged: env_file.Merge) -> list[tuple[str, str, str]]:
    return [(one.key, one.yours, one.suggested) for one in merged.differing if one.by_answers]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("'7.5 8.6+PTX'", "9.0", ("CCA", "7.5 8.6+PTX", "9.0")),
        ("_DIR=..", "_DIR='../my code'", ("LOCAL_CODE_DIR", "..", "../my code")),
        ("_DIR=..", '_DIR="it\'s"', ("LOCAL_CODE_DIR", "..", "it's")),
        ("_DIR=..", "_DIR=", ("LOCAL_CODE_DIR", "..", "")),
    ],
)
def test_a_changed_answer_reaches_a_value_that_nobody_touched(
    old: str, new: str, change: tuple[str, str, str]
) -> None:
    text, changed = merge(ANSWERS, None, {}).text, ANSWERS.replace(old, new)
    merged = merge(changed, text, {})
    assert taken(merged) == [change]
    assert read_env(merged.text) == read_env(changed)
    back = merge(ANSWERS, merged.text, {})
    assert (taken(back), back.text) == ([(change[0], change[2], change[1])], text)


def test_a_changed_answer_leaves_a_value_of_the_user_and_tells_until_he_takes_it() -> None:
    old = merge(ANSWERS, None, {}).text.replace("LOCAL_CODE_DIR=..", "export LOCAL_CODE_DIR=/mine")
    assert merge(ANSWERS, old, {}).text == old
    changed = ANSWERS.replace("LOCAL_CODE_DIR=..", "LOCAL_CODE_DIR='../my code'")
    once = merge(changed, old, {})
    again = merge(changed, once.text, {})
    for merged in (once, again):
        assert (taken(merged), read_env(merged.text)["LOCAL_CODE_DIR"]) == ([], "/mine")
        assert told(merged) == [("LOCAL_CODE_DIR", "/mine", "../my code")]
    accepted = merge(changed, again.text, {}, ["LOCAL_CODE_DIR"])
    assert accepted.refreshed == ("LOCAL_CODE_DIR",)
    assert "export LOCAL_CODE_DIR='../my code'\n" in accepted.text
    assert told(merge(changed, accepted.text, {})) == []


def test_a_variable_in_the_example_stays_one_that_compose_expands() -> None:
    changed = ANSWERS.replace("LOCAL_CODE_DIR=..", "LOCAL_CODE_DIR=${HOME}/code")
    merged = merge(changed, merge(ANSWERS, None, {}).text, {})
    assert "LOCAL_CODE_DIR=${HOME}/code\n" in merged.text


def test_a_record_without_values_is_read_and_no_change_is_made_up() -> None:
    old = f"LOCAL_CODE_DIR=/mine\nCCA=8.0\n\n{RECORD}LOCAL_CODE_DIR CCA OLD\nOLD=1\n"
    merged = merge(ANSWERS, old, {})
    assert (taken(merged), told(merged), merged.gone) == ([], [], ("OLD",))
    later = merge(ANSWERS.replace("..", "../src"), merged.text, {})
    assert told(later) == [("LOCAL_CODE_DIR", "/mine", "../src")]


def test_auto_and_a_list_replace_each_other_where_nobody_touched_the_value() -> None:
    auto, here = "CCA='auto 7.5 8.0'\n", {"CCA": "8.9"}
    first = merge(auto, None, here)
    listed = merge("CCA=9.0\n", first.text, {})
    assert taken(listed) == [("CCA", "8.9", "9.0")]
    assert taken(merge(auto, listed.text, here)) == [("CCA", "9.0", "8.9")]


def test_another_gpu_of_this_machine_is_told_and_not_taken() -> None:
    auto = "CCA='auto 7.5 8.0'\n"
    merged = merge(auto, merge(auto, None, {"CCA": "8.9"}).text, {"CCA": "9.0"})
    assert (taken(merged), told(merged)) == ([], [])
    assert [(one.key, one.yours, one.suggested) for one in merged.differing] == [
        ("CCA", "8.9", "9.0")
    ]


def test_what_the_hook_made_of_an_answer_stays_when_it_is_not_there() -> None:
    listed = "CCA='7.5 8.0 9.0'\n"
    first = merge(listed, None, {}, answered={"CCA": "9.0"})
    assert read_env(first.text) == {"CCA": "9.0"}
    assert merge(listed, first.text, {}).text == first.text
    mine = first.text.replace("CCA=9.0", "CCA=8.6")
    assert merge(listed, mine, {}, ["CCA"]).text == first.text
    other = merge(listed, first.text, {}, answered={"CCA": "8.0"})
    assert taken(other) == [("CCA", "9.0", "8.0")]
    assert told(merge(listed, mine, {}, answered={"CCA": "8.0"})) == [("CCA", "8.6", "8.0")]


@pytest.mark.parametrize("text", ["CCA='7.5 8.6+PTX'\n", ""], ids=["the default", "no key"])
def test_the_hook_replaces_the_default_that_a_generation_without_it_left(text: str) -> None:
    assert read_env(merge(ANSWERS, text, {}, answered={"CCA": "9.0"}).text)["CCA"] == "9.0"


@pytest.mark.parametrize("record", ["CCA:9.0:%0A LOCAL_CODE_DIR:%00", ": :: CCA:a:b:c %%%", "=x"])
def test_a_record_that_somebody_edited_breaks_nothing(record: str) -> None:
    merged = merge(ANSWERS, f"CCA=8.0\n{RECORD}{record}\n", {})
    assert read_env(merged.text)["CCA"] == "8.0"
    assert merge(ANSWERS, merged.text, {}).text == merged.text


@given(TEXT, TEXT)
@example("7.5 8.6+PTX", "it's = a 'b' \"c\" %20")
@example("", "\u2028")
def test_any_value_of_an_answer_is_recognised_again(old: str, new: str) -> None:
    values = writable([old, new])
    assume(len(values) == 2)
    one, other = (f"X={quote(value)}\n" for value in values.values())
    followed = merge(other, merge(one, None, {}).text, {})
    assert read_env(followed.text) == {"X": new}
    assert merge(other, followed.text, {}).text == followed.text


LINES = st.lists(
    st.sampled_from(
        [
            *("USRID=1", "export GRPID=2", "SHM_SIZE='8gb'", "# SHM_SIZE=4gb", "TZ=Etc/UTC"),
            *(
                "MINE=x",
                "",
                "# a note",
                "# Who you are.",
                "BASE_IMAGE=x",
                GONE,
                "OLD=1",
                "A='b\nC='",
            ),
            *(RECORD + "USRID OLD", "A", "# A='", "  # indented", "TZ = Asia/Tokyo # why"),
            *("LOCAL_CODE_DIR=..", "LOCAL_CODE_DIR='a b'", "CCA=8.9", "export CCA='7.5 8.0'"),
            *(RECORD + "LOCAL_CODE_DIR:a%20b TZ", RECORD + "CCA:auto:8.9 LOCAL_CODE_DIR:.."),
        ]
    )
)
EXAMPLES = (
    EXAMPLE,
    EXAMPLE + ANSWERS,
    EXAMPLE + "LOCAL_CODE_DIR='a b'\nCCA='auto 7.5 8.0'\n",
)


@given(
    LINES,
    st.sampled_from(EXAMPLES),
    st.sampled_from([(), ALL, ("TZ",), ("CCA", "LOCAL_CODE_DIR")]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_merging_twice_is_merging_once_and_loses_no_line(
    lines: list[str], sample: str, refresh: tuple[str, ...], end: str
) -> None:
    mine = end.join(lines)
    values = VALUES | ({"CCA": "9.0"} if "auto" in sample else {})
    once = merge(sample, mine, values, refresh)
    assert merge(sample, once.text, values, refresh).text == once.text
    before, after = read_env(mine), read_env(once.text)
    assert {"USRID", "GRPID", "SHM_SIZE", "TZ"} <= after.keys()
    changed = {*once.refreshed, *(one.key for one in once.taken)}
    assert {key: after[key] for key in before if key not in changed} == {
        key: value for key, value in before.items() if key not in changed
    }
    for line in lines:
        if not changed and line and not line.startswith((RECORD, GONE)):
            assert once.text.count(f"{line}\n") >= lines.count(line)


# ------------------------------------------------------------------------- values of this machine

ADA = Person(1000, 1001, "ada", "lab")
FULL = """\
USRID=1000
GRPID=1000
USR=user
GRP=user
COMPOSE_PROJECT_NAME=my-proj
COMPOSE_FILE=compose.yaml
CPU_OR_GPU=cpu
GPU_IDS=
SHM_SIZE=1gb
TZ=Etc/UTC
CA_BUNDLE=
LOCAL_CODE_DIR=../missing
LOCAL_DATA_DIR=../data
LOCAL_OUTPUTS_DIR='../my outputs'
"""


def test_every_value_comes_from_the_facts(tmp_path: Path) -> None:
    gpus = (Gpu("a", "GPU-a"), Gpu("b", "GPU-b"))
    facts = Facts(
        user=ADA,
        timezone="Asia/Tokyo",
        memory_mib=65000,
        gpu_status="found",
        gpus=gpus,
        engine=Engine(reachable=True),
        access=Access(("cdi",)),
    )
    values = fill.env_values(facts, tmp_path, FULL)
    assert values.pop("COMPOSE_PROJECT_NAME").startswith("my-proj-ada-")
    assert values == {
        "USRID": "1000",
        "GRPID": "1001",
        "USR": "ada",
        "GRP": "lab",
        "COMPOSE_FILE": "compose.yaml:compose.cdi.yaml",
        "CPU_OR_GPU": "gpu",
        "GPU_IDS": "GPU-a,GPU-b",
        "SHM_SIZE": "31gb",
        "TZ": "Asia/Tokyo",
    }


def test_a_key_that_the_example_lacks_is_not_suggested(tmp_path: Path) -> None:
    assert fill.env_values(Facts(user=ADA), tmp_path, "TZ=Etc/UTC\n") == {"TZ": "Etc/UTC"}
    (tmp_path / "compose.ca.yaml").touch()
    facts, example = Facts(ca_bundle="/ca.pem"), "COMPOSE_FILE=compose.yaml\n"
    assert fill.env_values(facts, tmp_path, example) == {"COMPOSE_FILE": "compose.yaml"}


def test_a_driver_without_answer_says_nothing_about_gpus(tmp_path: Path) -> None:
    assert "GPU_IDS" not in fill.env_values(Facts(gpu_status="unknown"), tmp_path, FULL)
    none = fill.env_values(Facts(gpu_status="none"), tmp_path, FULL)
    assert (none["GPU_IDS"], none["CPU_OR_GPU"]) == ("", "cpu")


TWO = (Gpu("RTX 4090", "GPU-a", "8.9"), Gpu("V100", "GPU-b", "7.0"))


@pytest.mark.parametrize(
    ("gpu_ids", "cca"),
    [("GPU-a", "8.9"), ("GPU-b, GPU-a", "7.0 8.9"), ("", "7.0 8.9"), ("GPU-elsewhere", "7.0 8.9")],
)
def test_compute_capabilities_are_those_of_the_gpus_in_use(
    tmp_path: Path, gpu_ids: str, cca: str
) -> None:
    facts = Facts(gpus=TWO, gpu_status="found")
    values = fill.env_values(facts, tmp_path, "CCA='auto 7.5'\n", {"GPU_IDS": gpu_ids})
    assert values["CCA"] == cca


def test_a_gpu_counts_whose_mig_instance_is_in_use() -> None:
    sliced = Gpu("H100", "GPU-c", "9.0", mig_enabled=True, mig=(Mig("m", "MIG-1"),))
    assert chosen_gpus(Facts(gpus=(*TWO, sliced)), "MIG-1").gpus == (sliced,)


@pytest.mark.parametrize(
    ("host", "engine", "size"),
    [(65536, None, "32gb"), (65536, 8192, "4gb"), (1024, None, "1gb"), (7000, None, "3gb")],
)
def test_shared_memory_is_half_of_what_containers_have(
    tmp_path: Path, host: int, engine: int | None, size: str
) -> None:
    facts = Facts(memory_mib=host, engine=Engine(memory_mib=engine))
    assert fill.env_values(facts, tmp_path, FULL)["SHM_SIZE"] == size


@pytest.mark.parametrize(
    ("host", "yours", "overlay", "files"),
    [
        ("/ca.pem", None, True, "compose.yaml:compose.ca.yaml"),
        ("/ca.pem", None, False, "compose.yaml"),
        ("/ca.pem", "", True, "compose.yaml"),
        ("", "/mine.pem", True, "compose.yaml:compose.ca.yaml"),
        ("", None, True, "compose.yaml"),
    ],
)
def test_the_certificate_overlay_is_used_where_there_are_certificates(
    tmp_path: Path, host: str, yours: str | None, overlay: bool, files: str
) -> None:
    if overlay:
        (tmp_path / "compose.ca.yaml").touch()
    current = {} if yours is None else {"CA_BUNDLE": yours}
    values = fill.env_values(Facts(ca_bundle=host), tmp_path, FULL, current)
    assert values["COMPOSE_FILE"] == files
    assert values.get("CA_BUNDLE", "") == host


@pytest.mark.parametrize(
    ("yours", "bundle", "files"),
    [
        ("compose.yaml:mine.yaml", "", "compose.yaml:mine.yaml"),
        ("compose.yaml:mine.yaml", "/ca.pem", "compose.yaml:compose.ca.yaml:mine.yaml"),
        ("compose.yaml:compose.ca.yaml:mine.yaml", "", "compose.yaml:mine.yaml"),
        ("first.yaml:compose.yaml:compose.ca.yaml", "", "first.yaml:compose.yaml"),
        ("compose.yaml:mine.yaml:compose.gone.yaml", "", "compose.yaml:mine.yaml"),
        ("mine.yaml:mine.yaml", "/ca.pem", "compose.yaml:compose.ca.yaml:mine.yaml"),
        ("", "", "compose.yaml"),
    ],
)
def test_compose_files_of_the_user_stay_in_compose_file(
    tmp_path: Path, yours: str, bundle: str, files: str
) -> None:
    for name in ("compose.yaml", "compose.ca.yaml", "mine.yaml", "first.yaml"):
        (tmp_path / name).touch()
    current = {"CA_BUNDLE": bundle, "COMPOSE_FILE": yours}
    assert fill.env_values(Facts(), tmp_path, FULL, current)["COMPOSE_FILE"] == files
    elsewhere = {**current, "COMPOSE_FILE": yours.replace(":", ";"), "COMPOSE_PATH_SEPARATOR": ";"}
    other = fill.env_values(Facts(), tmp_path, FULL, elsewhere)["COMPOSE_FILE"]
    assert other == files.replace(":", ";")


@pytest.mark.parametrize(
    ("yours", "bundle", "there", "files"),
    [
        ("", "", True, "compose.yaml:compose.pins.yaml"),
        ("", "", False, "compose.yaml"),
        ("compose.yaml:compose.pins.yaml", "", False, "compose.yaml"),
        ("compose.yaml:mine.yaml", "", True, "compose.yaml:compose.pins.yaml:mine.yaml"),
        (
            *("compose.yaml:mine.yaml:compose.ca.yaml", "/ca.pem", True),
            "compose.yaml:compose.pins.yaml:compose.ca.yaml:mine.yaml",
        ),
    ],
)
def test_pins_are_used_where_the_project_has_them_and_the_users_files_go_before(
    tmp_path: Path, yours: str, bundle: str, there: bool, files: str
) -> None:
    for name in ("compose.yaml", "compose.ca.yaml", "mine.yaml"):
        (tmp_path / name).touch()
    if there:
        (tmp_path / "compose.pins.yaml").touch()
    current = {"CA_BUNDLE": bundle, "COMPOSE_FILE": yours}
    assert fill.env_values(Facts(), tmp_path, FULL, current)["COMPOSE_FILE"] == files


@given(name=st.text(max_size=90), user=st.text(max_size=90))
@example(name="", user="")
@example(name="-_-", user="Ada.Lovelace@LAB")
@example(name="x" * 90, user="y" * 90)
@settings(max_examples=20)
def test_a_project_name_is_always_valid_for_compose(name: str, user: str) -> None:
    made = place.compose_project_name(name, user, Path("/some/where"))
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", made)


def test_two_clones_and_two_users_have_two_project_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    name = place.compose_project_name("p", "ada", tmp_path / "a")
    assert name != place.compose_project_name("p", "ada", tmp_path / "b")
    assert name != place.compose_project_name("p", "bob", tmp_path / "a")
    assert name == place.compose_project_name("p", "ada", tmp_path / "link")


# ---------------------------------------------------------------------------------------- on disk


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_env_and_its_backup_are_for_their_owner_only(tmp_path: Path, umask: int) -> None:
    path = tmp_path / ".env"
    path.write_text("OLD=1\n")
    path.chmod(0o644)
    former = os.umask(umask)
    try:
        assert env_file.write_env(path, "NEW=1\n")
    finally:
        os.umask(former)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert modes == {".env": 0o600, ".env.bak": 0o600}
    assert path.read_text() == "NEW=1\n"
    assert (tmp_path / ".env.bak").read_text().startswith(f"OLD=1\n{COPY}")


def test_an_unchanged_file_is_not_written_but_made_private(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    before = path.stat()
    assert not env_file.write_env(path, "A=1\n")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [".env"]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / ".env"
    path.write_text("OLD=1\n")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProbeError, match="No space left"):
        env_file.write_env(path, "NEW=1\n")
    assert path.read_text() == "OLD=1\n"
    assert [entry.name for entry in tmp_path.iterdir()] == [".env"]


def copies(folder: Path) -> dict[str, str]:
    """The files beside .env, without the line that makes a copy of .env one."""
    return {
        path.name: path.read_text().partition(COPY)[0]
        for path in folder.glob("*.bak*")
        if path.is_file()
    }


def test_a_copy_of_the_users_is_never_replaced_and_one_of_the_program_is(tmp_path: Path) -> None:
    path, copy = tmp_path / ".env", tmp_path / ".env.bak"
    path.write_bytes(b"A=caf\xe9\r\n# no end")
    written = env_file.write_env(path, "A=1\n")
    assert written == copy
    assert copy.read_bytes().startswith(b"A=caf\xe9\r\n# no end\n" + COPY.encode())
    env_file.write_env(path, "A=2\n")
    assert copies(tmp_path) == {".env.bak": "A=1\n"}

    edited = copy.read_text().replace("A=1", "A=1 # a note")
    for theirs in (edited, "A=0\n", ""):
        copy.write_text(theirs)
        env_file.write_env(path, f"{path.read_text()}MORE=1\n")
        assert copy.read_text() == theirs
    assert copies(tmp_path).keys() == {".env.bak", ".env.bak1"}
    copy.unlink()
    copy.mkdir()
    (tmp_path / ".env.bak1").unlink()
    (tmp_path / ".env.bak1").symlink_to("nowhere")
    assert env_file.write_env(path, "A=4\n") == tmp_path / ".env.bak2"


def test_a_name_for_the_copy_that_is_nowhere_free_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    for number in ("", *range(1, 10)):
        (tmp_path / f".env.bak{number}").write_text("mine\n")
    with pytest.raises(ProbeError, match=r"^\.env\.bak to \.env\.bak9 are files of yours"):
        env_file.write_env(tmp_path / ".env", "A=2\n")
    assert (tmp_path / ".env").read_text() == "A=1\n"


def test_a_copy_that_is_env_again_is_no_copy_after_the_next_filling(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(merge(EXAMPLE, None, VALUES).text)
    copy = env_file.write_env(path, "A=1\n")
    assert copy
    assert COPY not in merge(EXAMPLE, copy.read_text(), VALUES).text


def test_an_env_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere/env", tmp_path / ".env"
    real.write_text("OLD=1\n")
    link.symlink_to(real)
    env_file.write_env(link, "NEW=1\n")
    assert link.is_symlink()
    assert real.read_text() == "NEW=1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's docker-amd64 folder, with nothing but an example."""
    for key in ("LOCAL_DATA_DIR", "LOCAL_OUTPUTS_DIR", "LOCAL_CODE_DIR"):
        monkeypatch.delenv(key, raising=False)
    path = tmp_path / "my project" / "docker-amd64"
    path.mkdir(parents=True)
    (path / ".env.example").write_text(FULL)
    return path


def test_fill_makes_env_and_the_data_folders_but_never_the_code_folder(folder: Path) -> None:
    filled = fill.fill(folder, facts=Facts(user=ADA))
    made = sorted(entry.name for entry in folder.parent.iterdir())
    assert made == ["data", "docker-amd64", "my outputs"]
    assert filled.created
    assert read_env((folder / ".env").read_text())["USRID"] == "1000"
    assert any("created" in line for line in fill.report(filled))
    again = fill.fill(folder, facts=Facts(user=ADA))
    assert fill.report(again) == [".env: nothing to add."]
    assert not (folder / ".env.bak").exists()


def test_a_kept_difference_is_told_with_the_command_that_takes_it(folder: Path) -> None:
    fill.fill(folder, facts=Facts(user=ADA, memory_mib=16384))
    later = fill.fill(folder, facts=Facts(user=ADA, memory_mib=32768))
    assert (
        "SHM_SIZE: .env says 8gb, this host suggests 16gb; kept. "
        "To take it: ./docker-amd64/template.sh env --refresh SHM_SIZE"
    ) in fill.report(later)
    taken = fill.fill(folder, ["SHM_SIZE"], facts=Facts(user=ADA, memory_mib=32768))
    assert taken.merged.refreshed == ("SHM_SIZE",)
    assert "SHM_SIZE=8gb" in (folder / ".env.bak").read_text()


def test_what_a_person_chose_goes_before_what_was_found(folder: Path) -> None:
    gpus = (Gpu("a", "GPU-a"), Gpu("b", "GPU-b"))
    facts = Facts(user=ADA, gpu_status="found", gpus=gpus)
    fill.fill(folder, facts=facts, chosen={"GPU_IDS": "GPU-b"})
    assert read_env((folder / ".env").read_text())["GPU_IDS"] == "GPU-b"


def test_compute_capabilities_follow_the_gpus_that_are_ticked_or_named(folder: Path) -> None:
    (folder / ".env.example").write_text(FULL + "CCA='auto 7.5'\n")
    facts = Facts(user=ADA, gpu_status="found", gpus=TWO)
    fill.fill(folder, facts=facts, chosen={"GPU_IDS": "GPU-a"})
    assert read_env((folder / ".env").read_text())["CCA"] == "8.9"
    env_file.set_keys(folder, ["GPU_IDS=GPU-b"])
    fill.fill(folder, ["CCA"], facts=facts)
    assert read_env((folder / ".env").read_text())["CCA"] == "7.0"
    fill.fill(folder, ALL, facts=facts)
    assert read_env((folder / ".env").read_text())["CCA"] == "7.0 8.9"


def test_compose_override_is_no_difference_and_survives_a_refresh(folder: Path) -> None:
    fill.fill(folder, facts=Facts(user=ADA))
    (folder / "compose.override.yaml").touch()
    env_file.set_keys(folder, ["COMPOSE_FILE=compose.yaml:compose.override.yaml"])
    before = (folder / ".env").read_text()
    for refresh in [(), ("COMPOSE_FILE",), ALL]:
        assert fill.fill(folder, refresh, facts=Facts(user=ADA)).merged.differing == ()
        assert (folder / ".env").read_text() == before


@pytest.mark.parametrize(
    ("named", "left", "missing"),
    [
        (
            "first.yaml:compose.yaml:gone.yaml:mine.yaml",
            "first.yaml:compose.yaml:mine.yaml",
            "gone.yaml",
        ),
        ("compose.yaml:${HOME}/x.yaml", "", ""),
        ("compose.yaml:${HOME}/x.yaml:gone.yaml", "compose.yaml:{home}/x.yaml", "gone.yaml"),
        ("compose.yaml:{home}/x.yaml:{home}/y.yaml", "compose.yaml:{home}/x.yaml", "{home}/y.yaml"),
        ("compose.yaml:~/x.yaml", "compose.yaml", "~/x.yaml"),
        (
            "https://h/c.yaml;a:b.yaml;compose.yaml;x.yaml",
            "https://h/c.yaml;a:b.yaml;compose.yaml",
            "x.yaml",
        ),
        ("gone.yaml:too.yaml", "compose.yaml", "gone.yaml, too.yaml"),
    ],
)
def test_a_compose_file_that_is_gone_leaves_the_list_and_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: str, left: str, missing: str
) -> None:
    home = folder.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for path in (home / "x.yaml", *map(folder.joinpath, ("mine.yaml", "first.yaml", "a:b.yaml"))):
        path.touch()
    named, left, missing = (one.replace("{home}", str(home)) for one in (named, left, missing))
    fill.fill(folder, facts=Facts(user=ADA))
    text = re.sub(
        "(?m)^COMPOSE_FILE=.*", f'COMPOSE_FILE="{named}" # why', (folder / ".env").read_text()
    )
    separator = ";" if ";" in named else ":"
    (folder / ".env").write_text(f"{text}COMPOSE_PATH_SEPARATOR={separator}\n")
    filled = fill.fill(folder, facts=Facts(user=ADA))
    said = f"COMPOSE_FILE: removed {missing}: no such file."
    assert [line for line in fill.report(filled) if "COMPOSE_FILE" in line] == [said] * bool(
        missing
    )
    after = (folder / ".env").read_text()
    assert read_env(after)["COMPOSE_FILE"] == (left or named)
    assert Settings(folder).files() == [
        name.replace("${HOME}", str(home)) for name in (left or named).split(separator)
    ]
    assert re.search("(?m)^COMPOSE_FILE=.* # why$", after)
    assert fill.fill(folder, facts=Facts(user=ADA)).merged.refreshed == ()
    assert (folder / ".env").read_text() == after


def test_an_override_file_that_is_written_again_is_not_gone(folder: Path) -> None:
    gpus = Facts(
        user=ADA,
        gpu_status="found",
        gpus=(Gpu("a", "GPU-a"),),
        engine=Engine(reachable=True),
        access=Access(("cdi",)),
    )
    fill.fill(folder, facts=gpus)
    before = (folder / ".env").read_text()
    (folder / "compose.cdi.yaml").unlink()
    filled = fill.fill(folder, facts=gpus)
    assert (filled.missing, (folder / ".env").read_text()) == ((), before)
    assert (folder / "compose.cdi.yaml").exists()


def test_gpu_access_that_changes_keeps_what_compose_reads_of_the_users_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    (folder.parent / "x.yaml").touch()
    found = Facts(
        user=ADA, gpu_status="found", gpus=(Gpu("a", "GPU-a"),), engine=Engine(reachable=True)
    )
    fill.fill(folder, facts=replace(found, access=Access(("nvidia",))))
    text = (folder / ".env").read_text()
    assert "compose.yaml:compose.nvidia.yaml\n" in text
    (folder / ".env").write_text(text.replace("nvidia.yaml\n", "nvidia.yaml:${HOME}/x.yaml\n"))
    fill.fill(folder, facts=replace(found, access=Access(("cdi",))))
    assert Settings(folder).files() == [
        "compose.yaml",
        "compose.cdi.yaml",
        f"{folder.parent}/x.yaml",
    ]


def test_a_changed_answer_is_told_in_one_line(folder: Path) -> None:
    example = folder / ".env.example"
    example.write_text(FULL + "CCA='7.5 8.6+PTX'\n")
    fill.fill(folder, facts=Facts(user=ADA))
    example.write_text(FULL.replace("../missing", "..") + "CCA=9.0\n")
    env_file.set_keys(folder, ["LOCAL_CODE_DIR=/mine"])
    followed, kept = fill.report(fill.fill(folder, facts=Facts(user=ADA)))
    assert followed == "CCA: 7.5 8.6+PTX became 9.0, as the answers now say."
    assert kept.startswith("LOCAL_CODE_DIR: .env says /mine, the answers now say ..; kept.")
    assert kept.endswith("./docker-amd64/template.sh env --refresh LOCAL_CODE_DIR")
    assert run_fill(folder, "--refresh", "LOCAL_CODE_DIR").returncode == 0
    assert read_env((folder / ".env").read_text())["LOCAL_CODE_DIR"] == ".."


def test_refresh_without_a_key_leaves_the_folders_that_a_person_named(folder: Path) -> None:
    fill.fill(folder, facts=Facts(user=ADA))
    env_file.set_keys(folder, ["LOCAL_CODE_DIR=/mine"])
    fill.fill(folder, ALL, facts=Facts(user=ADA))
    assert read_env((folder / ".env").read_text())["LOCAL_CODE_DIR"] == "/mine"


def test_a_value_that_cannot_be_written_leaves_the_safe_default(folder: Path) -> None:
    filled = fill.fill(folder, facts=Facts(user=ADA, ca_bundle="/it's `odd`.pem"))
    assert read_env((folder / ".env").read_text())["CA_BUNDLE"] == ""
    assert any(note.startswith("CA_BUNDLE was left out") for note in filled.notes)


def test_bytes_that_are_no_text_survive(folder: Path) -> None:
    (folder / ".env").write_bytes(b"MINE=caf\xe9\n")
    fill.fill(folder, facts=Facts(user=ADA))
    assert b"MINE=caf\xe9\n" in (folder / ".env").read_bytes()


def test_bind_folders_are_where_compose_looks_for_them(tmp_path: Path) -> None:
    sides = ["../data", "/srv/data", "data", "~/data", "${HOME}/x y", "~", "~bob/x", "$NOT/x"]
    sides += ["'~/a b'", "'$HOME'", "./a/../b", "${NOT:-~/x}"]
    values = {f"K{number}": side for number, side in enumerate(sides)}
    text = "".join(f"{key}={side}\n" for key, side in values.items())
    _, mounts = read_with_compose(tmp_path, text, [], values)
    ours = settings_of(tmp_path, text)
    assert [str(ours.path(key)) for key in values] == mounts


def test_the_shell_goes_before_the_file_and_what_is_unset_is_nothing(tmp_path: Path) -> None:
    ours = settings_of(tmp_path, "HOME=/mine\nEMPTY=x\nDATA=~/d\nNONE=\n")
    assert [ours.get(key) for key in ("HOME", "EMPTY", "NONE", "NOT")] == ["/home/ada", "", "", ""]
    assert [ours.in_file(key) for key in ("HOME", "EMPTY", "LATER")] == ["/mine", "x", ""]
    assert [key in ours for key in ("EMPTY", "NONE", "LATER", "NOT")] == [True, True, True, False]
    assert [ours.path(key) for key in ("NONE", "NOT", "EMPTY")] == [None] * 3
    assert Settings(tmp_path, {}).path("DATA") is None  # Compose would say that there is no HOME
    assert Settings(tmp_path / "nowhere", SHELL).get("DATA") == ""


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("", ["compose.yaml"]),
        ("COMPOSE_FILE=\n", ["compose.yaml"]),
        ("COMPOSE_FILE=a.yaml:b.yaml\n", ["a.yaml", "b.yaml"]),
        ("COMPOSE_FILE=a:b;c\nCOMPOSE_PATH_SEPARATOR=;\n", ["a:b", "c"]),
    ],
)
def test_compose_files_are_split_as_compose_does(
    tmp_path: Path, text: str, files: list[str]
) -> None:
    assert settings_of(tmp_path, text).files() == files


GOOD = {
    "USRID": ["0", "1000", "2147483647"],
    "COMPOSE_PROJECT_NAME": ["a", "1-a_b"],
    "PIDS_LIMIT": ["", "-1", "0", "500"],
    "CPUS": ["", "0", "4", "1.5", ".5"],
    "MEMORY": ["", "0", "64gb", "1.5G"],
    "SHM_SIZE": ["", "1gb", "1.5G", "'16 gb'", "512m", "10", "2GiB"],
    "TZ": ["", "Etc/UTC", "<+03>-3"],
    "GPU_IDS": ["", "all", "0,1", "0:1", "'GPU-b, GPU-a'", "MIG-GPU-1/2/3"],
    "CPU_OR_GPU": ["cpu", "gpu"],
    "REQUIRE_GPU": ["", "0", "1"],
    "COMPOSE_FILE": ["compose.yaml", "compose.yaml:-"],
}
BAD = {
    "USRID": ["", "ada", "-1", "2147483648", "99999999999", "1.0", "٣"],
    "GRPID": ["users"],
    "COMPOSE_PROJECT_NAME": ["", "A", "a.b", "-a", "'a b'"],
    "PIDS_LIMIT": ["-2", "many", "1.5"],
    "CPUS": ["-1", "two", "1,5", "200%"],
    "MEMORY": ["50%", "-1", "all"],
    "SHM_SIZE": ["1gi", "big", "-1", "1gbb", "'1 g b'", "half"],
    "TZ": ["'Europe/ Berlin'", "# why"],
    "GPU_IDS": ["[0]", "0;1"],
    "CPU_OR_GPU": ["", "cuda"],
    "REQUIRE_GPU": ["yes", "2"],
    "COMPOSE_FILE": ["", "compose.yaml:", "gone.yaml", "~/compose.yaml"],
}


def test_a_value_at_which_compose_or_a_build_stops_is_named_with_the_remedy(
    tmp_path: Path,
) -> None:
    (tmp_path / "compose.yaml").touch()
    for key, sides in GOOD.items():
        for side in sides:
            assert bad_values(settings_of(tmp_path, f"{key}={side}\n")) == [], side
    for key, sides in BAD.items():
        for side in sides:
            [stop] = bad_values(settings_of(tmp_path, f"{key}={side}\n"))
            assert stop.sentence.startswith(f"{key} in .env")
            assert stop.command == f"./docker-amd64/template.sh env --refresh {key}"
    assert bad_values(settings_of(tmp_path, "")) == []


def test_a_bad_value_of_the_shell_is_mended_there(tmp_path: Path) -> None:
    shell = {"USRID": "ada", "COMPOSE_FILE": "gone.yaml"}
    [stop] = bad_values(Settings(tmp_path, shell))
    assert stop.command == "unset USRID"


def test_a_data_folder_that_cannot_be_made_is_told_and_stops_nothing(folder: Path) -> None:
    (folder.parent / "data").symlink_to(folder / "nowhere")
    filled = fill.fill(folder, facts=Facts(user=ADA))
    assert any("Cannot create" in note for note in filled.notes)
    assert (folder.parent / "my outputs").is_dir()


def run_fill(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run_program("env", *args, folder=put_program(folder))


def test_the_command_fills_and_tells(folder: Path) -> None:
    assert run_fill(folder).stdout.startswith(".env: created for this machine")
    assert run_fill(folder).stdout == ".env: nothing to add.\n"
    with (folder / ".env").open("a") as file:
        file.write("TZ=Antarctica/Troll\nSHM_SIZE=3mb\n")
    shown = run_fill(folder).stdout
    assert "TZ: .env says Antarctica/Troll" in shown
    assert "SHM_SIZE: .env says 3mb" in shown
    assert "refreshed SHM_SIZE" in run_fill(folder, "--refresh", "SHM_SIZE").stdout
    assert "TZ" in run_fill(folder, "--refresh").stdout
    assert run_fill(folder).stdout == ".env: nothing to add.\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [(["--refresh", "SHM_SIZ"], "SHM_SIZ"), (["--refresh", "HF_TOKEN"], "HF_TOKEN")],
)
def test_refreshing_what_no_machine_decides_is_refused(
    folder: Path, args: list[str], says: str
) -> None:
    result = run_fill(folder, *args)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert says in result.stderr
    assert not (folder / ".env").exists()


def run_set(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run_program("env", "--set", *args, folder=put_program(folder))


def test_a_key_is_set_where_it_stands_and_with_the_right_quotes(folder: Path) -> None:
    path = folder / ".env"
    path.write_text("A=1 # why\n# B=2\nexport C=3\nEND=x\n")
    result = run_set(folder, "A=it's $5", "B=", "C=c", "NEW=a=b")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert path.read_text() == 'A="it\'s \\$5" # why\nB=\nexport C=c\nEND=x\nNEW=a=b\n'
    run_set(folder, "A=")
    assert path.read_text().startswith("A='' # why\nB=\n")
    assert read_env(path.read_text())["A"] == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("args", [[], ["A"], ["=x"], ["A B=x"], ["A=x\ny"], ["--quiet"]])
def test_a_setting_that_makes_no_sense_changes_nothing(folder: Path, args: list[str]) -> None:
    (folder / ".env").write_text("A=1\n")
    result = run_set(folder, *args)
    assert (result.returncode, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    assert (folder / ".env").read_text() == "A=1\n"


def test_a_key_cannot_be_set_before_there_is_an_env(folder: Path) -> None:
    assert "template.sh env" in run_set(folder, "A=1").stderr


def test_a_quote_that_is_not_closed_is_named_before_it_swallows_a_line(folder: Path) -> None:
    text = "X='a\nb'\nA='b\nTZ=Asia/Tokyo\n"
    (folder / ".env").write_text(text)
    for change in (lambda: fill.fill(folder), lambda: env_file.set_keys(folder, ["B=c d"])):
        with pytest.raises(ProbeError, match=r"^Line 3 of \.env opens a quote for A "):
            change()
    assert (folder / ".env").read_text() == text


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    result = run_fill(tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert ".env.example" in result.stderr


def test_a_file_that_cannot_be_replaced_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return open_(path, flags, *rest, **more)

    open_ = os.open
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ProbeError, match=r"Cannot write .*\.env: Permission denied\.$"):
        fill.fill(folder, facts=Facts(user=ADA))


def test_an_env_that_is_a_folder_is_one_sentence(folder: Path) -> None:
    (folder / ".env").mkdir()
    with pytest.raises(ProbeError, match="it is a folder, not a regular file"):
        fill.fill(folder, facts=Facts(user=ADA))


def test_an_env_that_is_a_link_to_nothing_is_one_sentence(folder: Path) -> None:
    (folder / ".env").symlink_to(folder / "nowhere")
    with pytest.raises(ProbeError, match="it is a link to nothing, not a regular file"):
        fill.fill(folder, facts=Facts(user=ADA))
    assert not (folder / "nowhere").exists()


def test_an_env_outside_of_the_project_is_filled_there_with_its_copy(folder: Path) -> None:
    real = folder.parents[1] / "of demo.env"
    real.write_text("MINE=1\n")
    (folder / ".env").symlink_to(real)
    filled = fill.fill(folder, facts=Facts(user=ADA))
    assert (folder / ".env").is_symlink()
    assert read_env(real.read_text()).keys() > {"MINE", "USRID"}
    assert filled.copy == real.parent / "of demo.env.bak"
    assert copies(real.parent) == {"of demo.env.bak": "MINE=1\n"}


@pytest.mark.parametrize("name", [".env", ".env.example"])
def test_a_file_that_cannot_be_read_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refused(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return read(path)

    (folder / ".env").write_text("MINE=1\n")
    read = files.content
    monkeypatch.setattr(files, "content", refused)
    with pytest.raises(ProbeError, match=rf"^Cannot (read|use) .*{name}: .*\.$"):
        fill.fill(folder, facts=Facts(user=ADA))


def test_a_value_of_another_encoding_is_said_and_kept(folder: Path) -> None:
    (folder / ".env").write_bytes(b"MINE=caf\xe9\r\nTZ=\xe9\r\n# \xe9\r\n")
    done = run_fill(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "TZ: .env says \\udce9, this host suggests" in done.stdout
    assert {b"MINE=caf\xe9", b"TZ=\xe9", b"# \xe9"} <= set(
        (folder / ".env").read_bytes().splitlines()
    )


def test_a_file_of_utf_16_is_refused_with_the_line(folder: Path) -> None:
    content = "A=1\n".encode("utf-16")
    (folder / ".env").write_bytes(content)
    done = run_fill(folder)
    assert (done.returncode, "Line 1 of .env" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
    assert (folder / ".env").read_bytes() == content


def test_a_root_at_work_for_somebody_else_leaves_no_file_of_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_away: dict[str, tuple[int, int]] = {}

    def fchown(handle: int, uid: int, gid: int) -> None:
        given_away[Path(f"/proc/self/fd/{handle}").readlink().name] = (uid, gid)

    monkeypatch.setattr(os, "fchown", fchown)
    root = Person(0, 0, "root", "root")
    (folder / ".env").write_text("MINE=1\n")
    fill.fill(folder, facts=Facts(user=root, project_owner=ADA))
    owners = {re.sub(r"\.[0-9a-f]{8}\.tmp$", "", name): who for name, who in given_away.items()}
    assert owners == dict.fromkeys(
        [
            *(".env", ".env.bak", "data", "my outputs", ".gitignore"),
            *("compose.cdi.yaml", "compose.nvidia.yaml"),
        ],
        (1000, 1001),
    )


def test_new_data_folders_of_a_project_stay_out_of_git_by_themselves(
    folder: Path, tmp_path: Path
) -> None:
    elsewhere, kept = tmp_path / "elsewhere", folder.parent / "data"
    kept.mkdir()
    (folder / ".env").write_text(f"LOCAL_OUTPUTS_DIR={elsewhere}\n")
    fill.fill(folder, facts=Facts())
    assert elsewhere.is_dir()
    assert not (elsewhere / ".gitignore").exists()
    assert not (kept / ".gitignore").exists()
    (folder / ".env").unlink()
    fill.fill(folder, facts=Facts())
    assert (folder.parent / "my outputs/.gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    ("uid", "owner", "engine", "is_warned"),
    [
        (0, 0, Engine(kind="docker"), True),
        (0, 1000, Engine(kind="docker"), False),
        (1000, 1000, Engine(kind="docker"), False),
        (0, 0, Engine(kind="docker-rootless", rootless=True), False),
    ],
)
def test_root_at_work_for_itself_is_warned_once(
    folder: Path, uid: int, owner: int, engine: Engine, *, is_warned: bool
) -> None:
    def who(number: int) -> Person:
        return Person(number, number, f"u{number}", f"u{number}")

    (folder / ".env").unlink(missing_ok=True)
    theirs = who(owner) if owner != uid else None
    facts = Facts(user=who(uid), project_owner=theirs, engine=engine)
    texts = ["\n".join(fill.fill(folder, facts=facts).notes) for _ in range(2)]
    assert ["You are root" in text for text in texts] == [is_warned, False]
