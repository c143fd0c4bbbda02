"""The stand-in for micromamba, without its image: that it does and says what mamba's sources do."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import conda_absent
import conda_solve
from tests.conftest import ROOT
from tests.support.certificates import make_authority
from tests.support.conda_channel import (
    CondaChannels,
    CondaPackage,
    python_module,
    python_stub,
    serving_conda,
    small_packages,
    write_package,
    write_repodata,
)
from tests.support.process import run

STAND_IN = ROOT / ".ci/micromamba_stand_in.py"
DOCUMENTED = yaml.safe_load((ROOT / "tests/support/micromamba_options.yml").read_text())
PROJECT = ROOT / "template/docker-amd64"
# What a person may type in the dev container, beside what the files of a project have.
TYPED = {
    "install": {"--yes"},
    "remove": {"--yes"},
    "list": set[str](),
    "search": set[str](),
    "env export": {"--explicit"},
}


def documented(command: str) -> tuple[set[str], set[str]]:
    """Flags and options with arguments of a command, by mamba's sources."""
    entry = DOCUMENTED["commands"][command]
    groups = [entry, *(DOCUMENTED["groups"][name] for name in entry["groups"])]
    flags, valued = (
        {option for group in groups for option in group.get(kind, [])}
        for kind in ("flags", "valued")
    )
    return flags, valued


def options_of(command: str, words: list[str]) -> set[str]:
    """The long names of micromamba's options; those of the program that `run` starts are its own.

    An option that micromamba does not document stays as it is written.
    """
    entry = DOCUMENTED["commands"][command]
    groups = [entry, *(DOCUMENTED["groups"][name] for name in entry["groups"])]
    short = {key: name for group in groups for key, name in group.get("short", {}).items()}
    _, valued = documented(command)
    found, value = set(), False
    for word in words:
        option = short.get(word, word)
        if option.startswith("-"):
            found.add(option)
        elif command == "run" and not value:
            break
        value = option in valued
    return found


def command_lines(text: str) -> dict[str, set[str]]:
    """The options on each command line of micromamba in a text, by command."""
    found: dict[str, set[str]] = {}
    lines = text.replace("\\\n", " ")
    for verb, rest in re.findall(r"\bmicromamba (\$?[a-z]+)([^\n`]*)", lines):
        words = rest.split()
        if any(word.startswith("-") for word in words):  # else it is prose
            for command in ("create", "install") if verb == "$verb" else (verb,):
                found.setdefault(command, set()).update(options_of(command, words))
    return found


def together(*parts: dict[str, set[str]]) -> dict[str, set[str]]:
    """All options of each command."""
    return {
        command: {option for part in parts for option in part.get(command, ())}
        for command in sorted({command for part in parts for command in part})
    }


def text_of(*patterns: str) -> str:
    """The text of the files of a project with such names."""
    paths = [path for pattern in patterns for path in sorted(PROJECT.rglob(pattern))]
    return "\n".join(path.read_text() for path in paths)


# The command lines that conda_solve.py solves with, and looks for names with.
SOLVING = set(re.findall(r'"(--[a-z-]+)"', inspect.getsource(conda_solve.solve)))
SEARCHING = set(re.findall(r'"(--[a-z-]+)"', inspect.getsource(conda_absent.like)))
# What runs in the images, and what a generated project tells people to do without them.
USED = together(
    command_lines(text_of("Dockerfile.jinja", "*.sh*", "compose*")),
    {"create": SOLVING, "search": SEARCHING},
    TYPED,
)
TOLD = command_lines(text_of("README.md.jinja", "*environment*.yml*"))


@pytest.fixture(scope="session")
def small_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Channels with the small packages and a python that is none."""
    folder = tmp_path_factory.mktemp("channels")
    for subdir in ("linux-64", "noarch"):
        (folder / "conda-forge" / subdir).mkdir(parents=True)
    cpu = CondaPackage("pytorch", "2.13.0", "cpu_generic_py311_0", ("python",))
    fillers = [
        CondaPackage(name, "9.0", depends=("python",), noarch="generic")
        for name in (
            *("filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "pip"),
            *("numpy", "typing_extensions"),
        )
    ]
    fillers[-2] = CondaPackage("numpy", "2.3.5", depends=("python",))
    fillers[-1] = CondaPackage("typing_extensions", "4.16.0", depends=("python",))
    for package in [python_stub(), cpu, *fillers, *small_packages()]:
        write_package(package, folder / "conda-forge" / package.subdir)
    write_repodata(folder / "conda-forge")
    return folder


@pytest.fixture
def channels(small_channel: Path, tmp_path: Path) -> Iterator[CondaChannels]:
    with serving_conda(CondaChannels(tmp_path / "channels", small_channel), "127.0.0.1") as served:
        yield served


class StandIn:
    """The stand-in with an environment of its own, and a prefix."""

    def __init__(self, folder: Path, channels: CondaChannels) -> None:
        self.prefix = folder / "env"
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "MAMBA_ROOT_PREFIX": str(folder / "root"),
            "MAMBA_CHANNEL_ALIAS": channels.url,
            "CONDA_PKGS_DIRS": str(folder / "packages"),
            "CONDA_OVERRIDE_CUDA": "",
        }
        (folder / "home").mkdir()

    def __call__(self, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, STAND_IN, *arguments, env=self.env | env, cwd=self.folder)

    def create(self, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return self("create", "--yes", "--prefix", self.prefix, *arguments, **env)

    def solve(self, *arguments: str | Path, **env: str) -> dict[str, Any]:
        """The JSON of a dry run; all of stdout, and nothing is on stderr."""
        result = self.create("--dry-run", "--json", *arguments, **env)
        assert result.stderr == ""
        answer: dict[str, Any] = json.loads(result.stdout)
        assert answer.get("success", False) is (result.returncode == 0)
        assert not self.prefix.exists()
        return answer

    def builds(self, *arguments: str | Path, **env: str) -> dict[str, str]:
        """What a dry run would link: name to VERSION-BUILD."""
        link = self.solve(*arguments, **env)["actions"]["LINK"]
        return {package["name"]: f"{package['version']}-{package['build']}" for package in link}

    def installed(self) -> dict[str, str]:
        """What conda-meta says: name to version."""
        records = [json.loads(f.read_text()) for f in (self.prefix / "conda-meta").glob("*.json")]
        return {record["name"]: record["version"] for record in records}


@pytest.fixture
def micromamba(tmp_path: Path, channels: CondaChannels) -> StandIn:
    return StandIn(tmp_path, channels)


def explicit(channels: CondaChannels, *names: str) -> str:
    """An explicit file with these archives, by the beginnings of their names."""
    lines = []
    for name in names:
        file = channels.archive(name)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(
            f"{channels.url}/{file.relative_to(channels.folder).as_posix()}#sha256:{digest}"
        )
    return "\n".join(["# a comment", "@EXPLICIT", *lines, ""])


def problem(answer: dict[str, Any]) -> str:
    """What the log of a failed dry run says last but one."""
    return str(answer["log_history"][0]["message"])


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", together(USED, TOLD))
def test_what_hearth_uses_is_documented_by_micromamba(command: str) -> None:
    flags, valued = documented(command)
    assert together(USED, TOLD)[command] <= flags | valued


def test_the_command_lines_of_a_project_are_found() -> None:
    assert {"--prefix", "--file", "--channel-priority", "--dry-run"} <= USED["create"]
    assert {"--prefix", "--file"} <= USED["install"]
    assert {"create": {"--file", "--name"}, "run": {"--name"}}.items() <= TOLD.items()
    (started,) = re.findall(r'\["micromamba", "(\w+)"', inspect.getsource(conda_solve))
    assert started == "create"
    assert command_lines("micromamba create -f a \\\n --no-such x; micromamba is fast") == {
        "create": {"--file", "--no-such"}
    }
    assert command_lines("micromamba run -n a pip install --no-deps .") == {"run": {"--name"}}


def test_the_stand_in_knows_what_hearth_uses_and_nothing_that_micromamba_does_not_document() -> (
    None
):
    table = run(
        sys.executable,
        "-c",
        "import json, micromamba_stand_in as m; print(json.dumps([m.OPTIONS, m.SHORT]))",
        cwd=STAND_IN.parent,
    )
    options, short = json.loads(table.stdout)
    assert set(options) == set(USED)
    for command, known in options.items():
        flags, valued = documented(command)
        assert {option for option, takes in known.items() if takes} <= valued
        assert {option for option, takes in known.items() if not takes} <= flags
        assert USED[command] <= set(known)
    documented_short = (
        DOCUMENTED["groups"]["general"]["short"] | DOCUMENTED["groups"]["prefix"]["short"]
    )
    documented_short |= {"-f": "--file", "-c": "--channel"}
    assert short.items() <= documented_short.items()


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--frozen"],
        ["create", "-n", "name"],
        ["update"],
        ["list", "-c"],
        ["env", "list"],
        ["create", "--prefix"],
    ],
)
def test_the_stand_in_refuses_what_it_does_not_know(
    micromamba: StandIn, arguments: list[str]
) -> None:
    result = micromamba(*arguments)
    assert result.returncode == 109
    assert "Run with --help for more information." in result.stderr


# --- solving -------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_solution_as_json_and_creates_nothing(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    answer = micromamba.solve("tinyapp")
    assert answer["dry_run"] is True
    by_name = {package["name"]: package for package in answer["actions"]["LINK"]}
    file = channels.archive("tinylib-2.0")
    assert (
        by_name["tinylib"].items()
        >= {
            "version": "2.0",
            "build_string": "pyhd8ed1ab_0",
            "channel": "conda-forge",
            "subdir": "noarch",
            "fn": file.name,
            "url": f"{channels.url}/conda-forge/noarch/{file.name}",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "md5": hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest(),
            "size": file.stat().st_size,
            "depends": ["python >=3.9"],
        }.items()
    )
    names = list(by_name)
    assert names.index("python") < names.index("tinylib") < names.index("tinyapp")
    assert "pip" in by_name  # python brings it


@pytest.mark.parametrize(
    ("cuda", "build"),
    [
        ("", "cpu_generic_py311_0"),
        ("12.9", "cuda129_generic_py311_200"),
        ("13.0", "cuda130_generic_py311_200"),
    ],
)
def test_the_override_of_cuda_decides_the_build_of_pytorch(
    micromamba: StandIn, cuda: str, build: str
) -> None:
    line = [f"cuda-version={cuda}"] if cuda else []
    found = micromamba.builds("pytorch=2.13.0", *line, CONDA_OVERRIDE_CUDA=cuda)
    assert found["pytorch"] == f"2.13.0-{build}"


def test_a_new_driver_still_gets_the_cuda_line_that_is_asked_for(micromamba: StandIn) -> None:
    found = micromamba.builds("pytorch-gpu", "cuda-version=12.9", CONDA_OVERRIDE_CUDA="13.0")
    assert found["pytorch"] == "2.13.0-cuda129_generic_py311_200"


def test_pytorch_gpu_without_cuda_has_no_solution(micromamba: StandIn) -> None:
    answer = micromamba.solve("pytorch-gpu")
    assert any(
        line.startswith("nothing provides __cuda needed by pytorch-2.13.0")
        for line in answer["solver_problems"]
    )
    assert "__cuda *, which is missing on the system" in problem(answer)


def test_a_glibc_that_is_too_old_has_no_solution(micromamba: StandIn) -> None:
    answer = micromamba.solve(
        "pytorch-gpu", CONDA_OVERRIDE_CUDA="12.9", CONDA_OVERRIDE_GLIBC="2.12"
    )
    assert "__glibc" in problem(answer)


def test_a_package_that_is_nowhere_is_named(micromamba: StandIn) -> None:
    answer = micromamba.solve("tinylib", "nosuch")
    assert answer["solver_problems"] == ["nothing provides requested nosuch"]
    assert answer["log_history"][-1] == {
        "level": "critical",
        "message": "Could not solve for environment specs",
        "source": "libmamba",
    }
    result = micromamba.create("nosuch")
    assert result.returncode == 1
    assert result.stderr == (
        "error    libmamba Could not solve for environment specs\n"
        "    The following package could not be installed\n"
        "    └─ nosuch =* * does not exist (perhaps a typo or a missing channel).\n"
        "critical libmamba Could not solve for environment specs\n"
    )


def test_a_conflict_is_explained(micromamba: StandIn) -> None:
    answer = micromamba.solve("oldtiny", "newtiny")
    assert "The following packages are incompatible" in problem(answer)
    assert "conflicts with any installable versions previously reported" in problem(answer)
    assert "none of the providers can be installed" in " ".join(answer["solver_problems"])


def test_pins_of_an_rc_file_hold_versions_and_do_not_install(micromamba: StandIn) -> None:
    rc = micromamba.folder / "pins.yml"
    rc.write_text("pinned_packages: [tinylib==1.0=pyhd8ed1ab_0, hello-conda==1.0=h5eee18b_0]\n")
    found = micromamba.builds(
        "--rc-file", rc, "--channel-priority", "strict", "--file", _yml(micromamba)
    )
    assert found["tinylib"] == "1.0-pyhd8ed1ab_0"
    assert "hello-conda" not in found
    rc.write_text("pinned_packages: [tinylib==0.1]\n")
    assert "tinylib" in problem(micromamba.solve("--rc-file", rc, "--file", _yml(micromamba)))


def _yml(micromamba: StandIn, text: str = "") -> Path:
    file = micromamba.folder / "environment.yml"
    file.write_text(
        text
        or "name: x\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n  - python=3.11.*\n"
        "  - tinylib\n  - pip:\n      - requests\n"
    )
    return file


def test_several_environment_files_are_solved_together(micromamba: StandIn) -> None:
    other = micromamba.folder / "other.yml"
    other.write_text("channels: [conda-forge]\ndependencies: [oldtiny]\n")
    found = micromamba.builds("--file", _yml(micromamba), "--file", other)
    assert found["tinylib"] == "1.1-pyhd8ed1ab_0"


def test_nodefaults_keeps_other_channels_out(micromamba: StandIn, channels: CondaChannels) -> None:
    channels.publish(python_module("tinylib", "9.0"), "team")
    assert micromamba.builds("--file", _yml(micromamba), CONDA_CHANNELS="team")["tinylib"][0] == "2"
    both = _yml(micromamba, "channels: [team, conda-forge]\ndependencies: [tinylib]\n")
    assert micromamba.builds("--file", both)["tinylib"][0] == "9"


# --- creating and changing -----------------------------------------------------------------------


def test_an_explicit_file_is_installed_and_recorded(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    first, second = micromamba.folder / "first.txt", micromamba.folder / "second.txt"
    first.write_text(explicit(channels, "tzdata", "python-3", "tinylib-1.0"))
    second.write_text(explicit(channels, "hello-conda"))
    with channels.recording() as traffic:
        assert micromamba.create("--quiet", "--file", first).returncode == 0
        result = micromamba("install", "--yes", "--prefix", micromamba.prefix, "--file", second)
    assert result.returncode == 0, result.stderr
    assert len(traffic.downloads) == 4
    assert not traffic.repeated
    hello = run(micromamba.prefix / "bin/hello-conda")
    assert hello.stdout == f"hello from {micromamba.prefix}\n"
    record = json.loads(next((micromamba.prefix / "conda-meta").glob("tinylib*")).read_text())
    assert record["url"].startswith(f"{channels.url}/conda-forge/noarch/tinylib-1.0")
    assert (record["channel"], record["requested_spec"][:13]) == ("conda-forge", "tinylib==1.0[")
    assert {"bin/tinylib", "lib/python3.11/site-packages/tinylib.py"} <= set(record["files"])
    history = (micromamba.prefix / "conda-meta/history").read_text()
    assert history.count("==> ") == 2
    assert f"+{channels.url}/conda-forge/noarch::tinylib-1.0-pyhd8ed1ab_0\n" in history
    again = micromamba("install", "--yes", "--prefix", micromamba.prefix, "--file", second)
    assert again.returncode == 1


def test_an_explicit_file_without_packages_is_no_failure(micromamba: StandIn) -> None:
    empty = micromamba.folder / "empty.txt"
    empty.write_text("@EXPLICIT\n")
    created = micromamba.create("--file", empty)
    assert f"Empty environment created at prefix: {micromamba.prefix}" in created.stdout
    assert (micromamba.prefix / "conda-meta/history").exists()
    installed = micromamba("install", "--prefix", micromamba.prefix, "--file", empty)
    assert installed.stdout == "Nothing to do.\n"


def test_create_replaces_an_environment_and_spares_other_folders(micromamba: StandIn) -> None:
    assert micromamba.create("hello-conda").returncode == 0
    assert micromamba.create("tinylib").returncode == 0
    assert "hello-conda" not in micromamba.installed()
    assert not (micromamba.prefix / "bin/hello-conda").exists()
    micromamba.prefix = micromamba.folder / "home-of-files"
    micromamba.prefix.mkdir()
    (micromamba.prefix / "mine").touch()
    result = micromamba.create("tinylib")
    assert result.returncode == 1
    assert "critical libmamba Non-conda folder exists at prefix - aborting." in result.stderr


def test_a_person_installs_lists_exports_and_removes(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    assert micromamba.create("python=3.11", "tinyapp").returncode == 0
    active = {"CONDA_PREFIX": str(micromamba.prefix)}
    assert micromamba("install", "--yes", "tinylib<2", "hello-conda", **active).returncode == 0
    assert micromamba.installed().items() >= {"tinylib": "1.1", "python": "3.11.2"}.items()
    listed = micromamba("list", "tiny", **active).stdout
    assert "tinylib  1.1" in listed
    assert "conda-forge" in listed
    assert "hello-conda" not in listed
    exported = yaml.safe_load(micromamba("env", "export", **active).stdout)
    assert exported["channels"] == ["conda-forge"]
    assert "tinylib=1.1=pyhd8ed1ab_0" in exported["dependencies"]
    lines = micromamba("env", "export", "--explicit", **active).stdout.splitlines()
    assert "@EXPLICIT" in lines
    file = channels.archive("hello-conda")
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    assert f"{channels.url}/conda-forge/linux-64/{file.name}#{digest}" in lines
    # Who needs it goes with it.
    assert micromamba("remove", "--yes", "tinylib", **active).returncode == 0
    assert {"tinylib", "tinyapp"}.isdisjoint(micromamba.installed())
    assert {"python", "pip", "hello-conda"} <= set(micromamba.installed())
    assert "hello-conda" in micromamba("search", "hello-conda").stdout
    found = json.loads(micromamba("search", "--json", "tiny*").stdout)["result"]["pkgs"]
    assert {package["name"] for package in found} == {"tinyapp", "tinylib"}


# --- failures ------------------------------------------------------------------------------------


def test_a_damaged_archive_is_refused(micromamba: StandIn, channels: CondaChannels) -> None:
    file = micromamba.folder / "spec.txt"
    file.write_text(explicit(channels, "hello-conda"))
    channels.damage("hello-conda")
    result = micromamba.create("--file", file)
    assert result.returncode == 1
    assert "File not valid: SHA256 doesn't match expectation" in result.stderr
    assert result.stderr.endswith("critical libmamba Found incorrect downloads. Aborting\n")
    assert "hello-conda-1.0-h5eee18b_0.conda tarball has incorrect SHA256" in result.stdout
    assert micromamba.installed() == {}
    assert micromamba.create("hello-conda").returncode == 1


def test_quiet_is_silent_even_about_failures(micromamba: StandIn, channels: CondaChannels) -> None:
    channels.damage("hello-conda")
    result = micromamba.create("--quiet", "hello-conda")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "")


def test_a_package_that_the_channel_lost_fails_with_its_address(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    file = micromamba.folder / "spec.txt"
    file.write_text(explicit(channels, "hello-conda"))
    channels.archive("hello-conda").unlink()
    result = micromamba.create("--file", file)
    assert result.returncode == 1
    assert f"status: 404 [{channels.url}/conda-forge/linux-64/hello-conda" in result.stderr


def test_a_connection_that_breaks_is_tried_again_as_by_mamba(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    channels.broken = 2
    assert micromamba.create("hello-conda").returncode == 0
    assert channels.broken == 0


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        (
            "http://127.0.0.1:9",
            "Download error (7) Could not connect to server [http://127.0.0.1:9/",
        ),
        ("http://no.invalid", "Download error (6) Could not resolve hostname [http://no.invalid/"),
        ("file:///nowhere", "Download error (37) Could not read a file:// file [file:///nowhere/"),
    ],
)
def test_a_channel_out_of_reach_fails_with_the_words_of_curl(
    micromamba: StandIn, alias: str, words: str
) -> None:
    result = micromamba.create("tinylib", MAMBA_CHANNEL_ALIAS=alias)
    assert result.returncode == 1
    assert f"critical libmamba {words}" in result.stderr


def test_a_folder_is_a_channel_too(micromamba: StandIn, channels: CondaChannels) -> None:
    micromamba.env["MAMBA_CHANNEL_ALIAS"] = channels.folder.as_uri()
    assert micromamba.create("hello-conda").returncode == 0
    assert "hello-conda" in micromamba.installed()


def test_the_alias_of_conda_is_not_read(micromamba: StandIn, channels: CondaChannels) -> None:
    del micromamba.env["MAMBA_CHANNEL_ALIAS"]
    env = {"CONDA_CHANNEL_ALIAS": channels.url, "https_proxy": "http://127.0.0.1:9"}
    assert "https://conda.anaconda.org/" in micromamba.create("tinylib", **env).stderr


# --- private channels ----------------------------------------------------------------------------


def test_a_password_comes_from_netrc_and_stays_out_of_the_environment(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    channels.publish(
        CondaPackage("secret-tool", "1.0", files={"bin/secret-tool": "#!/bin/sh\n"}), "team"
    )
    channels.require_login("team", "jane", "s3cret")
    refused = micromamba.create("--channel", "team", "secret-tool")
    assert "status: 401" in refused.stderr
    netrc = micromamba.folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login jane password s3cret\n")
    assert micromamba.create("--channel", "team", "secret-tool", NETRC=str(netrc)).returncode == 0
    assert "secret-tool" in micromamba.installed()
    assert not _holds(micromamba.prefix, "s3cret")


def test_a_token_in_an_address_ends_up_in_the_environment_as_with_micromamba(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    channels.publish(
        CondaPackage("secret-tool", "1.0", files={"bin/secret-tool": "#!/bin/sh\n"}), "team"
    )
    channels.require_token("team", "tk-123")
    address = channels.url.replace("/conda", "/t/tk-123/conda/team")
    assert micromamba.create("--channel", "team", "secret-tool").returncode == 1
    result = micromamba.create("--channel", address, "secret-tool")
    assert result.returncode == 0, result.stderr
    assert "tk-123" not in result.stdout + result.stderr
    assert _holds(micromamba.prefix, "tk-123")


def test_so_does_a_token_of_authentication_json(
    micromamba: StandIn, channels: CondaChannels
) -> None:
    channels.publish(
        CondaPackage("secret-tool", "1.0", files={"bin/secret-tool": "#!/bin/sh\n"}), "team"
    )
    channels.require_token("team", "tk-123")
    home = micromamba.folder / "home"
    file = home / ".mamba/auth/authentication.json"
    file.parent.mkdir(parents=True)
    host = channels.url.partition("://")[2]
    file.write_text(json.dumps({f"{host}/team": {"type": "CondaToken", "token": "tk-123"}}))
    result = micromamba.create("--channel", "team", "secret-tool", HOME=str(home))
    assert result.returncode == 0, result.stderr
    assert "tk-123" not in result.stdout + result.stderr
    assert _holds(micromamba.prefix, "tk-123")


def _holds(folder: Path, text: str) -> bool:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


def test_certificates_are_those_of_mamba_not_of_requests(
    micromamba: StandIn, channels: CondaChannels, tmp_path: Path
) -> None:
    authority, tls = make_authority(tmp_path, "127.0.0.1")
    with serving_conda(channels, "127.0.0.1", tls=tls):
        env = {"MAMBA_CHANNEL_ALIAS": channels.url}
        result = micromamba.create("tinylib", REQUESTS_CA_BUNDLE=str(authority), **env)
        assert "(60) SSL peer certificate or SSH remote key was not OK" in result.stderr
        result = micromamba.create("tinylib", MAMBA_SSL_VERIFY=str(authority), **env)
        assert result.returncode == 0, result.stderr


# --- the channel itself --------------------------------------------------------------------------


def test_a_channel_can_be_changed_after_the_fact(
    micromamba: StandIn, channels: CondaChannels, small_channel: Path
) -> None:
    newer = python_module("tinylib", "3.0")
    channels.publish(newer)
    assert micromamba.builds("tinylib")["tinylib"] == "3.0-pyhd8ed1ab_0"
    channels.withdraw(newer)
    assert micromamba.builds("tinylib")["tinylib"] == "2.0-pyhd8ed1ab_0"
    channels.damage("tinylib-2.0")
    original = next((small_channel / "conda-forge/noarch").glob("tinylib-2.0*"))
    assert original.read_bytes() != channels.archive("tinylib-2.0").read_bytes()
