"""After rendering: fill .env, move packages, check the answers here, print the next step."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from host.ask import capture
from host.env_file import ProbeError, read_env, read_or_explain
from host.facts import engine_line
from host.gpu_facts import GpuFacts, chosen_gpus, gpu_facts
from host.plain import plain
from host.probe import start_probe
from host.processor import wrong_processor
from host.project import EDITOR_FILE, me

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hooks.matcher import Advice, Choice, Host
    from hooks.update import after_update
    from host.facts import Facts
    from host.fill import Filled

# ruff: noqa: PLC0415  most is imported while the engine answers, or only where it is needed

FOLDER = Path("docker-amd64")
MOST_LINES = 5  # of the report on .env
MOST_OPTIONS = 8  # in the list of choices that work
KEEP = "Keep my choice"
COMMITTED = "once the project is committed"  # an update starts from a commit
# Other answers than a person may have taken by default, what is changed most often first.
EXAMPLES = (
    *(("accelerator", "cuda"), ("service", "train"), ("package_manager", "conda")),
    *(("python_version", "3.12"), ("python_version", "3.11"), ("project_kind", "existing")),
)
OF_THE_IMAGE = ("ngc", "hub")  # services whose images have their own PyTorch, so no conda
SCRIPT = f"{FOLDER}/template.sh"
IGNORED_FOLDERS = ("channels", "sources")  # each with a .gitignore, in projects that use it
RENOVATE = (  # where Renovate looks for its settings, and takes the first
    *("renovate.json", "renovate.json5", ".github/renovate.json", ".github/renovate.json5"),
    *(".gitlab/renovate.json", ".gitlab/renovate.json5"),
    *(".renovaterc", ".renovaterc.json", ".renovaterc.json5"),
)


@dataclass(frozen=True)
class Answers:
    """The answers that the hook needs, as Copier hands them to it."""

    service: str = "simple"
    accelerator: str = "cpu"
    torch: str = "none"
    cuda: str = "none"
    python: str = ""
    distro: str = ""
    flavour: str = ""
    ngc_release: str = ""
    pytorch_build: str = "wheel"
    cca: str = "auto"
    target_gpus: str = ""
    package_manager: str = "pip"
    code_dir: str = "."
    answers_file: str = ".copier-answers.yml"
    by_default: str = ""

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Answers:
        """Read `--name=value` arguments; ignore all others."""
        pairs = (argument[2:].partition("=") for argument in arguments if argument[:2] == "--")
        given = {name.replace("-", "_"): value for name, _, value in pairs}
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})

    @property
    def uses_gpus(self) -> bool:
        """Whether something in the images runs on GPUs: only then is there something to judge."""
        return self.accelerator == "cuda" and self.cuda != "none"

    @property
    def targets(self) -> list[str]:
        """The names of `target_gpus`."""
        return [name.strip() for name in self.target_gpus.split(",") if name.strip()]


def gpu_choices(facts: GpuFacts) -> dict[str, str]:
    """What a container can be given, UUID to a label: each GPU, or its MIG instances."""
    choices: dict[str, str] = {}
    for index, gpu in enumerate(facts.gpus):
        devices = gpu.mig if gpu.mig_enabled else (gpu,)
        for device in devices:
            size = f", {device.memory_mib / 1024:.0f} GiB" if device.memory_mib else ""
            choices[device.uuid] = f"{index}: {device.name}{size} ({device.uuid[:12]})"
    return choices


def ask_gpus(choices: Mapping[str, str]) -> str | None:
    """Let the user select GPUs; return GPU_IDS for .env, or None without an answer."""
    import questionary  # part of Copier; not there when somebody runs this by hand

    ticked = questionary.checkbox(
        "GPUs to use",
        choices=[questionary.Choice(label, uuid, checked=True) for uuid, label in choices.items()],
        validate=lambda answer: bool(answer) or "Tick at least one GPU.",
    ).ask()
    return ",".join(ticked) if ticked else None


def uses_gpu_ids(folder: Path) -> bool:
    """Whether GPU_IDS is a key of this project: only where `accelerator` is cuda."""
    example = folder / ".env.example"
    return example.is_file() and "GPU_IDS" in read_env(example.read_text("utf-8", "replace"))


def choose(facts: GpuFacts, folder: Path, *, ask: bool) -> dict[str, str]:
    """The values of .env that the user selects: GPU_IDS, if unset and there are several GPUs."""
    choices = gpu_choices(facts)
    known = read_env(read_or_explain(folder / ".env") or "")
    if not ask or len(choices) < 2 or "GPU_IDS" in known or not uses_gpu_ids(folder):  # noqa: PLR2004
        return {}
    try:
        ticked = ask_gpus(choices)
    except (ImportError, EOFError, OSError, KeyboardInterrupt):
        ticked = None
    return {"GPU_IDS": ticked} if ticked else {}


def host_lines(facts: GpuFacts) -> list[str]:
    """This machine in a few lines, with the command that fixes its engine, if any."""
    names = [gpu.name for gpu in facts.gpus]
    found = ", ".join(
        name if names.count(name) == 1 else f"{names.count(name)} x {name}"
        for name in dict.fromkeys(names)
    )
    driver = f", driver {facts.driver} (CUDA {facts.cuda or 'unknown'})" if facts.driver else ""
    lines = [f"Engine: {engine_line(facts.engine)}"]
    lines += [f"  Run: {facts.engine.fix}"] if facts.engine.fix else []
    return [*lines, f"GPU: {found}{driver}" if found else f"GPU: none ({facts.gpu_note})"]


def path_from(shell_folder: str | None, path: Path) -> str:
    """A path for a user's shell: relative, or absolute where that climbs more than one level."""
    if not shell_folder:
        return os.path.relpath(path)
    relative = os.path.relpath(path, Path(shell_folder).resolve())
    return str(path) if relative.startswith(os.path.join("..", "..")) else relative  # noqa: PTH118


def name_script(project: Path, shell_folder: str | None) -> None:
    """Let every message call template.sh by a path that the user's shell finds.

    An update was started by template.sh, which has said already how the user called it.
    """
    script = path_from(shell_folder, project / SCRIPT)
    os.environ.setdefault("TEMPLATE_SH", script if script[0] in "./" else f"./{script}")


def way_to(project: Path, shell_folder: str | None) -> str:
    """What precedes a command that runs in the project's folder: "cd ... && ", or nothing."""
    path = path_from(shell_folder, project)
    return "" if path == "." else f"cd {shlex.quote(path)} && "


def env_lines(filled: Filled) -> list[str]:
    """What has changed in .env, in at most MOST_LINES lines."""
    from host.fill import report

    lines = report(filled)
    if len(lines) > MOST_LINES:
        more = len(lines) - MOST_LINES + 1
        lines[MOST_LINES - 1 :] = [f"... and {more} more. To see all: {me()} env"]
    return lines


def target_cca(answers: Answers) -> tuple[dict[str, str], list[str]]:
    """What `cca: auto` means for the GPUs of `target_gpus`: CCA for .env, and a line on trouble.

    Raises:
        BadInputError: a name is nothing that the matcher can read.
    """
    if not (answers.uses_gpus and answers.targets and answers.cca == "auto"):
        return {}, []
    from hooks import matcher as match  # its table costs time, and most projects need none

    machine = match.host(None, answers.targets)
    unknown = [gpu.name for gpu in machine.gpus if not gpu.cc]
    if not unknown:
        return {"CCA": match.cca_of(machine)}, []
    why = f"The compute capability of {', '.join(unknown)} in target_gpus is not in the tables"
    return {}, [f"{why}. CCA is that of all GPUs of this CUDA build; set the answer cca instead."]


def chosen(answers: Answers) -> Choice:
    """The answers as the matcher reads them. Raises BadInputError."""
    from hooks import matcher as match  # its table costs time, and CPU projects need none

    return match.choice(
        service=answers.service,
        accelerator=answers.accelerator,
        torch=answers.torch,
        cuda=answers.cuda,
        python=None if answers.service == "ngc" else answers.python,  # the image brings its own
        cca=answers.cca,
        distro=answers.distro,
        flavour=answers.flavour or None,
        ngc_release=answers.ngc_release or None,
        pytorch_build=answers.pytorch_build,
        package_manager=answers.package_manager,
    )


def judged_machine(facts: GpuFacts, answers: Answers) -> tuple[Host | None, str]:
    """The machine that answers are judged for, and what a verdict adds of it.

    That is this one, or the GPUs of `target_gpus` with a new driver. Raises BadInputError.
    """
    from hooks import matcher as match

    targets = answers.targets
    if not targets:
        return match.from_probe(facts.as_dict()), ""
    branch = str(match.newest_branch(match.host(None, targets)))
    return match.host(branch, targets), f", with driver branch {branch}"


def judge(facts: GpuFacts, answers: Answers) -> tuple[Choice, Advice] | None:
    """What the matcher says of the answers on these GPUs; None where there is nothing to judge.

    Raises:
        BadInputError: an answer or a GPU's name is nothing that the matcher can read.
    """
    if not answers.uses_gpus:
        return None
    from hooks import matcher as match

    wanted, (machine, more) = chosen(answers), judged_machine(facts, answers)
    told = match.advice(machine, wanted)
    return wanted, told._replace(line=f"{told.line}{more}")


def compat_value(facts: GpuFacts, answers: Answers) -> dict[str, str]:
    """CUDA_COMPAT for .env, where the base image may have such a folder. Raises BadInputError."""
    if not answers.uses_gpus or answers.service == "simple":
        return {}
    from hooks import matcher as match

    machine, _ = judged_machine(facts, answers)
    return {"CUDA_COMPAT": match.compat_folder(machine, chosen(answers))}


def ask_option(told: Advice, wanted: Choice) -> str:
    """Let the user select a choice that works here; the command that takes it, or ""."""
    import questionary

    from hooks import matcher as match

    options = {option.label: option for option in told.options[:MOST_OPTIONS]}
    near = [label for label, one in options.items() if one.choice == told.choice_to_make]
    picked = questionary.select(
        f"{told.cause} What works on these GPUs?",
        choices=[*options, KEEP],
        default=next(iter([*near, *options])),
    ).ask()
    return match.command(wanted, options[picked].choice) if picked in options else ""


def one_line(error: BaseException) -> str:
    """What an exception says, in one line without a final stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def match_lines(facts: GpuFacts, answers: Answers, *, ask: bool) -> list[str]:
    """The verdict on the answers: one line where they work, else why not and what to type."""
    try:
        judged = judge(facts, answers)
    except Exception as error:  # noqa: BLE001  .env is filled, and the next step is still to be printed
        return [f"Compatibility was not checked: {one_line(error)}."]
    if judged is None:
        return []
    wanted, told = judged
    if told.verdict.startswith("works") or told.verdict == "unknown":
        why = [told.why] if told.verdict != "works" and told.why else []
        return [told.line, *why, *told.notes]
    command = told.command
    if ask and told.options:
        try:
            command = ask_option(told, wanted)
        except (ImportError, EOFError, OSError, KeyboardInterrupt):
            command = told.command
    if command.startswith(f"./{SCRIPT}"):
        command = me() + command[len(f"./{SCRIPT}") :]
    change = f"To change it, {COMMITTED}: {command}" if command else ""
    return [told.line, told.why, *([change] if change else [])]


def has_conda_files(project: Path) -> bool:
    """Whether a project has conda's files, or had them at the last commit."""
    name = f"{FOLDER}/dependencies/environment.yml"
    if (project / name).exists() or not in_git(project):
        return (project / name).exists()
    command = ["git", "cat-file", "-e", f"HEAD:./{name}"]
    try:
        done = subprocess.run(command, cwd=project, capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def package_lines(project: Path, answers: Answers, way: str) -> list[str]:
    """Which packages were moved to the project's package manager, and which were not."""
    try:
        if not has_conda_files(project):  # to read YAML would cost every copy a tenth of a second
            return []
        from hooks.generate import packages  # needs YAML, which only Copier's Python must have

        return packages.carry(project, answers.package_manager, answers.code_dir, way)
    except Exception as error:  # noqa: BLE001  .env is filled, and the next step is still to be printed
        return [f"Packages were not moved: {one_line(error)}."]


def folder_lines(project: Path) -> list[str]:
    """The folders of large files that an update leaves behind; git goes on to ignore the files."""
    lines = []
    for name in IGNORED_FOLDERS:
        ignore = project / FOLDER / name / ".gitignore"
        if ignore.exists() or not ignore.parent.is_dir() or not any(ignore.parent.iterdir()):
            continue
        command = ["git", "checkout", "--quiet", "HEAD", "--", str(ignore)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, cwd=project, capture_output=True, check=False, timeout=20)
        lines.append(f"{FOLDER / name} has files of yours, which these answers do not use.")
    return lines


def asks_for_another_python(file: Path, python: str) -> bool:
    """Whether a pyproject.toml may do so. The template's own does not; to read it costs time."""
    return file.is_file() and f'requires-python = ">={python}"\n' not in file.read_text(
        "utf-8", "replace"
    )


def python_lines(project: Path, answers: Answers) -> list[str]:
    """That a file of the project asks for another Python."""
    code = project / answers.code_dir
    names = ("setup.cfg", "Pipfile", ".python-version", "pixi.toml")
    if (
        not asks_for_another_python(code / "pyproject.toml", answers.python)
        and not any((code / name).is_file() for name in names)
        and not any(path.name[0] != "." for path in code.glob("*.y*ml"))
    ):
        return []
    try:
        from hooks.generate import wanted_python  # seldom needed

        command = f"To change it, {COMMITTED}: {me()} update --data"
        return wanted_python.lines(
            project, answers.code_dir, answers.python, command, answers.package_manager
        )
    except Exception as error:  # noqa: BLE001  a hint, without which the project is complete
        return [f"The Python that the project asks for was not read: {one_line(error)}."]


def notebook_lines(folder: Path) -> list[str]:
    """What notebooks import, where no file of existing code lists packages."""
    from host.notebook_imports import said_of_notebooks
    from host.project import read_project

    try:
        said = said_of_notebooks(read_project(folder))
    except Exception as error:  # noqa: BLE001  a hint, without which the project is complete
        return [f"The imports of notebooks were not read: {one_line(error)}."]
    return [said] if said else []


def ci_lines(project: Path) -> list[str]:
    """Which files the host of the repository does not find, and the command that places them."""
    if not (project / FOLDER / "host/ci.py").is_file():
        return []
    pipeline = FOLDER / "image.gitlab-ci.yml"
    on_gitlab = (project / pipeline).is_file()
    command = ["git", "rev-parse", "--show-prefix"]
    try:
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, check=False, timeout=20
        )
        lost = done.returncode == 0 and bool(done.stdout.strip())
        first = project / ".gitlab-ci.yml"
        lost = lost or (on_gitlab and str(pipeline) not in first.read_text("utf-8", "replace"))
    except (OSError, subprocess.TimeoutExpired):
        lost = False
    host = "GitLab" if on_gitlab else "GitHub"
    where = f"{host} reads workflows only in the repository's root. Run, now and after each update"
    lines = [f"{where}: {me()} ci place"] if lost else []
    settings = [name for name in RENOVATE if (project / name).is_file()]
    if len(settings) > 1:
        lines.append(f"Renovate reads {settings[0]} only, not {' or '.join(settings[1:])}.")
    return lines


def editor_lines(project: Path) -> list[str]:
    """What to do if the code has a dev container of its own, which a copy keeps."""
    own = project / ".devcontainer/devcontainer.json"
    if not (project / FOLDER / "host/devcontainer.py").is_file() or not own.is_file():
        return []
    if EDITOR_FILE in own.read_text("utf-8", "replace"):
        return []
    keep = "Your .devcontainer is kept, and does not start the containers of docker-amd64"
    return [f"{keep}. To have the template's, rename it and generate once more."]


def ignored_lines(project: Path, answers_file: str, shell_folder: str | None) -> list[str]:
    """What git ignores of the template by rules of the user, and what keeps it."""
    if not in_git(project) and not (project / ".gitignore").is_file():
        return []
    try:
        from hooks.generate import ignored

        template = Path(__file__).parents[2] / "template"
        return ignored.lines(project, template, answers_file, path_from(shell_folder, project))
    except Exception:  # noqa: BLE001  a hint, without which the project is complete
        return []


def answers_lines(project: Path, name: str) -> list[str]:
    """What to do if a copy has replaced the answers of another template."""
    if not in_git(project):
        return []
    command = ["git", "show", f"HEAD:./{name}"]
    try:
        done = subprocess.run(command, cwd=project, capture_output=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode or b"\nservice:" in done.stdout:
        return []
    back = f"git checkout HEAD -- {name}"
    lost = f"{name} had the answers of another template, which it needs for its updates"
    again = "generate again with Copier's -a .copier-answers.hearth.yml"
    return [f"{lost}. To restore it: {back}; then {again}"]


def trust_template(project: Path, answers_file: str) -> None:
    """Record the address that the user has named, with --trust, for a copy."""
    from host.checkout import recorded
    from host.trusted import trust

    try:
        answers = (project / answers_file).read_text("utf-8", "replace")
        trust(project / FOLDER, recorded(answers, "_src_path"))
    except OSError:
        return  # the first update asks


def in_git(project: Path) -> bool:
    """Whether a project is part of a repository, its own or one around it."""
    return any((folder / ".git").exists() for folder in (project, *project.parents))


def git_lines(project: Path, answers_file: str, shell_folder: str | None) -> list[str]:
    """The command that puts the project into git, if it is not in a repository."""
    if in_git(project) or not shutil.which("git"):
        return []
    path = path_from(shell_folder, project)
    git = "git" if path == "." else f"git -C {shlex.quote(path)}"
    # Existing code without a .gitignore may have data and results beside it.
    whole = (project / ".gitignore").is_file()
    what = "--all" if whole else f"{FOLDER} {shlex.quote(answers_file)}"
    commit = 'commit -m "Generate the project"'
    return [f"To put the project into git: {git} init && {git} add {what} && {git} {commit}"]


def default_lines(answers: Answers, *, told: bool) -> list[str]:
    """The answers taken by default, and how to change one; nothing if the questions were asked.

    `told` says that a line above has a command that changes answers.
    """
    taken = answers.by_default
    if not taken:
        return []
    lines = [f"Answers taken by default (all are in {answers.answers_file}): {taken}."]
    if not told:
        # Without the file that an answer follows: python_version=3.10 (.python-version).
        had = dict(pair.split(" (")[0].split("=", 1) for pair in taken.split(", "))
        if answers.service in OF_THE_IMAGE:
            had.pop("package_manager", None)
        for name, value in EXAMPLES:
            if had.get(name, value) != value:
                lines.append(f"To change one, {COMMITTED}: {me()} update --data {name}={value}")
                break
    return lines


def run(project: Path, arguments: Sequence[str], *, ask: bool) -> list[str]:
    """Do the hook's work in a project's root folder; the lines to show. Raises ProbeError."""
    folder = project / FOLDER
    if not folder.is_dir():
        raise ProbeError(f"{project} has no folder {FOLDER}.")
    shell_folder = os.environ.get("PWD")
    name_script(project, shell_folder)
    answers, way = Answers.parse(arguments), way_to(project, shell_folder)
    updated = updated_project(project, answers, way)
    kept = update_lines("restore_and_merge", updated)
    wait = start_probe(folder)
    new = not updated and not (folder / ".env").exists()  # not one that is generated once more
    # While the engine answers:
    if not updated:
        trust_template(project, answers.answers_file)
    more = [
        *ci_lines(project),
        *editor_lines(project),
        *ignored_lines(project, answers.answers_file, shell_folder),
        *([] if updated else answers_lines(project, answers.answers_file)),
    ]
    committed = committed_example(project) if updated else ""
    used, found = fill_env(folder, answers, wait, committed=committed, ask=ask)
    packages = package_lines(project, answers, way) + (folder_lines(project) if updated else [])
    python = [] if updated else python_lines(project, answers)
    stop = wrong_processor(used)
    # Where images do not run, a verdict on this machine's GPUs would only hide that.
    judged = [] if stop and not answers.targets else match_lines(used, answers, ask=ask)
    place = ", on an x86_64 machine" if stop and stop.name == "other-architecture" else ""
    return [
        *found,
        *([stop.sentence, f"  Run: {stop.command}"] if stop else []),
        *packages,
        *python,
        *(notebook_lines(folder) if new else []),
        *judged,
        *more,
        *kept,
        *(default_lines(answers, told=COMMITTED in "".join(judged)) if new else []),
        *(git_lines(project, answers.answers_file, shell_folder) if new else []),
        *(
            update_lines("lines", updated)
            if updated
            else [f"Next{place}: {way}./{SCRIPT} build dev"]
        ),
    ]


def fill_env(
    folder: Path, answers: Answers, wait: Callable[[], Facts], *, committed: str, ask: bool
) -> tuple[GpuFacts, list[str]]:
    """Write .env; the GPUs that it names, and the lines to show.

    `committed` is the .env.example that an update has started from.
    """
    from host.fill import fill

    facts = gpu_facts(wait())
    try:
        answered, notes = target_cca(answers)
    except Exception:  # noqa: BLE001  the verdict reports the same error
        answered, notes = {}, []
    filled, used = None, facts
    try:
        picked = choose(facts, folder, ask=ask)
        named = picked or read_env(read_or_explain(folder / ".env") or "")
        with contextlib.suppress(Exception):  # the verdict reports it
            used = used_gpus(facts, named)
            answered.update(compat_value(used, answers))
        filled = fill(folder, facts=facts, chosen=picked, answered=answered, committed=committed)
        used = used_gpus(facts, read_env(filled.merged.text))
    except Exception as error:  # noqa: BLE001  the rest of the work does not need it
        print(plain(not_filled(error)), file=sys.stderr)
    return used, [*host_lines(facts), *(env_lines(filled) if filled else []), *notes]


def used_gpus(facts: GpuFacts, settings: Mapping[str, str]) -> GpuFacts:
    """The facts with the GPUs that .env names, and the GPU access of its COMPOSE_FILE."""
    from host.accelerator import compose_files
    from host.gpus import access_kind, mechanism

    used = chosen_gpus(facts, settings.get("GPU_IDS", ""))
    how = mechanism(access_kind(compose_files(settings)[0]), facts.engine)
    return replace(used, access=replace(used.access, mechanism=how)) if how else used


def committed_example(project: Path) -> str:
    """The .env.example of the last commit, from which an update starts; "" if there is none."""
    return capture("git", "show", f"HEAD:./{FOLDER}/.env.example", cwd=project).stdout


def not_filled(error: BaseException) -> str:
    """The message if .env was not filled, with the command that does the same."""
    return f"The .env file was not filled: {one_line(error)}. Try again with {me()} env"


def updated_project(project: Path, answers: Answers, way: str) -> after_update.Project | None:
    """The project as an update has left it; None after a copy."""
    if os.environ.get("STAGE") != "after":  # Copier sets it for a migration only
        return None
    from hooks.update import after_update

    before = after_update.updated_from()
    if before is None:
        return None
    template = Path(__file__).parents[2]
    return after_update.Project(project, answers.answers_file, template, before, way)


def update_lines(step: str, updated: after_update.Project | None) -> list[str]:
    """The lines of one step after an update; nothing after a copy, or if the step fails.

    `step` is a function of after_update.
    """
    if updated is None:
        return []
    from hooks.update import after_update

    try:
        lines: list[str] = getattr(after_update, step)(updated)
    except Exception as error:  # noqa: BLE001  the update itself is complete
        return [
            f"The updated files were not checked: {one_line(error)}. Next: {updated.way}git status"
        ]
    return lines
