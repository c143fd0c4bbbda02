"""What a project declares is read, written for uv, and locked: image/project_lock.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

import project_lock
import project_requirements
from project_declared import Declared
from project_metadata import main_file
from tests.conftest import ROOT
from tests.support.locks import DEPENDENCIES
from tests.support.timing import commit
from tests.support.wheels import make_wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = "docker-amd64/dependencies/pyproject.toml"
FAMILY = {"torch": "2.15.0", "torchvision": "0.29.2", "torchaudio": "2.11.0"}
PYTORCH = """\
torchvision = { index = "pytorch" }

[[tool.uv.index]]
name = "pytorch"
url = "https://mirror.example/cpu"
explicit = true
"""
# A build backend in the project itself, which so needs no index.
OWN_BACKEND = """\
[build-system]
requires = ["torch>=2"]
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
import pathlib, torch

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    assert not torch.cuda.is_available(), torch.__version__
    info = pathlib.Path(folder, "x-0.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\\nName: x\\nVersion: 0\\n"
        + "".join(f"Requires-Dist: {line}\\n" for line in open("list.txt").read().splitlines())
    )
    return info.name
"""

Run = Callable[..., int]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The folder of the code, with docker-amd64/dependencies in it."""
    folder = tmp_path / "my code"
    put(folder, {"docker-amd64/dependencies/pyproject.toml": DEPENDENCIES})
    return folder


@pytest.fixture
def run(code: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program with the folders of `code`."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")

    def call(*words: str) -> int:
        options = [f"--versions={json.dumps(FAMILY)}", f"--code={code}", "--template-sh=./t.sh"]
        places = f"--dependencies={dependencies(code)}"
        return project_lock.main([*options, places, *words])

    return call


@pytest.fixture
def _without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lock` reads the project and resolves nothing."""
    monkeypatch.setattr(project_lock, "uv", lambda *_: None)


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))


def dependencies(code: Path) -> Path:
    return code / "docker-amd64/dependencies"


def written(code: Path) -> tuple[list[str], list[str]]:
    content = tomllib.loads((dependencies(code) / "project/pyproject.toml").read_text())
    project = content["project"]
    return project["dependencies"], project["optional-dependencies"]["dev"]


STATIC = """\
[project]
name = "My.Project"
version = "1"
dependencies = ["numpy", "einops==0.6.1"]
"""
CASES: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "nothing": ({"train.py": ""}, [], []),
    "only settings of tools": ({"pyproject.toml": "[tool.ruff]\nline-length = 9\n"}, [], []),
    "[project]": ({"pyproject.toml": STATIC}, ["einops==0.6.1", "numpy"], []),
    "a BOM": ({"pyproject.toml": "\ufeff" + STATIC}, ["einops==0.6.1", "numpy"], []),
    "extras and groups": (
        {
            "pyproject.toml": STATIC
            + """\
            [project.optional-dependencies]
            test = ["pytest>=8"]
            plot = ["matplotlib"]
            dev = ["my-project[test,plot]", "mypy"]
            [dependency-groups]
            Typing = ["types-six"]
            dev = [{include-group = "typing"}, "ruff"]
            """.replace("            ", "")
        },
        ["einops==0.6.1", "numpy"],
        ["matplotlib", "mypy", "pytest>=8", "ruff", "types-six"],
    ),
    "a group that includes itself": (
        {"pyproject.toml": STATIC + '[dependency-groups]\ndev = ["a", {include-group = "dev"}]\n'},
        ["einops==0.6.1", "numpy"],
        ["a"],
    ),
    "Poetry": (
        {
            "pyproject.toml": """\
            [tool.poetry]
            name = "x"
            package-mode = false
            [tool.poetry.dependencies]
            python = "^3.10"
            einops = "^0.7"
            torch = { version = "2.0.1+cu118", source = "t" }
            own = { version = "*", source = "t" }
            optional = { version = "1", optional = true }
            [tool.poetry.group.dev.dependencies]
            pytest = "^8"
            [tool.poetry.group.docs.dependencies]
            sphinx = "*"
            [[tool.poetry.source]]
            name = "t"
            url = "https://t.example/simple"
            priority = "explicit"
            """
        },
        ["einops<0.8,>=0.7", "own", "torch"],
        ["pytest<9,>=8"],
    ),
    "a backend that imports torch": (
        {
            "pyproject.toml": OWN_BACKEND,
            "setup.py": "",
            "backend.py": BACKEND,
            "list.txt": 'six>=1\nnew; python_version < "3"\npytest; extra == "test"\n'
            'old; python_version < "3" and extra == "test"\nsphinx; extra == "docs"\n',
        },
        ['new; python_version < "3"', "six>=1"],
        ["pytest"],
    ),
    "a setup.py that cannot be run": (
        {
            "pyproject.toml": OWN_BACKEND.replace('["."]', '["elsewhere"]'),
            "setup.py": "import private\nneeds = ['six', 'numpy']\nsetup(install_requires=needs)\n",
        },
        ["numpy", "six"],
        [],
    ),
    "a folder beside it": (
        {
            "pyproject.toml": """\
            [project]
            name = "x"
            dependencies = ["lib[fast]", "away", "kept"]
            [tool.uv.sources]
            lib = { path = "libs/lib", editable = true }
            away = { path = "../away" }
            kept = { git = "https://github.com/a/b", rev = "1" }
            """,
            "libs/lib/pyproject.toml": """\
            [project]
            name = "lib"
            dependencies = ["six", "x"]
            optional-dependencies = { fast = ["numba"] }
            [tool.uv.sources]
            x = { path = "../.." }
            """,
        },
        ["kept", "numba", "six"],
        [],
    ),
    "a workspace": (
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["p/*"]\nexclude = ["p/no"]\n'
            '[tool.uv.sources]\none = { workspace = true }\nsix = { index = "i" }\n'
            '[[tool.uv.index]]\nname = "i"\nurl = "https://i.example"\nexplicit = true\n',
            "p/one/pyproject.toml": '[project]\nname = "one"\ndependencies = ["six"]\n',
            "p/two/pyproject.toml": '[project]\nname = "two"\ndependencies = ["one", "rich"]\n',
            "p/no/pyproject.toml": '[project]\nname = "no"\ndependencies = ["bad"]\n',
        },
        ["rich", "six"],
        [],
    ),
    "pins of another PyTorch": (
        {
            "pyproject.toml": '[project]\nname = "x"\ndependencies = ["torch==1.13.1", "torchtext",'
            '"torchvision==0.14.1; sys_platform == \'linux\'", "torchaudio>=2", "triton==2.0",'
            '"nvidia-cublas-cu12==12.1", "nvidia-ml-py"]\n'
        },
        ["nvidia-ml-py", "torch", "torchaudio>=2", 'torchvision; sys_platform == "linux"'],
        [],
    ),
    "pins that the images or PyTorch cannot do with": (
        {
            "pyproject.toml": '[project]\nname = "x"\ndependencies = ["setuptools<70", "pip==24", '
            '"sympy==1.12", "xformers==0.0.25", "pywin32", "early==1.0+local", "six"]\n'
            '[tool.uv]\nconstraint-dependencies = ["setuptools<70", "six<2"]\n'
        },
        ["early==1.0+local", "six", "sympy", "xformers"],
        [],
    ),
}


CANNOT = "pins that the images or PyTorch cannot do with"


@pytest.mark.parametrize("case", CASES)
def test_what_a_project_declares_is_written_for_uv(code: Path, run: Run, case: str) -> None:
    files, requires, dev = CASES[case]
    put(code, files)
    assert run("read") == 0
    assert written(code) == (requires, dev)
    before = (dependencies(code) / "project/pyproject.toml").stat().st_mtime_ns
    assert run("read") == 0
    assert (dependencies(code) / "project/pyproject.toml").stat().st_mtime_ns == before


@pytest.mark.usefixtures("_without_uv", "wheels")
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("pins of another PyTorch", ("torch==1.13.1", "2.15.0", "update --data torch_version=")),
        ("pins of another PyTorch", ("torchtext", "left out")),
        (CANNOT, ("setuptools<70: left out", "entrypoint")),
        (CANNOT, ("sympy==1.12: taken without its version", "PyTorch needs")),
        (CANNOT, ("xformers==0.0.25: taken without its version",)),
        (CANNOT, ("pywin32: left out", "another platform")),
        ("extras and groups", ("plot",)),
        ("Poetry", ("docs",)),
        ("a folder beside it", ("away", "left out")),
        ("a folder beside it", ("libs/lib", "Python finds its modules there")),
        ("a setup.py that cannot be run", ("setup.py", "could not be run")),
        ("[project]", ("einops==0.6.1 (new), numpy (new)",)),
    ],
)
def test_what_is_not_as_written_is_said_in_one_line(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], case: str, words: tuple[str, ...]
) -> None:
    put(code, CASES[case][0])
    run("lock")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if all(word in line for word in words)]


def test_sources_of_the_project_go_along_and_those_of_dependencies_count_more(
    code: Path, run: Run
) -> None:
    put(code, CASES["a workspace"][0])
    put(code, {"p/one/pyproject.toml": '[project]\nname="one"\ndependencies=["six","torchvision"]'})
    file = dependencies(code) / "pyproject.toml"
    file.write_text(DEPENDENCIES + PYTORCH)
    run("read")
    uv = tomllib.loads((dependencies(code) / "project/pyproject.toml").read_text())["tool"]["uv"]
    assert uv["sources"] == {"six": {"index": "i"}, "torchvision": {"index": "pytorch"}}
    urls = {index["name"]: index["url"] for index in uv["index"]}
    assert urls == {"i": "https://i.example", "pytorch": "https://mirror.example/cpu"}


TEAM = """\
[project]
name = "x"
version = "0"
dependencies = ["early"]
[[tool.uv.index]]
url = "https://team.example/simple"
default = true
"""
OF_POETRY = CASES["Poetry"][0]["pyproject.toml"].replace('priority = "explicit"', "")
PDM = STATIC + '[[tool.pdm.source]]\nname = "t"\nurl = "https://${U}:${P}@t.example/simple"\n'


def test_limits_of_versions_count_for_all_until_the_project_drops_them(
    code: Path, run: Run
) -> None:
    file = dependencies(code) / "pyproject.toml"
    before = tomllib.loads(file.read_text())
    limits = 'override-dependencies = ["torch==2.7", "a==1"]\nconstraint-dependencies = ["b<2"]\n'
    put(code, {"pyproject.toml": f"{STATIC}[tool.uv]\n{limits}"})
    assert run("read") == 0
    uv = tomllib.loads(file.read_text())["tool"]["uv"]
    assert (uv["override-dependencies"], uv["constraint-dependencies"]) == (["a==1"], ["b<2"])
    put(code, {"pyproject.toml": CASES[CANNOT][0]["pyproject.toml"]})
    assert run("read") == 0
    assert tomllib.loads(file.read_text())["tool"]["uv"]["constraint-dependencies"] == ["six<2"]
    put(code, {"pyproject.toml": STATIC})
    assert run("read") == 0
    assert tomllib.loads(file.read_text()) == before


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        (TEAM, ["https://team.example/simple"]),
        (OF_POETRY, ["https://t.example/simple"]),
        (PDM, ["https://t.example/simple"]),
        (STATIC + '[tool.uv]\nextra-index-url = ["https://a.example"]\n', ["https://a.example"]),
        (STATIC + '[[tool.uv.index]]\nurl = "https://pypi.org/simple"\n', []),
    ],
)
def test_an_index_for_all_packages_is_asked_for_all_until_the_project_drops_it(
    code: Path, run: Run, text: str, urls: list[str]
) -> None:
    before = tomllib.loads((dependencies(code) / "pyproject.toml").read_text())
    put(code, {"pyproject.toml": text})

    def asked() -> list[str]:
        toml = tomllib.loads((dependencies(code) / "pyproject.toml").read_text())
        return [index["url"] for index in toml["tool"]["uv"].get("index", [])]

    assert run("read") == 0
    assert run("read") == 0
    assert asked() == urls
    put(code, {"pyproject.toml": STATIC})
    assert run("read") == 0
    assert asked() == []
    assert tomllib.loads((dependencies(code) / "pyproject.toml").read_text()) == before


@pytest.mark.parametrize(
    "text",
    [
        STATIC + '[[tool.uv.index]]\nurl = "https://jane:hunter2@team.example/simple"\n',
        STATIC.replace("numpy", "numpy @ https://hunter2@team.example/n-1-py3-none-any.whl"),
        STATIC + '[tool.uv.sources]\nnumpy = { git = "https://x:hunter2@team.example/n" }\n',
    ],
)
def test_a_password_is_refused_with_the_way_that_works(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    put(code, {"pyproject.toml": text})
    assert run("read") == 1
    said = capsys.readouterr().err
    assert "https://team.example/" in said
    assert "NETRC_FILE" in said
    assert "hunter2" not in said
    written_files = [file for file in dependencies(code).rglob("*") if file.is_file()]
    assert not [file for file in written_files if "hunter2" in file.read_text()]


@pytest.mark.usefixtures("_without_uv")
def test_a_file_that_cannot_be_read_loses_nothing_and_is_read_again(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(code, {"pyproject.toml": STATIC})
    run("read")
    put(code, {"pyproject.toml": STATIC + "x = ["})
    assert run("lock") == 0
    assert "pyproject.toml cannot be read" in capsys.readouterr().err
    assert written(code)[0] == ["einops==0.6.1", "numpy"]
    assert json.loads((dependencies(code) / "project/files.json").read_text()) == {"sha256": {}}


def test_a_folder_that_cannot_be_read_does_not_hide_the_others(code: Path, run: Run) -> None:
    put(code, CASES["a folder beside it"][0])
    put(code, {"libs/lib/pyproject.toml": "["})
    assert run("read") == 0
    assert written(code)[0] == ["kept"]
    put(code, CASES["a folder beside it"][0])
    run("read")
    put(code, {"libs/lib/pyproject.toml": "["})
    run("read")
    assert written(code)[0] == ["kept", "numba", "six"]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the only packages that uv finds."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("1.0", "2.0+local"):
        make_wheel(folder, "early", version)
    for name in ("late", "einops", "numpy", "hand", "scikit-learn"):
        make_wheel(folder, name, "0.6.1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "index").as_uri())
    return folder


@pytest.mark.usefixtures("wheels")
def test_add_writes_a_lower_bound_into_the_projects_own_file(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(code, {"pyproject.toml": "# mine\n" + STATIC})
    assert run("add", "--", "early", "late<2") == 0
    text = json.loads(capsys.readouterr().out)["written"]
    assert text.startswith("# mine\n")
    lines = tomllib.loads(text)["project"]["dependencies"]
    assert sorted(lines) == ["early>=2.0", "einops==0.6.1", "late<2", "numpy"]
    assert written(code)[0] == ["early>=2.0", "einops==0.6.1", "late<2", "numpy"]
    assert 'name = "early"' in (dependencies(code) / "uv.lock").read_text()
    assert (code / "pyproject.toml").read_text() == "# mine\n" + STATIC  # the host writes it
    put(code, {"pyproject.toml": text})
    assert run("add", "--dev", "--", "hand") == 0
    text = json.loads(capsys.readouterr().out)["written"]
    assert tomllib.loads(text)["dependency-groups"]["dev"] == ["hand>=0.6.1"]


@pytest.mark.usefixtures("wheels")
def test_add_writes_the_name_that_pypi_has(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else each later lock would say that the line is taken as another one."""
    put(code, {"pyproject.toml": STATIC})
    assert run("add", "--", "sklearn<1") == 0
    told = capsys.readouterr()
    assert "sklearn: taken as scikit-learn" in told.err
    lines = tomllib.loads(json.loads(told.out)["written"])["project"]["dependencies"]
    assert "scikit-learn<1" in lines
    assert "sklearn<1" not in lines


@pytest.mark.usefixtures("wheels")
def test_a_package_that_does_not_fit_is_added_nowhere(code: Path, run: Run) -> None:
    put(code, {"pyproject.toml": STATIC})
    run("read")
    before = {file: file.read_text() for file in dependencies(code).rglob("*") if file.is_file()}
    with pytest.raises(SystemExit):
        run("add", "--", "no-such-package")
    after = {file: file.read_text() for file in dependencies(code).rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"x.py": ""}, 0),
        (CASES["Poetry"][0], 1),
        ({"setup.py": ""}, 1),
        ({"setup.cfg": "[metadata]"}, 1),
    ],
)
def test_add_says_where_a_package_belongs_that_it_cannot_write(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], files: dict[str, str], status: int
) -> None:
    put(code, files)
    if status:
        with pytest.raises(SystemExit, match=str(status)):
            run("add", "--", "numpy<3")
    else:
        assert run("add", "--", "numpy<3") == 0
    said = capsys.readouterr()
    assert ("./t.sh add --image 'numpy<3'" in said.err) == bool(status)
    assert said.out == ("" if status else '{"written": null}\n')


@pytest.mark.usefixtures("wheels")
def test_remove_takes_a_package_out_of_every_list_and_out_of_the_lock(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    put(code, {"pyproject.toml": "# mine\n" + STATIC})
    assert run("add", "--", "early", "late<2") == 0
    put(code, {"pyproject.toml": json.loads(capsys.readouterr().out)["written"]})
    assert run("add", "--image", "--dev", "--", "early") == 0
    capsys.readouterr()
    assert run("remove", "--", "Early") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"]
    assert said["written"].startswith("# mine\n")
    lines = tomllib.loads(said["written"])["project"]["dependencies"]
    assert sorted(lines) == ["einops==0.6.1", "late<2", "numpy"]
    assert "early" not in (dependencies(code) / "pyproject.toml").read_text()
    assert 'name = "early"' not in (dependencies(code) / "uv.lock").read_text()
    put(code, {"pyproject.toml": said["written"]})
    assert run("remove", "--", "late") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], "late" in said["written"]) == (False, False)


@pytest.mark.usefixtures("wheels")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"x.py": ""}, ("nil", "No list of this project has nil.\n")),
        ({"pyproject.toml": STATIC}, ("enops", "Did you mean einops?")),
        (
            {"x.py": "", OWN: DEPENDENCIES.replace("\n[tool", 'torch = ["late"]\n\n[tool', 1)},
            (
                "late",
                "group torch of dependencies/pyproject.toml, the template's: ./t.sh update changes",
            ),
        ),
        (
            {"setup.py": "setup()", "setup.cfg": "[options]\ninstall_requires = late"},
            ("late", "setup.cfg says that this project requires late. Delete it there, and run: "),
        ),
    ],
)
def test_what_cannot_be_removed_is_said_with_its_reason_and_nothing_is_changed(
    code: Path,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    words: tuple[str, str],
) -> None:
    put(code, files)
    assert run("add", "--image", "--", "early") == 0
    before = {file: file.read_text() for file in dependencies(code).rglob("*") if file.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        run("remove", "--", "early", words[0])
    assert words[1] in capsys.readouterr().err
    after = {file: file.read_text() for file in dependencies(code).rglob("*") if file.is_file()}
    assert after == before


def test_what_others_need_stays_in_the_lock_and_they_are_named(
    code: Path, run: Run, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_wheel(wheels, "needy", "1.0", requires=["early"])
    put(code, {"x.py": ""})
    assert run("add", "--", "needy") == 0
    with pytest.raises(SystemExit, match="1"):
        run("remove", "--", "early")
    assert "it is in the lock because needy needs it" in capsys.readouterr().err
    assert run("add", "--", "early") == 0
    assert run("remove", "--", "early") == 0
    assert "early stays in the lock, which has it for needy." in capsys.readouterr().err


def test_a_backend_gets_a_version_of_three_numbers_in_place_of_one_from_git(
    code: Path, run: Run
) -> None:
    template = 'list = open("list.txt").read() + "later==%d.%d.%d" % tuple(version)\n'
    version = 'version = map(int, os.environ["UV_DYNAMIC_VERSIONING_BYPASS"].split("."))\n'
    backend = "import os\n" + BACKEND.replace(
        "    info =", f"    {version}    {template}    info =", 1
    ).replace('open("list.txt").read().splitlines()', "list.splitlines()")
    put(
        code,
        {"pyproject.toml": OWN_BACKEND + '[project]\nname = "x"\ndynamic = ["dependencies"]\n'},
    )
    put(code, {"backend.py": backend, "list.txt": ""})
    assert run("read") == 0
    assert "later==0.0.0" in written(code)[0]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"setup.py": "setup()", "setup.cfg": "[options]\ninstall_requires = six"}, "setup.cfg"),
        ({"setup.py": "setup(install_requires=[])", "setup.cfg": "[options]"}, "setup.py"),
        ({"setup.py": "setup(**all_of_it())", "setup.cfg": "[metadata]"}, "setup.py"),
        ({"setup.cfg": "[metadata]"}, "setup.cfg"),
        ({"pyproject.toml": "[tool.flit.metadata]"}, "pyproject.toml"),
    ],
)
def test_the_file_that_has_the_requirements_is_named(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], files: dict[str, str], name: str
) -> None:
    put(code, files)
    assert main_file(code) == name
    with pytest.raises(SystemExit):
        run("add", "--", "numpy")
    assert f"{name} says what this project requires" in capsys.readouterr().err


@pytest.mark.usefixtures("wheels")
@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock"])
def test_the_first_lock_has_the_versions_of_the_projects_own(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    put(
        code, {"pyproject.toml": '[project]\nname = "x"\nversion = "0"\ndependencies = ["early"]\n'}
    )
    put(code, {name: '[[package]]\nname = "early"\nversion = "1.0"\n'})
    assert run("lock") == 0
    assert f"dependencies/uv.lock, not {name}" in capsys.readouterr().err
    lock = tomllib.loads((dependencies(code) / "uv.lock").read_text())
    assert {one["name"]: one["version"] for one in lock["package"]}["early"] == "1.0"
    assert "manifest" not in lock
    assert run("lock", "--", "--upgrade") == 0
    assert f"not {name}" not in capsys.readouterr().err
    assert 'version = "2.0+local"' in (dependencies(code) / "uv.lock").read_text()


@pytest.mark.usefixtures("wheels")
def test_a_version_of_the_projects_own_lock_that_does_not_fit_leaves_the_others(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dependencies(code) / "pyproject.toml"
    own = DEPENDENCIES.replace("dependencies = []", 'dependencies = ["late", "hand<2"]')
    file.write_text(own)
    put(
        code,
        {
            "pyproject.toml": '[project]\nname = "x"\nversion = "0"\ndependencies = ["early"]\n'
            '[tool.uv]\nconstraint-dependencies = ["hand<1"]\n'
        },
    )
    pins = {"early": "1.0", "hand": "0.6.1", "late": "0.5", "setuptools": "75.0"}
    rows = [f'[[package]]\nname = "{name}"\nversion = "{pins[name]}"\n' for name in pins]
    put(code, {"uv.lock": "".join(rows)})
    assert run("lock") == 0
    said = capsys.readouterr().err
    assert "but for those that do not fit these images: late==0.5, setuptools==75.0." in said
    lock = tomllib.loads((dependencies(code) / "uv.lock").read_text())
    versions = {one["name"]: one["version"] for one in lock["package"]}
    assert (versions["early"], versions["late"]) == ("1.0", "0.6.1")


def test_the_rendered_file_is_that_of_a_project_without_metadata() -> None:
    rendered = ROOT / "template/docker-amd64/dependencies" / project_requirements.FILE
    assert rendered.read_text() == project_requirements.text_of(Declared())


def test_the_images_have_what_installs_the_project_without_an_index(code: Path, run: Run) -> None:
    build = (
        '["hatchling>=1.20", "Hatch_VCS", "setuptools>=61", "cython", "poetry-core @ https://x/y"]'
    )
    put(
        code,
        {
            "pyproject.toml": f'[project]\nname = "x"\n'
            'dependencies = ["einops", "hatch-vcs>=0.3"]\n'
            f"[build-system]\nrequires = {build}\n"
        },
    )
    assert run("read") == 0
    assert written(code)[0] == ["editables>=0.3", "einops", "hatch-vcs>=0.3", "hatchling>=1.20"]


@pytest.mark.usefixtures("wheels")
def test_an_address_that_cannot_be_had_stops_itself_and_not_the_lock(
    code: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    here, gone = code.parent / "here", code.parent / "gone"
    put(here, {"pyproject.toml": '[project]\nname = "here"\nversion = "1"\n'})
    commit(here)
    text = f"""\
        [project]
        name = "x"
        version = "0"
        dependencies = ["early", "here", "gone_one", "gone-two"]
        [tool.uv.sources]
        gone-two = {{ git = "file://{gone}" }}
        here = {{ git = "file://{here}" }}
        Gone-One = {{ git = "file://{gone}", rev = "main" }}
    """
    put(code, {"pyproject.toml": text})
    assert run("lock") == 0
    said = capsys.readouterr().err
    for name in ("gone-one", "gone-two"):
        assert f"pyproject.toml: {name} is left out, as file://{gone} cannot be had: " in said
    lock = (dependencies(code) / "uv.lock").read_text()
    assert 'name = "here"' in lock
    assert "gone" not in lock
    assert run("read") == 0  # before an `add`, which must not fail on them
    assert written(code)[0] == ["early", "here"]

    put(gone, {"pyproject.toml": '[project]\nname = "gone-two"\nversion = "1"\n'})
    commit(gone)
    put(code, {"pyproject.toml": text.replace('"gone_one", ', "")})
    assert run("lock") == 0
    assert "left out" not in capsys.readouterr().err
    assert 'name = "gone-two"' in (dependencies(code) / "uv.lock").read_text()


@pytest.mark.usefixtures("wheels")
@pytest.mark.parametrize("option", [[], ["--image"]], ids=["project", "image"])
def test_an_address_that_cannot_be_had_does_not_stop_an_add_before_the_first_lock(
    code: Path,
    run: Run,
    option: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    text = f"""\
        [project]
        name = "x"
        version = "0"
        dependencies = ["early", "gone"]
        [tool.uv.sources]
        gone = {{ git = "file://{code.parent / "gone"}" }}
    """
    put(code, {"pyproject.toml": text})
    assert run("add", *option, "late") == 0
    assert capsys.readouterr().err.count("gone is left out, as ") == 1
    lock = (dependencies(code) / "uv.lock").read_text()
    assert 'name = "late"' in lock
    assert "gone" not in lock
    # Nor does one that came after the lock. What was left out stays so.
    more = text.replace('"gone"', '"gone", "new"').replace("gone =", "new =")
    put(code, {"pyproject.toml": f"{more}    gone = {{ git = 'file://{code.parent}/gone' }}\n"})
    assert run("add", *option, "late") == 0
    said = capsys.readouterr().err
    assert "new is left out, as " in said
    lock = (dependencies(code) / "uv.lock").read_text()
    assert "gone" not in lock
    assert "new" not in lock


@pytest.mark.usefixtures("wheels")
def test_a_conflict_with_an_address_is_not_solved_by_leaving_it_out(
    code: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_OFFLINE")
    here = code.parent / "here"
    head = '[project]\nname = "{}"\nversion = "1"\ndependencies = {}\n'
    put(here, {"pyproject.toml": head.format("here", '["early<2"]')})
    commit(here)
    source = f'[tool.uv.sources]\nhere = {{ git = "file://{here}" }}\n'
    put(code, {"pyproject.toml": head.format("x", '["early>=2", "here"]') + source})
    with pytest.raises(SystemExit):
        run("lock")
    assert written(code)[0] == ["early>=2", "here"]
