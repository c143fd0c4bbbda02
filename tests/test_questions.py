"""The questions: what they refuse and in which words, and what they suggest."""

from __future__ import annotations

import dataclasses
import functools
import keyword
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from copier import run_copy
from copier._user_data import Question
from hypothesis import example, given
from hypothesis import strategies as st

from hooks.compat import make_choices
from hooks.compat.table import load
from hooks.generate import make_computed
from tests.conftest import InGit
from tests.support.questionnaire import Answers, Questionnaire
from tests.support.updates import update_by_copier as update

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
TABLE = load()
ARM_LOADERS = ("/lib/ld-linux-aarch64.so.1", "/lib64/ld-linux-x86-64.so.2")
TEXTS = ("project_name", "package_name", "code_dir")
NONSENSE = {
    "empty": "",
    "blanks": "   ",
    "double quote": 'my"project',
    "single quote": "my'project",
    "command": "$(touch x)",
    "back-ticks": "`touch x`",
    "variable": "${HOME}",
    "two lines": "my\nproject",
    "a newline at the end": "project\n",
    "unicode": "größe",
    "other digits": "a\u0663",
    "leading dash": "-rf",
    "200 characters": "a" * 200,
    "Jinja": "{{ 7 * 7 }}",
    "semicolon": "a;b",
    "comment": "a #b",
    "backslash": "a\\b",
    "null byte": "a\0b",
}
# Settings of copier.yml that Copier knows; it ignores any other without a word.
SETTINGS = {
    *("_answers_file", "_conflict", "_envops", "_exclude", "_external_data", "_jinja_extensions"),
    *("_message_after_copy", "_message_after_update", "_message_before_copy"),
    *("_message_before_update", "_migrations", "_min_copier_version", "_preserve_symlinks"),
    *("_secret_questions", "_skip_if_exists", "_subdirectory", "_tasks", "_templates_suffix"),
}


@pytest.fixture(scope="module")
def plain(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree without its history: Copier reads it where it is."""
    folder = tmp_path_factory.mktemp("questions") / "hearth"
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns(".git"))
    return folder


@pytest.fixture(scope="module")
def questionnaire(plain: Path) -> Questionnaire:
    """The questions, for a project in a folder that is not there."""
    return Questionnaire(plain, plain.parent / "my-project")


@pytest.fixture(scope="module")
def known(questionnaire: Questionnaire) -> dict[str, Answers]:
    """All that is known after the default answers, for each kind of project."""
    kinds = questionnaire.values("project_kind", {"project_name": "a"})
    return {kind: next(questionnaire.combinations({"project_kind": [kind]}))[1] for kind in kinds}


def refusal(template: Path, folder: Path, **answers: Any) -> str:
    """Why these answers, given as data, are refused; nothing is written then."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  Copier's; every caller compares the words
        run_copy(str(template), folder, data=answers, defaults=True, quiet=True, skip_tasks=True)
    assert not folder.exists()
    return str(error.value)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("name", TEXTS)
def test_nonsense_as_data_is_refused_in_one_sentence(
    plain: Path, tmp_path: Path, name: str, value: str
) -> None:
    kind = {"project_kind": "existing" if name == "code_dir" else "new"}
    words = refusal(plain, tmp_path / "project", **kind, **{name: value})
    assert re.fullmatch(rf"Validation error for question '{name}': [A-Z][^\n]{{30,250}}\.", words)


@pytest.mark.parametrize("name", ["class", "match", "json", "torch", "pathlib", "tests"])
def test_a_package_that_would_hide_a_library_is_refused(
    plain: Path, tmp_path: Path, name: str
) -> None:
    words = refusal(plain, tmp_path / "project", project_kind="new", package_name=name)
    assert re.search(rf": {name} is .* your package would hide: choose another name\.$", words)


@pytest.mark.parametrize("name", ["Upper", "my-package", "_private", "3d", "a.b", "a__b", "a_"])
def test_a_name_that_cannot_be_imported_is_refused_as_package(
    plain: Path, tmp_path: Path, name: str
) -> None:
    assert "such as my_package." in refusal(
        plain, tmp_path / "project", project_kind="new", package_name=name
    )


@pytest.mark.parametrize("path", ["/etc", "~/code", "-x", "a:b", "code ", "$HOME"])
def test_a_code_folder_that_belongs_to_one_machine_is_refused(
    plain: Path, tmp_path: Path, path: str
) -> None:
    words = refusal(plain, tmp_path / "project", project_kind="existing", code_dir=path)
    assert "docker-amd64/.env as LOCAL_CODE_DIR" in words


@pytest.mark.parametrize(
    "cca", ["", "9.0,8.6", "7.5-9.0", "all", "sm_90", "9", "9.0 ", "7.5\n", "$(touch x)", "9.0+ptx"]
)
def test_what_is_no_list_of_compute_capabilities_is_refused(
    plain: Path, tmp_path: Path, cca: str
) -> None:
    words = refusal(plain, tmp_path / "project", accelerator="cuda", cca=cca)
    assert words.endswith("separated by blanks, such as 7.5 8.6+PTX.")


def test_a_capability_that_the_chosen_cuda_cannot_compile_for_is_refused_with_those_it_can(
    plain: Path, tmp_path: Path
) -> None:
    given_answers = {"accelerator": "cuda", "torch_version": "2.14.1", "cuda_version": "13.0"}
    words = refusal(plain, tmp_path / "project", **given_answers, cca="7.0 9.0")
    assert "CUDA 13.0 cannot compile for 7.0; it can for 7.5 8.0 8.6" in words


@pytest.mark.parametrize("gpus", ["a;b", "$(touch x)", "'", "-H100", "H100\n", "é", "H" * 201])
def test_what_is_no_list_of_gpu_names_is_refused(plain: Path, tmp_path: Path, gpus: str) -> None:
    words = refusal(plain, tmp_path / "project", accelerator="cuda", target_gpus=gpus)
    assert "separated by commas, 200 characters at most" in words


@pytest.mark.parametrize(
    "gpus", ["NVIDIA GH200 480GB", "H100, gb10", "GB200-NVL72", "DGX Spark", "Jetson AGX Orin"]
)
def test_a_gpu_beside_an_arm_processor_is_refused_with_the_reason(
    plain: Path, tmp_path: Path, gpus: str
) -> None:
    words = refusal(plain, tmp_path / "project", accelerator="cuda", target_gpus=gpus)
    assert "Projects are for x86_64 machines" in words
    assert f"and {gpus.rpartition(', ')[2]} is in a machine with an Arm processor" in words


def test_no_gpu_of_an_x86_64_machine_is_taken_for_one_beside_an_arm_processor() -> None:
    arm = re.compile(make_choices.arm_pattern(TABLE))
    for product in TABLE.products.values():
        for name in (product.name, *product.aliases):
            assert bool(arm.search(name)) == (product.host == "aarch64"), name
    assert not arm.search("DGX H100, DGX Station A100")


def filter_of(files: tuple[str, ...], path: str) -> list[str]:
    """Copier's fileglob on a machine that has these files."""
    return [path] if path in files else []


def test_who_asks_on_an_arm_processor_reads_what_the_project_is_for(
    questionnaire: Questionnaire,
) -> None:
    details = questionnaire.details["accelerator"]
    note = questionnaire.details["arm_note"]["default"]
    for files, told in ((ARM_LOADERS[:1], True), (ARM_LOADERS, False), ((), False)):
        environment = jinja2.Environment(autoescape=True)
        environment.filters["fileglob"] = functools.partial(filter_of, files)
        # Jinja applies a filter to a constant as it compiles, and tests keep what it compiled.
        said = environment.from_string(f"{{# {files} #}}{note}").render()
        asked = environment.from_string(details["help"]).render(arm_note=said)
        assert ("x86_64 machine: this one has an Arm processor)?" in asked) == told
        assert asked.endswith("?")


def test_every_choice_refuses_what_it_does_not_offer(
    questionnaire: Questionnaire, known: dict[str, Answers], plain: Path, tmp_path: Path
) -> None:
    choices = [name for name in questionnaire.names() if questionnaire.details[name].get("choices")]
    assert len(choices) > 4
    for name in choices:
        needed: Answers = {"cuda_version": {"accelerator": "cuda"}, "ci_host": {"extras": ["ci"]}}
        several = questionnaire.details[name].get("multiselect")
        wrong: Answers = {name: ["$(touch x)"] if several else "$(touch x)"}
        words = refusal(plain, tmp_path / "project", **needed.get(name, {}), **wrong)
        assert words.startswith(f"Invalid choice for '{name}': '$(touch x)' is not in [")
        offered = questionnaire.values(name, known["new"])
        assert repr(offered[-1][0] if several else offered[0]) in words


def test_a_greyed_choice_is_refused_with_the_reason_that_the_prompt_shows(
    questionnaire: Questionnaire, known: dict[str, Answers], plain: Path, tmp_path: Path
) -> None:
    for name in ("cuda_version", "python_version"):
        answers = known["new"] | {"accelerator": "cuda"}
        choices = questionnaire.question(name, answers)._formatted_choices
        greyed = [choice for choice in choices if choice.disabled]
        assert greyed
        words = refusal(
            plain,
            tmp_path / "project",
            accelerator="cuda",
            torch_version=answers["torch_version"],
            **{name: greyed[0].value},
        )
        assert words == f"Invalid choice for '{name}': {greyed[0].disabled}"


def greyed(questionnaire: Questionnaire, name: str, known: Answers) -> dict[str, str]:
    """The choices that cannot be taken, and why."""
    choices = questionnaire.question(name, known)._formatted_choices
    return {str(choice.value): str(choice.disabled) for choice in choices if choice.disabled}


@pytest.mark.parametrize("service", ["simple", "train", "devel", "ngc", "hub"])
def test_conda_is_refused_on_images_that_bring_their_own_pytorch(
    questionnaire: Questionnaire,
    known: dict[str, Answers],
    plain: Path,
    tmp_path: Path,
    service: str,
) -> None:
    choices = {"service": service, "accelerator": "cuda"}
    reasons = greyed(questionnaire, "package_manager", known["new"] | choices)
    if service not in ("ngc", "hub"):
        assert reasons == {}
        return
    (reason,) = reasons.values()
    assert reason == "the image has its own PyTorch, and conda would install a second one"
    words = refusal(plain, tmp_path / "project", **choices, package_manager="conda")
    assert words == f"Invalid choice for 'package_manager': {reason}"


def test_airflow_is_refused_for_pythons_that_its_lock_does_not_have(
    questionnaire: Questionnaire, known: dict[str, Answers], plain: Path, tmp_path: Path
) -> None:
    (line,) = re.findall(r"compile (\S+) .*--group airflow ", (ROOT / "Makefile").read_text())
    answers = known["new"] | {"torch_version": "2.8.0"}
    refused = {}
    for version in (*questionnaire.values("python_version", answers), "3.8", ""):
        reasons = greyed(questionnaire, "extras", answers | {"python_version": version})
        refused.update({version: reasons} if reasons else {})
    words = f"Airflow needs Python {line} or newer, and this project has Python"
    assert refused == {one: {"airflow": f"{words} {one}"} for one in ("3.9", "3.8")}
    choices = {"torch_version": "2.8.0", "python_version": "3.9", "extras": ["ssh", "airflow"]}
    assert refusal(plain, tmp_path / "project", **choices) == (
        f"Invalid choice for 'extras': {words} 3.9"
    )


def test_to_compile_pytorch_is_refused_with_conda(
    questionnaire: Questionnaire, known: dict[str, Answers], plain: Path, tmp_path: Path
) -> None:
    choices = {"service": "train", "package_manager": "conda", "torch_version": "2.13.0"}
    reasons = greyed(questionnaire, "pytorch_build", known["new"] | choices)
    assert reasons == {"source": "a compiled PyTorch is a wheel, for package_manager pip"}
    words = refusal(plain, tmp_path / "project", **choices, pytorch_build="source")
    assert words == f"Invalid choice for 'pytorch_build': {reasons['source']}"


def test_a_pytorch_that_conda_forge_has_not_built_is_greyed_with_the_reason(
    questionnaire: Questionnaire, known: dict[str, Answers], plain: Path, tmp_path: Path
) -> None:
    built, released = known["new"]["compat"]["conda"], known["new"]["compat"]["torch"]
    assert 1 < len(built) < len(released)
    conda = known["new"] | {"service": "simple", "package_manager": "conda"}
    absent = {
        version: f"no conda-forge build of PyTorch {version} is known yet"
        for version in released
        if version not in built
    }
    assert greyed(questionnaire, "torch_version", conda | {"accelerator": "cpu"}) == absent
    # Where no build is known to run on a GPU, the CPU's may still be taken.
    unsure = {
        version: next(iter(row["cuda"].values()))
        for version, row in built.items()
        if not row["default_cuda"]
    }
    assert greyed(questionnaire, "torch_version", conda | {"accelerator": "cuda"}) == {
        **absent,
        **unsure,
    }
    version, reason = next(iter(absent.items()))
    given_answers = {"package_manager": "conda", "torch_version": version}
    words = refusal(plain, tmp_path / "project", **given_answers)
    assert words == f"Invalid choice for 'torch_version': {reason}"


@pytest.mark.parametrize("service", ["simple", "train", "devel"])
def test_with_conda_the_cuda_lines_are_those_that_conda_forge_builds_for(
    questionnaire: Questionnaire, known: dict[str, Answers], service: str
) -> None:
    choices = {"service": service, "accelerator": "cuda", "package_manager": "conda"}
    for version, row in known["new"]["compat"]["conda"].items():
        answers = known["new"] | choices | {"torch_version": version, "pytorch_build": "wheel"}
        question = questionnaire.question("cuda_version", answers)
        assert {choice.value for choice in question._formatted_choices} == row["cuda"].keys()
        reasons = {line: reason for line, reason in row["cuda"].items() if reason}
        assert greyed(questionnaire, "cuda_version", answers).items() >= reasons.items()
        if row["default_cuda"]:
            assert question.get_default() == row["default_cuda"]
            assert question.get_default() in questionnaire.values("cuda_version", answers)


def test_a_framework_of_ones_own_from_conda_forge_gets_a_cuda_too(
    questionnaire: Questionnaire, known: dict[str, Answers]
) -> None:
    answers = known["new"] | {"accelerator": "cuda", "torch_version": "none"}
    conda = answers | {"package_manager": "conda"}
    question = questionnaire.question("cuda_version", conda)
    newest = next(iter(known["new"]["compat"]["conda"].values()))
    assert question.get_when()
    assert {choice.value for choice in question._formatted_choices} == newest["cuda"].keys()
    assert question.get_default() == newest["default_cuda"]
    assert not questionnaire.question("cuda_version", answers).get_when()


def test_the_compute_capabilities_of_an_ngc_release_are_those_of_its_own_torch(
    questionnaire: Questionnaire, known: dict[str, Answers]
) -> None:
    answers = known["new"] | {"service": "ngc", "accelerator": "cuda", "ngc_release": "24.06"}
    values = answers | {"cuda_version": "12.5", "cca": "auto", "target_gpus": ""}
    default = questionnaire.question("cca_default", values).get_default()
    # CUDA 12.5 compiles for 5.0 too, and NVIDIA's torch of that month does not.
    assert default == "auto 6.0 6.1 7.0 7.5 8.0 8.6 9.0+PTX"
    for release, row in known["new"]["compat"]["ngc"].items():
        if release < "25.01":
            assert min(map(float, row["cca"].replace("+PTX", "").split())) > 5.0, release


def test_no_package_can_hide_a_module_of_this_pythons_library() -> None:
    reserved = set((ROOT / "hooks/generate/reserved_names.txt").read_text().split())
    words = {*sys.stdlib_module_names, *keyword.kwlist, *keyword.softkwlist}
    assert {word.lower() for word in words if not word.startswith("_")} <= reserved
    assert {"torch", "torchvision", "src", "tests"} <= reserved
    assert all(name == name.lower() for name in reserved)


# --- anything a person can type ------------------------------------------------------------------

# Random text is nearly always refused; the rest comes close to what is allowed, or is.
near_misses = st.text(st.sampled_from("ab1_-. /$'\"`{}\n\t#:\u00e9"), max_size=60)
likely = st.from_regex(r"[a-z0-9_-]{1,60}") | st.from_regex(r"[\w ./-]{1,120}")
any_text = st.text(max_size=220) | near_misses | likely


@pytest.mark.parametrize("name", TEXTS)
@example(text="123")
@example(text="1_000")
@example(text="0x10")
@example(text="null")
@example(text="my code/ver 2")
@example(text="....//")
@given(text=any_text)
def test_any_text_is_refused_in_a_sentence_or_stays_the_text_that_it_is(
    questionnaire: Questionnaire, known: dict[str, Answers], name: str, text: str
) -> None:
    row = known["existing" if name == "code_dir" else "new"]
    question = questionnaire.question(name, row)
    try:
        answer = question.parse_answer(text)
        question.validate_answer(answer)
    except ValueError as error:
        words = str(error)
    else:
        words = ""
    if words:
        assert re.fullmatch(rf"Validation error for question '{name}': [^\n]{{30,}}\.", words)
        return
    assert answer == text
    row = row | {name: text}
    row["local_code_dir"] = questionnaire.question("local_code_dir", row).get_default()
    files = questionnaire.render(row)
    compose = yaml.safe_load(files["docker-amd64/compose.yaml"])
    code = compose["services"]["dev"]["volumes"][0]["source"]
    assert code == f"${{LOCAL_CODE_DIR:-{row['local_code_dir']}}}"
    env = files["docker-amd64/.env.example"].splitlines()
    assert f"LOCAL_CODE_DIR={shlex.quote(row['local_code_dir'])}" in env
    assert f"COMPOSE_PROJECT_NAME={row['project_name']}" in env
    tomllib.loads(files["docker-amd64/dependencies/pyproject.toml"])
    assert f'title="{row["project_name"]}"' in files["docker-amd64/Dockerfile"]
    if row["project_kind"] == "new":
        package = row["package_name"]
        assert package.isidentifier()
        assert tomllib.loads(files["pyproject.toml"])["project"]["scripts"] == {
            package.replace("_", "-"): f"{package}.__main__:main"
        }
        compile(files[f"src/{package}/__main__.py"], "__main__.py", "exec")
        compile(files[f"tests/test_{package}.py"], "test.py", "exec")


# --- suggested -----------------------------------------------------------------------------------

FOLDERS = {
    "My Project!": ("my-project", "my_project"),
    "3d": ("3d", "project_3d"),
    "code": ("code", "project_code"),
    "torch": ("torch", "project_torch"),
    "": ("project", "project"),
    "größe": ("gr-e", "gr_e"),
    "日本": ("project", "project"),
    "-_-": ("project", "project"),
    "a__b--c": ("a-b-c", "a_b_c"),
    "x" * 60: ("x" * 40, "x" * 40),
    "y" * 39 + "-z": ("y" * 39, "y" * 39),
    "9" * 60: ("9" * 40, "project_" + "9" * 40),
}


def suggested(questionnaire: Questionnaire, folder: str) -> tuple[str, str]:
    """The names that a folder of this name leads to; a ValueError if one would be refused."""
    project = questionnaire.question("project_name", {})
    assert isinstance(project.context, dict)
    project.context["_folder_name"] = folder
    answers = {"project_name": project.get_default(), "project_kind": "new"}
    answers["reserved_names"] = questionnaire.question("reserved_names", {}).get_default()
    return answers["project_name"], questionnaire.question("package_name", answers).get_default()


@pytest.mark.parametrize(("folder", "names"), FOLDERS.items())
def test_odd_folder_names_give_good_names(
    questionnaire: Questionnaire, folder: str, names: tuple[str, str]
) -> None:
    assert suggested(questionnaire, folder) == names


@given(folder=st.text(max_size=80))
def test_the_suggested_names_are_never_refused(questionnaire: Questionnaire, folder: str) -> None:
    project, package = suggested(questionnaire, folder)
    assert project
    assert package.isidentifier()


def defaults_for(plain: Path, folder: Path, files: dict[str, str], **given: Any) -> Answers:
    """The answers of a copy into a folder with these files, which stay as they are."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run_copy(str(plain), folder, data=given, defaults=True, quiet=True, skip_tasks=True)
    assert {name: (folder / name).read_text() for name in files} == files
    kept: Answers = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    return kept


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["train.py"], "existing"),
        (["requirements.txt"], "existing"),
        (["pyproject.toml"], "existing"),
        (["environment.yml"], "existing"),
        (["README.md", "src/pkg/__init__.py"], "existing"),
        (["README.md", "packages/a/pyproject.toml"], "existing"),
        (["notebooks/a.ipynb"], "existing"),
        (["notes.md"], "new"),
        # A new repository of GitHub, and what people have beside it.
        (["README.md", "LICENSE", ".gitignore", ".gitattributes", ".github/ISSUE.md"], "new"),
        (["README.md", "docs/conf.py", "venv/pyvenv.cfg", "venv/bin/activate_this.py"], "new"),
        ([], "new"),
    ],
)
def test_a_folder_with_code_is_taken_for_existing_code(
    plain: Path, tmp_path: Path, files: list[str], kind: str
) -> None:
    folder = tmp_path / "a [b]"
    assert defaults_for(plain, folder, dict.fromkeys(files, "x\n"))["project_kind"] == kind


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        (["environment.yml"], "conda"),
        (["environment.yaml", "setup.py"], "conda"),
        (["environment.yml", "requirements.txt"], "pip"),
        (["environment.yml", "pyproject.toml"], "pip"),
        (["conda-lock.yml", "pyproject.toml"], "conda"),
        (["pixi.toml"], "conda"),
        (["pixi.toml", "uv.lock"], "pip"),
        (["requirements/base.txt", "environment.yml"], "pip"),
        (["train.py"], "pip"),
    ],
)
def test_the_package_manager_follows_the_files(
    plain: Path, tmp_path: Path, files: list[str], manager: str
) -> None:
    kept = defaults_for(plain, tmp_path, dict.fromkeys(files, ""))
    assert kept["package_manager"] == manager


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        (".python-version", "3.11\n", "3.11"),
        (".python-version", "3.10\n", "3.10"),  # a number in YAML, which has lost its zero
        (".python-version", "# ours\ncpython-3.11.4\n3.13\n", "3.11"),
        (".python-version", "", "3.12"),
        (".python-version", "pypy3.9-7\n", "3.12"),
        (".python-version", "3.7.2\n", "3.12"),
        ("environment.yml", "dependencies: [python=3.10.4]", "3.10"),
        (
            "environment.yml",
            "dependencies: ['conda-forge::python >=3.9,<3.12', {pip: [x]}]",
            "3.11",
        ),
        ("environment.yml", "dependencies: [python>=3.9, python-dateutil=3.10]", "3.12"),
        ("environment.yml", "dependencies: ['python 3.10.*|3.11.*']", "3.11"),
        ("environment.yml", "dependencies: [python-dateutil=3.10]", "3.12"),
        ("environment.yml", "- no mapping", "3.12"),
        ("environment.yml", "dependencies:", "3.12"),
    ],
)
def test_the_python_follows_the_files(
    plain: Path, tmp_path: Path, file: str, text: str, version: str
) -> None:
    kept = defaults_for(plain, tmp_path, {file: text}, torch_version="2.13.0")
    assert kept["python_version"] == version


def test_a_file_that_is_no_yaml_stops_nothing_that_has_an_answer(
    plain: Path, tmp_path: Path
) -> None:
    files = {"environment.yml": "dependencies: [python=3.11"}
    with pytest.raises(yaml.YAMLError):
        defaults_for(plain, tmp_path, files)
    assert not (tmp_path / "docker-amd64").exists()
    assert defaults_for(plain, tmp_path, files, python_version="3.12")["python_version"] == "3.12"
    run_copy(str(plain), tmp_path, defaults=True, quiet=True, skip_tasks=True, overwrite=True)


def test_files_of_the_code_folder_count_and_those_outside_of_the_project_do_not(
    plain: Path, tmp_path: Path
) -> None:
    text = {"code/environment.yml": "dependencies: [python=3.11]", "code/train.py": ""}
    kept = defaults_for(plain, tmp_path / "inside", text, code_dir="code")
    assert (kept["package_manager"], kept["python_version"]) == ("conda", "3.11")
    (tmp_path / "environment.yml").write_text("dependencies: [python=3.11]")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/environment.yml").symlink_to(tmp_path / "environment.yml")
    kept = defaults_for(plain, tmp_path / "linked", {}, project_kind="existing")
    assert (kept["package_manager"], kept["python_version"]) == ("pip", "3.12")
    above = {"project_kind": "existing", "code_dir": ".."}
    kept = defaults_for(plain, tmp_path / "below", {}, **above)
    assert (kept["package_manager"], kept["python_version"]) == ("pip", "3.12")


def test_a_new_package_beside_files_keeps_each_of_them(plain: Path, tmp_path: Path) -> None:
    files = ("README.md", ".gitignore", ".gitattributes", "pyproject.toml", "tests/conftest.py")
    texts = dict.fromkeys((*files, ".github/workflows/image.yml"), "mine\n")
    given = {"project_kind": "new", "extras": ["ci"], "package_name": "pkg"}
    assert defaults_for(plain, tmp_path, texts, **given)["project_kind"] == "new"
    assert (tmp_path / "src/pkg/__init__.py").is_file()


@pytest.mark.parametrize("name", ["50%", "a\tb", "a\nb", "a ", "\x1b[2J", "a%20b/project"])
def test_a_folder_that_compose_cannot_read_is_refused_before(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert "in another folder." in refusal(plain, tmp_path / name)
    if "/" not in name:
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with pytest.raises(ValueError, match=r"in another folder\."):
            run_copy(str(plain), ".", defaults=True, quiet=True, skip_tasks=True)
        assert not list(Path().iterdir())


def test_a_folder_that_stops_copier_half_way_is_refused_before(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "docker-amd64").mkdir()
    (tmp_path / "docker-amd64/Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ValueError, match="add --overwrite"):
        defaults_for(plain, tmp_path, {})
    assert not (tmp_path / ".copier-answers.yml").exists()
    run_copy(
        str(plain), tmp_path, defaults=True, quiet=True, skip_tasks=True, overwrite=True
    )  # as the message says


@pytest.mark.parametrize("manager", ["pip", "conda"])
@pytest.mark.parametrize("service", ["simple", "train", "devel", "ngc", "hub"])
def test_a_service_alone_is_answer_enough_on_a_machine_without_a_gpu(
    plain: Path, tmp_path: Path, service: str, manager: str
) -> None:
    given = {"service": service, "package_manager": manager}
    if manager == "conda" and service in ("ngc", "hub"):
        return
    run_copy(str(plain), tmp_path, data=given, defaults=True, quiet=True, skip_tasks=True)
    kept = yaml.safe_load((tmp_path / ".copier-answers.yml").read_text())
    # Who asks for NVIDIA's image generates on a laptop for a server.
    assert kept["accelerator"] == ("cpu" if service == "simple" else "cuda")
    assert ("cuda_version" in kept) == (service not in ("simple", "ngc"))


def test_the_default_answers_work_together_for_every_torch(
    questionnaire: Questionnaire, known: Any
) -> None:
    for version in questionnaire.values("torch_version", known["new"]):
        answers = known["new"] | {"accelerator": "cuda", "torch_version": version}
        for name in ("cuda_version", "python_version"):
            question = questionnaire.question(name, answers)
            if question.get_when():
                assert question.get_default() in questionnaire.values(name, answers)


# --- copier.yml ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", make_computed.computed(make_computed.questions())[1:])
def test_a_computed_value_is_refused_with_the_answers_that_decide_it(
    plain: Path, tmp_path: Path, name: str
) -> None:
    rows = make_computed.questions()
    words = refusal(plain, tmp_path / "project", **{name: "x\nRUN touch /x"})
    assert words.startswith(f"Invalid choice for 'data': {name} is computed")
    asked = re.findall(r"Give those: (.*)\.$", words)
    assert [*", ".join(asked).split(", ")] == (make_computed.deciding(name, rows) or [""])


def test_an_update_refuses_a_computed_value_too(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="'data': contents is computed"):
        update(project, None, contents="x\nRUN touch /x")
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert after == before


A_LIST = "extras takes a list in brackets, such as 'extras=[ci, data]'; '[]' is none."
WRONG_DATA: dict[str, tuple[Answers, str]] = {
    "a typing error": ({"servise": "ngc"}, "servise is not a question. Did you mean service?"),
    "a part": ({"python": "3.12"}, "python is not a question. Did you mean python_version?"),
    "no name": ({"qwxz": "a"}, "qwxz is not a question. There are project_name, project_kind, "),
    "a name of Copier": ({"_x": "a"}, "_x is not a question. There are "),
    "neither yes nor no": ({"jit": "maybe"}, "jit takes yes or no, not 'maybe'."),
    "a number": ({"jit": 7}, "jit takes yes or no, not '7'."),
    "no list": ({"extras": "ci"}, A_LIST),
    "a bracket": ({"extras": "[ci"}, A_LIST),
    "the second": ({"jit": "no", "cude_version": ""}, "cude_version is not a question. Did "),
}


@pytest.mark.parametrize(("answers", "words"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_data_that_copier_would_ignore_or_misread_is_refused(
    plain: Path, tmp_path: Path, answers: Answers, words: str
) -> None:
    said = refusal(plain, tmp_path / "project", **answers)
    assert said.startswith(f"Invalid choice for 'data': {words}")


# For each question that is not always asked: answers with which it is not, and why.
UNASKED: dict[str, tuple[Answers, Any, str]] = {
    "package_name": ({"project_kind": "existing"}, "a", "project_kind == 'new'"),
    "code_dir": ({"project_kind": "new"}, "..", "project_kind == 'existing'"),
    "ngc_release": ({"service": "simple"}, "26.08", "service == 'ngc'"),
    "torch_version": ({"service": "ngc"}, "2.13.0", "service != 'ngc'"),
    "pytorch_build": ({"service": "devel"}, "wheel", "service == 'train'"),
    "cuda_version": ({"accelerator": "cpu"}, "13.0", "accelerator == 'cuda'"),
    "hub_image": ({"service": "simple"}, "devel", "service == 'hub'"),
    "cudnn": ({"service": "train"}, "no", "service == 'devel' or pytorch_build == 'source'"),
    "target_gpus": ({"accelerator": "cpu"}, "H100", "accelerator == 'cuda'"),
    "cca": ({"accelerator": "cpu"}, "8.0", "accelerator == 'cuda'"),
    "python_version": ({"service": "hub"}, "", "service not in ('ngc', 'hub')"),
    "linux_distro": ({"service": "ngc"}, "ubuntu-24.04", "service not in ('ngc', 'hub')"),
    "blas": ({"service": "train"}, "mkl", "pytorch_build == 'source'"),
    "magma": ({"service": "simple"}, True, "pytorch_build == 'source'"),
    "jit": ({"torch_version": "none"}, "yes", "torch_version != 'none'"),
    "ci_host": ({"extras": "[ssh]"}, "gitlab", "'ci' in extras"),
}


@pytest.mark.parametrize("name", UNASKED)
def test_an_answer_to_what_is_not_asked_is_refused_with_the_condition(
    plain: Path, tmp_path: Path, name: str
) -> None:
    answers, value, condition = UNASKED[name]
    words = refusal(plain, tmp_path / "project", **answers, **{name: value})
    said = f"{name} is asked only if {condition}. Leave it out, or change that answer."
    assert words == f"Invalid choice for 'unasked_data': {said}"


def test_every_question_with_a_condition_is_tested_without_it() -> None:
    rows = make_computed.questions()
    assert [*UNASKED] == [name for name, row in rows.items() if row.get("when", False)]


def test_the_answers_file_of_another_project_is_data(plain: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    run_copy(str(plain), one, defaults=True, quiet=True, skip_tasks=True)
    answers = yaml.safe_load((one / ".copier-answers.yml").read_text())
    assert "_src_path" in answers
    run_copy(str(plain), other, data=answers, defaults=True, quiet=True, skip_tasks=True)
    made = [folder / "docker-amd64/Dockerfile" for folder in (one, other)]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_update_forgets_an_answer_whose_question_was_removed(
    project: Path, in_git: InGit
) -> None:
    answers = project / ".copier-answers.yml"
    answers.write_text(f"{answers.read_text()}removed_question: a\n")
    in_git(project)
    update(project)
    assert "removed_question" not in answers.read_text()


def test_copier_yml_has_no_key_that_copier_would_ignore() -> None:
    content = yaml.safe_load((ROOT / "copier.yml").read_text())
    assert {key for key in content if key.startswith("_")} <= SETTINGS
    internal = {"var_name", "answers", "context", "jinja_env", "settings"}
    keys = {field.name for field in dataclasses.fields(Question)} - internal
    for name, details in content.items():
        if not name.startswith("_"):
            assert details.keys() <= keys, name


def test_every_question_says_in_one_line_what_it_wants(questionnaire: Questionnaire) -> None:
    for name in questionnaire.names():
        assert re.fullmatch(r"[A-Z][^\n]{10,100}[?.)]", questionnaire.details[name]["help"]), name


def numbers(node: yaml.Node | None) -> list[str]:
    """Values that YAML takes for a fraction or a date: versions without quotes (3.10 is 3.1)."""
    if isinstance(node, yaml.ScalarNode):
        wrong = node.tag.endswith((":float", ":timestamp"))
        return [f"{node.start_mark.name}:{node.start_mark.line + 1}: {node.value}"] if wrong else []
    if isinstance(node, yaml.MappingNode):
        return [found for pair in node.value for part in pair for found in numbers(part)]
    return [found for part in node.value for found in numbers(part)] if node else []


@pytest.mark.parametrize("path", ["copier.yml", "hooks/pins/pins.yml", "hooks/compat/choices.json"])
def test_every_version_is_quoted(path: str) -> None:
    with (ROOT / path).open() as file:
        assert not numbers(yaml.compose(file))


def test_rendered_choices_keep_their_versions_as_text(
    questionnaire: Questionnaire, known: Any
) -> None:
    for name in ("torch_version", "cuda_version", "python_version", "linux_distro"):
        question = questionnaire.question(name, known["new"])
        choices = yaml.compose(question.render_value(question.choices))
        assert not numbers(choices)


def test_the_page_on_choosing_has_each_question_and_each_choice() -> None:
    settings_of = yaml.safe_load((ROOT / "copier.yml").read_text())
    asked = {
        name: one
        for name, one in settings_of.items()
        if isinstance(one, dict) and one.get("help") and one.get("when") is not False
    }
    text = (ROOT / "docs/choose.md").read_text().split("## The questions")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`([a-z_]+)`", row[0])}
    assert asked.keys() <= told.keys()
    for name in ("extras", "clusters", "ci_host"):
        for label in asked[name]["choices"]:
            value = label.partition(":")[0]
            assert re.search(rf"\b{value}\b", " ".join(told[name]), re.IGNORECASE), value
