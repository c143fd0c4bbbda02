"""What a site decides for jobs, deploy/site.toml: its reader, its values, and what they refuse."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.clusters import site as site_module
from host.clusters import site_values, skypilot
from host.clusters.amounts import as_clock, as_size, duration, size
from host.clusters.job import Request
from host.clusters.schedulers import scheduler
from host.clusters.site import KEYS, SCHEDULERS, Key, Keys, Site, keys_of, read_site
from host.clusters.toml_reader import TomlError, read_toml
from host.env_file import ProbeError
from host.project import Project, StopError, bad_values, is_bad
from tests.conftest import Generate
from tests.support.program import PROJECT, run_program

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# --- the reader ----------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True) | texts
values = st.recursive(
    st.booleans() | st.integers(-(10**17), 10**17) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=3)


def quoted(text: str) -> str:
    """A text of TOML."""
    return (
        '"'
        + "".join(
            f"\\U{ord(one):08x}" if one in '"\\' or ord(one) < 32 or ord(one) == 127 else one
            for one in text
        )
        + '"'
    )


def written(value: Any, line_end: str) -> str:
    """A value of TOML; lists go over several lines."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'" if re.fullmatch(r"[ -&(-~]*", value) else quoted(value)
    if isinstance(value, list):
        return (
            "["
            + "".join(f"{line_end}  {written(one, line_end)}, # ]" + line_end for one in value)
            + "]"
        )
    if isinstance(value, dict):
        pairs = (f"{quoted(key)} = {written(one, line_end)}" for key, one in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return str(value)


@given(content=tables, line_end=st.sampled_from(["\n", "\r\n"]))
def test_what_can_be_written_is_read_as_pythons_own_reader_reads_it(
    content: dict[str, dict[str, Any]], line_end: str
) -> None:
    lines = ["# a comment"]
    for name, table in content.items():
        key = name if re.fullmatch("[A-Za-z0-9_-]+", name) else quoted(name)
        lines += [
            f"[{key}] # of it",
            *(f"{quoted(k)}= {written(v, line_end)}\t" for k, v in table.items()),
        ]
    text = line_end.join([*lines, ""])
    found = read_toml(text)
    assert found.values == tomllib.loads(text) == content
    for name, table in content.items():
        for key in table:
            line = text.replace("\r\n", "\n").split("\n")[found.lines[name, key] - 1]
            assert line.startswith(f"{quoted(key)}=")


def attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or the refusal that it raises."""
    try:
        return call()
    except (TomlError, StopError) as error:
        return error


PARTS = (
    *(
        "[a]",
        "[a.b]",
        "[[a]]",
        "[[a.b]]",
        "[b]",
        "a",
        "b",
        '"k"',
        "'l'",
        ".",
        "=",
        " = ",
        "1",
        "-3",
    ),
    *(
        '"x"',
        "'y'",
        "true",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "\n",
        "# c\n",
        " ",
        "\t",
        "1_0",
        "01",
        "+1",
    ),
    *(
        "1.5",
        "0x1",
        '"\\u00e9"',
        '"\\ud800"',
        '"\\q"',
        '""',
        '"""m"""',
        "2020-01-01",
        "inf",
        "\\",
        "\r",
    ),
    *(
        "a=1\n",
        "b.c=2\n",
        "a.b = {c=1, d.e=2}\n",
        "[a.b.c]\n",
        "x=[1,\n2,]\n",
        "[ a . b ]\n",
        "\ufeff",
    ),
)


@settings(max_examples=300)
@given(parts=st.lists(st.sampled_from(PARTS), max_size=14) | st.lists(st.text(), max_size=3))
def test_what_pythons_own_reader_refuses_or_reads_otherwise_is_refused(parts: list[str]) -> None:
    text = "".join(parts)
    found = attempt(lambda: read_toml(text).values)
    if isinstance(found, TomlError):
        assert 1 <= found.line <= text.count("\n") + 1
        assert re.fullmatch(r"(?s)[a-z].*[.]", found.why)
        return
    assert repr(found) == repr(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[a]\nb = 1\nb = 2", 3),
        ("[a]\n[a]", 2),
        ("a = 1 b = 2", 1),
        ("a = 1.5", 1),
        ("a = 1979-05-27", 1),
        ("\n\na = '''\nx'''", 3),
        ("a = [1,\n2", 1),
        ("a = 'x", 1),
        ('a = "\\x41"', 1),
        ("a = {b = 1,}", 1),
        ("a = {b = 1}\n[a.c]", 2),
        ("a = [1]\n[[a]]", 2),
        ("[a]\nb.c = 1\n[a.b]", 3),
        ("a = 1\u00002", 1),
        ("a = \n", 1),
        ("= 1", 1),
        (f"a = {'[' * 5000}", 1),
        (f"a = {'{a=' * 5000}", 1),
        (f"a = {'1' * 5000}", 1),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(TomlError) as error:
        read_toml(text)
    assert error.value.line == line


# --- times and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 5400), ("90m", 5400), ("2h", 7200), ("1d", 86400), ("1d12h", 129600), ("45s", 45)),
        *(("90:30", 5430), ("1:00:00", 3600), ("2-0", 172800), ("2-12:30", 217800)),
        *((" 1-00:00:01 ", 86401), ("2H", 7200)),
    ],
)
def test_a_time_is_read_as_slurm_reads_it(text: str, seconds: int) -> None:
    assert duration(text) == seconds
    assert duration(as_clock(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "x",
        "1:2:3:4",
        "5:99",
        "1:60:00",
        "1-",
        "-1",
        "1.5h",
        "1h 2h",
        "²",
        "9" * 30,
        "367d",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM:SS"):
        duration(text)


def test_a_size_has_a_unit_of_1024() -> None:
    for text in ("64G", "64g", "64GB", "64Gi", "64 GiB"):
        assert size(text) == 64 << 30
        assert as_size(size(text)) == "64G"
    assert size("1.5T") == 1536 << 30
    for text in ("", "64", "0G", "-1G", "1e3G", "G", "9" * 30 + "G", "64Gbit"):
        with pytest.raises(ValueError, match="64G"):
            size(text)


# --- the file ------------------------------------------------------------------------------------

# A scheduler's table with a key of each kind.
OF_SLURM: Keys = {
    "partition": Key("text", "", env="CLUSTER_PARTITION"),
    "container": Key("text", "apptainer", choices=("apptainer", "pyxis")),
    "warning": Key("time", 120),
    "large": Key("flag", True),
    "options": Key("list", []),
    "selector": Key("table", {}),
    "claims": Key("tables", [], fields=("claim", "path", "read_only"), expand=True),
}
Read = Callable[..., Site]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project for Slurm, of a user jane whose home is /home/jane."""
    folder = tmp_path / "docker-amd64"
    (folder / "deploy").mkdir(parents=True)
    (folder / ".env").write_text("USRID=1234\nGRPID=5678\nUSR=jane\n")
    monkeypatch.setattr(site_module, "keys_of", lambda _: OF_SLURM)
    for name, value in (("USER", "jane"), ("HOME", "/home/jane"), ("SCRATCH", "/scratch/jane")):
        monkeypatch.setenv(name, value)
    return Project(folder, {**PROJECT, "clusters": ["slurm"]})


@pytest.fixture
def read(project: Project) -> Read:
    """Read a site.toml of this text, with further lines of .env."""

    def read_(text: str, env: str = "") -> Site:
        (project.folder / "deploy/site.toml").write_text(text)
        with (project.folder / ".env").open("a") as file:
            file.write(env)
        return read_site(project)

    return read_


def refusal(read: Read, text: str, env: str = "") -> StopError:
    """What is said of a file: one sentence or two, and a command."""
    with pytest.raises(StopError) as error:
        read(text, env)
    stop = error.value
    assert re.fullmatch(r"[^\n]{20,400}[^.?][.?]", stop.sentence), stop.sentence
    assert shlex.split(stop.command)
    return stop


def test_an_empty_file_has_every_table_and_key_with_its_default(read: Read) -> None:
    found = read("")
    for table, keys in {**KEYS, "slurm": OF_SLURM}.items():
        assert found[table] == {name: key.default for name, key in keys.items()}
    found["slurm"]["options"].append("x")
    assert read("")["slurm"]["options"] == []


def test_each_kind_of_value_is_what_a_scheduler_needs(read: Read) -> None:
    found = read(
        """
        [limits]
        memory = "480GB"
        time = "1-00:00:00"
        nodes = 4
        [storage]
        code = "$SCRATCH//code/"
        data = "~/data sets"
        mounts = ["/datasets:/datasets:ro", "~/x:/mnt/${USER}"]
        [environment]
        HF_HOME = "$SCRATCH/hf"
        OMP_NUM_THREADS = 8
        PRICE = "5$$"
        [slurm]
        container = "pyxis"
        warning = "5m"
        large = false
        options = ["--exclusive", '--comment="a b"']
        selector = { "gpu.type" = "a100", fast = true, age = 3 }
        claims = [
            { claim = "home", path = "/home/$USER", read_only = true }, # mine
        ]
        """
    )
    assert found["limits"] == {
        "nodes": 4,
        "gpus": 0,
        "cpus": 0,
        "memory": 480 << 30,
        "time": 86400,
    }
    assert found["storage"]["code"] == "/scratch/jane/code"
    assert found["storage"]["data"] == "/home/jane/data sets"
    assert found["storage"]["mounts"] == ["/datasets:/datasets:ro", "/home/jane/x:/mnt/jane"]
    variables = {"HF_HOME": "/scratch/jane/hf", "OMP_NUM_THREADS": "8", "PRICE": "5$"}
    assert found["environment"] == variables
    slurm = found["slurm"]
    assert (slurm["container"], slurm["warning"], slurm["large"]) == ("pyxis", 300, False)
    assert slurm["options"] == ["--exclusive", '--comment="a b"']
    assert slurm["selector"] == {"gpu.type": "a100", "fast": "true", "age": "3"}
    assert slurm["claims"] == [{"claim": "home", "path": "/home/jane", "read_only": "true"}]
    assert found.line("slurm", "container") == 15
    assert found.line("slurm", "partition") == 0


def test_a_persons_own_values_go_before_those_of_the_team(read: Read) -> None:
    env = "CLUSTER_PARTITION=mine\nCLUSTER_USR=doe\nCLUSTER_USRID=42\nCLUSTER_LOGIN=doe@login\n"
    found = read('[slurm]\npartition = "team"\n[storage]\ncode = "/s/$USER"\n', env)
    assert found["slurm"]["partition"] == "mine"
    assert found["storage"]["code"] == "/s/doe"
    assert found["user"] == {"name": "doe", "id": 42, "group": 5678, "login": "doe@login"}


def test_the_ids_of_a_rootless_engine_are_not_those_of_the_cluster(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_values, "user_id", lambda: 1700)
    monkeypatch.setattr("os.getgid", lambda: 1800)
    user = read("", "USRID=0\nGRPID=0\nUSR=root\n")["user"]
    assert user == {"name": "jane", "id": 1700, "group": 1800, "login": ""}


WRONG_FILES = {
    "no TOML": ("[slurm]\npartition = gpu\n", 2),
    "a conflict": ("[slurm]\n<<<<<<< before updating\nqos = 'a'\n", 2),
    "Latin-1": (b"[slurm]\npartition = '\xe9'\n", 2),
    "too long": ("#" * (1 << 19), 0),
}


@pytest.mark.parametrize(("content", "line"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_that_cannot_be_read_is_opened_at_the_line(
    read: Read, project: Project, content: str | bytes, line: int
) -> None:
    file = project.folder / "deploy/site.toml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(StopError) as error:
        read_site(project)
    stop = error.value
    assert stop.name == "site-file"
    assert (f"+{line} " in stop.command) == bool(line)
    assert stop.command.endswith("deploy/site.toml")
    del read


def test_what_is_no_file_is_not_read(project: Project) -> None:
    os.mkfifo(project.folder / "deploy/site.toml")
    with pytest.raises(ProbeError):
        read_site(project)


def test_a_missing_file_is_taken_from_git(project: Project) -> None:
    with pytest.raises(StopError) as error:
        read_site(project)
    assert error.value.name == "site-file"
    assert error.value.command.startswith("git checkout HEAD -- ")


WRONG_VALUES = {
    "another table": ('[storrage]\ncode = "/a"', "Did you mean storage?"),
    "another key": ('[slurm]\npartitions = "a"', "Did you mean partition?"),
    "no table": ('partition = "a"', "[slurm]"),
    "a table of tables": ("[slurm.partition]\na = 1", "in quotes"),
    "an array of tables": ("[[slurm]]\npartition = 'a'", "[slurm]"),
    "a number for a text": ("[slurm]\npartition = 3", "in quotes"),
    "a text for a number": ('[limits]\nnodes = "4"', "without quotes"),
    "a switch for a number": ("[limits]\nnodes = true", "without quotes"),
    "below nothing": ("[limits]\nnodes = -1", "from 0 to"),
    "a large number": ("[limits]\nnodes = 99999999999", "2147483647"),
    "a size without a unit": ("[limits]\nmemory = 64", "64G"),
    "a time without a unit": ("[slurm]\nwarning = 120", "HH:MM:SS"),
    "a switch for a time": ("[slurm]\nwarning = false", "HH:MM:SS"),
    "a text for a flag": ('[slurm]\nlarge = "no"', "true or false"),
    "a text for a list": ('[slurm]\noptions = "--x"', "in brackets"),
    "a list with a list": ("[slurm]\noptions = [['--x']]", "in quotes"),
    "no choice": ('[slurm]\ncontainer = "pyxsi"', "Did you mean pyxis?"),
    "another field": ("[slurm]\nclaims = [{ clam = 'a' }]", "Did you mean claim?"),
    "a field with a list": ("[slurm]\nclaims = [{ claim = ['a'] }]", "in quotes"),
    "a line end": ('[slurm]\npartition = "a\\nb"', "line end"),
    "a mark that turns text round": ('[slurm]\npartition = "a\\u202eb"', "cannot be seen"),
    "a long text": (f"[slurm]\npartition = '{'a' * 2000}'", "1000"),
    "a relative path": ('[storage]\ncode = "code"', "from / on"),
    "a path with a colon": ('[storage]\ncode = "/a:b"', "separate mounts"),
    "an unset variable": ('[storage]\ncode = "$NOWHERE/code"', "$NOWHERE"),
    "a command": ('[storage]\ncode = "/a/$(touch x)"', "$$"),
    "somebody's home": ('[storage]\ncode = "~doe/code"', "whole path"),
    "half a mount": ('[storage]\nmounts = ["/a"]', "SOURCE:TARGET"),
    "a mount over the code": ('[storage]\nmounts = ["/a:/workspace/b"]', "/workspace"),
    "a mount over all": ('[storage]\nmounts = ["/a:/"]', "something already"),
    "a mount with a wrong mode": ('[storage]\nmounts = ["/a:/b:rx"]', ":ro"),
    "no variable": ('[environment]\n"A B" = "c"', "letters, digits and _"),
    "a variable in a variable": ('[environment]\nA = "$NOWHERE"', "$NOWHERE"),
    "no image": ('[image]\nname = "Demo"', "registry.example/"),
    "a default beyond its limit": ("[limits]\ngpus = 4\n[defaults]\ngpus = 8", "[limits]"),
    "a default time": ("[limits]\ntime = '1h'\n[defaults]\ntime = '2h'", "01:00:00"),
}


@pytest.mark.parametrize(("text", "words"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_a_wrong_value_is_refused_with_its_place_and_what_to_write(
    read: Read, text: str, words: str
) -> None:
    stop = refusal(read, text)
    assert stop.name == "site-value"
    assert words in stop.sentence
    assert re.search(r"\+\d+ \S*deploy/site\.toml$", stop.command)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"]
)
def test_a_secret_is_refused_in_a_file_that_git_has(read: Read, name: str) -> None:
    stop = refusal(read, f'[environment]\n{name} = "x"')
    assert "[storage] secrets" in stop.sentence
    for table in ("[environment]\nX", "[slurm]\naccount", "[storage]\ndata"):
        token = f"hf_{'a' * 34}"
        stop = refusal(read, f'{table} = "/{token}"')
        assert token not in stop.sentence
    stop = refusal(read, f'[environment]\nURL = "https://jane:hf_{"a" * 34}@example.com"')
    assert "hf_a" not in str(stop)
    assert read('[environment]\nTOKENIZERS_PARALLELISM = "false"\nKEYBOARD = "us"')


def test_the_home_of_another_machine_is_refused(read: Read) -> None:
    for path in ("~/code", "$HOME/code", "${HOME}/code"):
        assert (
            "CLUSTER_USR"
            in refusal(read, f'[storage]\ncode = "{path}"', "CLUSTER_USR=doe\n").sentence
        )


def test_a_wrong_value_of_env_or_the_shell_is_told_from_one_of_the_file(
    read: Read, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = refusal(read, "", 'CLUSTER_PARTITION="a b"\n')
    assert "CLUSTER_PARTITION in .env" in stop.sentence
    assert stop.command.endswith("env --set CLUSTER_PARTITION=")
    assert [one.command for one in bad_values(project.settings)] == [stop.command]
    # A shell of a cluster may have the name for something else: only a submission minds.
    monkeypatch.setenv("CLUSTER_LOGIN", "-oProxyCommand=x")
    project.forget_settings()
    stop = refusal(read, "", "CLUSTER_PARTITION=a\n")
    assert stop.command == "unset CLUSTER_LOGIN"
    assert bad_values(project.settings) == []


def test_the_table_of_a_cluster_that_was_not_chosen_says_how_to_choose_it(read: Read) -> None:
    stop = refusal(read, '[runai]\nproject = "a"')
    assert stop.command.endswith("update --data 'clusters=[slurm, runai]'")


@settings(max_examples=200)
@given(
    table=st.sampled_from([*KEYS, "slurm"]),
    key=st.sampled_from([*OF_SLURM, *(key for keys in KEYS.values() for key in keys), "X"]),
    value=values,
)
def test_any_value_is_refused_in_a_sentence_or_safe_in_a_job_file(
    tmp_path_factory: pytest.TempPathFactory, table: str, key: str, value: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    (folder / "deploy").mkdir(parents=True, exist_ok=True)
    (folder / "deploy/site.toml").write_text(
        f"[{table}]\n{quoted(key)} = {written(value, chr(10))}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site_module, "keys_of", lambda _: OF_SLURM)
        project = Project(folder, {**PROJECT, "clusters": ["slurm"]})
        found = attempt(lambda: read_site(project)[table][key])
    if isinstance(found, StopError):
        assert found.name == "site-value"
        assert "\n" not in found.sentence
        return
    for text in re.findall(r"(?s)'(.*?)'", repr(found)):
        assert not re.search(r"[\x00-\x1f\x7f]", text)


# --- what a project gets -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docker-amd64 of a project for all clusters."""
    folder = tmp_path_factory.mktemp("site") / "project"
    return generate(folder, accelerator="cuda", clusters=[*SCHEDULERS]) / "docker-amd64"


def examples(text: str) -> dict[str, str]:
    """The examples of a site.toml, heading to text."""
    parts = re.findall(r"(?m)^# (\S[^\n]*):\n#\n((?:#     [^\n]*\n)+)", text)
    return {heading: re.sub("(?m)^#     ", "", lines) for heading, lines in parts}


def test_the_file_as_it_comes_says_nothing_and_has_every_key_with_its_default(
    docker: Path,
) -> None:
    project = Project(docker, {**PROJECT, "clusters": [*SCHEDULERS]})
    found = read_site(project)
    content = tomllib.loads(found.file.read_text())
    for table, keys in {**KEYS, **{name: keys_of(name) for name in SCHEDULERS}}.items():
        defaults = {name: key.default for name, key in keys.items()}
        defaults.update({"gpus": 1} if table == "defaults" else {})
        assert found[table] == defaults, table
        assert content[table].keys() == keys.keys(), table


def test_every_example_is_complete_and_names_what_a_first_job_needs(
    docker: Path, tmp_path: Path
) -> None:
    text = (docker / "deploy/site.toml").read_text()
    found = examples(text)
    assert len(found) == text.count("\n#     [image]\n") == 6
    for heading, example in found.items():
        # The folder that a machine of the example has.
        here = example.replace("/mnt/lab/scratch", str(tmp_path))
        (docker / "deploy/site.toml").write_text(here)
        names = [name for name in SCHEDULERS if f"[{name}]" in example]
        project = Project(docker, {**PROJECT, "clusters": names})
        site = read_site(project)
        assert site["image"]["name"] or site["image"]["files"], heading
        (name,) = names
        # It raises where jobs cannot bring their code along, and no folder is named for it.
        code = scheduler(name).shared_code(project, site, Request(name, "train", ("true",)))
        assert bool(code) == (name != "kubernetes"), heading
        if name == "skypilot":
            assert skypilot.has_bucket(site, site["storage"]["outputs"])
    (docker / "deploy/site.toml").write_text(text)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_project_has_only_what_its_cluster_needs(
    generate: Generate, tmp_path: Path, name: str
) -> None:
    docker = generate(tmp_path / "project", clusters=[name]) / "docker-amd64"
    assert {path.name for path in (docker / "deploy").iterdir()} >= {name, "site.toml"}
    tables = tomllib.loads((docker / "deploy/site.toml").read_text())
    others = {*SCHEDULERS} - {name}
    assert not others & tables.keys()
    assert not [one for one in others if (docker / "deploy" / one).exists()]
    assert not [one for one in others if (docker / f"host/clusters/{one}.py").exists()]
    verbs = run_program("help", "--names", folder=docker).stdout.split()
    assert ("sif" in verbs) == (name == "slurm")
    env = (docker / ".env.example").read_text()
    assert "# CLUSTER_USR=" in env
    assert ("CLUSTER_PARTITION" in env) == (name == "slurm")


def test_a_project_without_clusters_has_nothing_of_them(generate: Generate, tmp_path: Path) -> None:
    project = generate(tmp_path / "project")
    docker = project / "docker-amd64"
    assert not (docker / "deploy").exists()
    assert not (docker / "host/clusters").exists()
    assert "CLUSTER" not in (docker / ".env.example").read_text()
    assert "clusters" not in json.loads((docker / "host/project.json").read_text())
    verbs = run_program("help", "--names", folder=docker).stdout.split()
    assert not {"submit", "jobs", "cancel", "sif", "sqsh"} & {*verbs}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CLUSTER_LOGIN", "-oProxyCommand=touch x"),
        ("CLUSTER_LOGIN", "jane@login host"),
        ("CLUSTER_USR", "$(touch x)"),
        ("CLUSTER_USRID", "jane"),
        ("CLUSTER_ACCOUNT", "lab --wrap=x"),
        ("CLUSTER_PARTITION", "-p"),
        ("CLUSTER_NAMESPACE", "Lab"),
        ("CLUSTER_CONTEXT", "a;b"),
        ("CLUSTER_PROJECT", "a b"),
    ],
)
def test_a_persons_value_that_would_be_more_than_a_name_is_refused(key: str, value: str) -> None:
    assert is_bad(key, value)
    for good in ("", "lab", "jane@login.example", "gpu,gpu-long", "1234"):
        name = good.partition("@")[0].partition(",")[0]
        assert not is_bad(key, "1234" if key.endswith("ID") else name)
