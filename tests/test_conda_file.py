"""Conda's environment files: what they say is read, single lines change, and the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import conda_file
from conda_file import FileError, add_channel, parse, put, remove, take

OURS = """\
# What is installed in the images.
name: demo
channels:
  - conda-forge
  - nodefaults
dependencies:
  # Owned by the template: answers decide.
  - python=3.12.*
  - pytorch=2.13.0
  - pip>=25.1
  - setuptools>=77
  # Yours:
"""
# What people have in such files, and what an editor of lines stumbles over.
NASTY = [
    "- 'x: y'",
    "dependencies: [numpy, {pip: [foo]}]",
    "{dependencies: [numpy]}",
    "dependencies:\n  - &a numpy\n  - *a\n",
    "dependencies:\n\t- numpy\n",
    "dependencies: numpy\n",
    "just text",
    "[1, 2]",
    "dependencies:\n  - - numpy\n",
    "dependencies:\n  -\n    numpy\n",
    "dependencies:\n  - pip: {a: b}\n",
    "dependencies:\n  - {a: b}\n",
    "dependencies:\n  - |\n    numpy\n  - scipy\n",
    "dependencies: !!python/object:os.system [x]\n",
    "a: b\n---\nc: d\n",
    "dependencies:\r  - numpy\r",
    "dependencies:\n  - numpy\u2028  - scipy\n",
    '"unclosed',
    "\ufeffdependencies:\n  - numpy\n",
    "dependencies:\n  - \u0000\n",
    "[" * 500,
]


@pytest.fixture(autouse=True)
def _parser_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's PyYAML parses in Python; other tests take the parser in C, which has other words."""
    monkeypatch.setattr(yaml, "SafeLoader", yaml.loader.SafeLoader)


def refusal(function: Callable[[], object]) -> str | None:
    """What a FileError says, which is one sentence on one line; None where there is none."""
    try:
        function()
    except FileError as error:
        return str(error)
    return None


def is_sentence(text: str | None) -> bool:
    return text is not None and "\n" not in text and len(text) < 200


# --- what is yours stays as it is -----------------------------------------------------------------


def test_a_package_is_added_under_yours_and_the_pip_part_comes_last() -> None:
    text = put(put(put(OURS, "numpy"), "requests", pip=True), "scipy>=1.10")
    assert text == OURS + ("  - numpy\n  - scipy>=1.10\n  - pip:\n      - requests\n")


def test_adding_again_replaces_the_line_in_its_place_and_keeps_its_comment() -> None:
    text = OURS + "  - numpy=1 # for the old code\n  - scipy\n"
    assert put(text, "NumPy >=2") == OURS + "  - NumPy >=2 # for the old code\n  - scipy\n"


def test_of_two_lines_for_one_package_one_is_left() -> None:
    text = OURS + "  - numpy>=1\n  - scipy\n  - numpy<2\n"
    assert put(text, "numpy=2") == OURS + "  - numpy=2\n  - scipy\n"


def test_what_the_template_owns_is_not_replaced() -> None:
    assert put(OURS, "setuptools<81") == OURS + "  - setuptools<81\n"
    assert remove(OURS, "setuptools") == OURS


@pytest.mark.parametrize(
    ("spec", "question"),
    [("python=3.11", "python_version"), ("pytorch", "torch_version"), ("cpuonly", "accelerator")],
)
def test_what_an_answer_decides_names_the_answer(spec: str, question: str) -> None:
    with pytest.raises(FileError, match=f"template.sh update --data {question}="):
        put(OURS, spec)


def test_the_pip_part_goes_with_its_last_line() -> None:
    text = put(put(OURS, "requests", pip=True), "rich", pip=True)
    assert remove(remove(text, "Requests", pip=True), "rich", pip=True) == OURS


def test_windows_line_ends_stay() -> None:
    text = put(OURS.replace("\n", "\r\n"), "numpy")
    assert text == (OURS + "  - numpy\n").replace("\n", "\r\n")


def test_a_file_without_a_last_line_end_gets_one() -> None:
    assert put("dependencies:\n- a", "b") == "dependencies:\n- a\n- b\n"


def test_an_emptied_file_can_be_added_to() -> None:
    assert parse(put("# only a comment\n", "numpy")).conda == ["numpy"]
    assert parse(put("dependencies:\n", "numpy", pip=True)).pip == ["numpy"]


def test_a_line_that_yaml_would_read_otherwise_is_quoted() -> None:
    line = "foo @ git+https://host/foo.git ; python_version < '3.13'"
    text = put(OURS, line, pip=True)
    assert parse(text).pip == [line]
    assert yaml.safe_load(text)["dependencies"][-1] == {"pip": [line]}


@pytest.mark.parametrize(
    "spec",
    ["", "  ", "- a", "a\nb: c", "# a", "a # b", "a @ b", "../a", "ü", "3.12", "a\x00", "x " * 100],
)
def test_what_names_no_conda_package_is_refused_in_one_sentence(spec: str) -> None:
    refused = refusal(lambda: put(OURS, spec))
    assert is_sentence(refused) or parse(put(OURS, spec)).conda == [" ".join(spec.split())]


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(FileError, match="NETRC_FILE") as caught:
        put(OURS, "foo @ git+https://user:hunter2@host/foo.git", pip=True)
    assert "hunter2" not in str(caught.value)


WORD = st.from_regex(r"[a-z]([a-z0-9_.-]{0,10}[a-z0-9])?", fullmatch=True)
OTHER = st.lists(
    st.tuples(WORD, st.sampled_from(["", "=1.*", " >=2,<3", "  # why: x"])), max_size=6
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Environment files with packages, comments and blank lines of all kinds."""
    indent, newline = draw(st.sampled_from(["", "  "])), draw(st.sampled_from(["\n", "\r\n"]))
    conda, pip = draw(OTHER), draw(OTHER)
    lines = ["# top", "channels: [conda-forge]", "dependencies:"]
    lines += [f"{indent}- python=3", f"{indent}# Yours:"]
    lines += [f"{indent}- {name}{rest}" for name, rest in conda]
    if pip:
        lines += [f"{indent}- pip:", *(f"{indent}  - {name}{rest}" for name, rest in pip)]
    return newline.join([*lines, "", "# the end", ""])


@settings(deadline=None)
@given(files(), WORD, st.booleans())
def test_every_other_line_stays_whatever_is_added_and_removed(
    before: str, name: str, pip: bool
) -> None:
    if name in conda_file.ANSWERS or name in conda_file.WITH_TORCH:
        return
    after = put(before, name, pip=pip)
    of = conda_file.pip_name if pip else conda_file.name_of
    others = [
        line for line in before.split("\n") if of(line.split("#")[0].strip(" -\r")) != of(name)
    ]
    left = iter(after.split("\n"))
    assert all(line in left for line in others), after  # in the same order
    meant, gone = parse(after), parse(remove(after, name, pip=pip))
    assert [of(line) for line in (meant.pip if pip else meant.conda)].count(of(name)) == 1
    assert of(name) not in map(of, gone.pip if pip else gone.conda)


@settings(deadline=None)
@given(st.one_of(st.sampled_from(NASTY), st.text(max_size=80)), WORD, st.booleans())
def test_a_strange_file_is_edited_rightly_or_refused_in_one_sentence(
    text: str,
    name: str,
    pip: bool,
) -> None:
    if name in conda_file.ANSWERS or name in conda_file.WITH_TORCH:
        return
    refused = refusal(lambda: put(text, name, pip=pip)) or refusal(lambda: parse(text))
    if refused:
        assert is_sentence(refused)
        return
    before, after = parse(text), parse(put(text, name, pip=pip))
    assert name in (after.pip if pip else after.conda)
    assert after.channels == before.channels
    assert (after.conda if pip else after.pip) == (before.conda if pip else before.pip)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="UTF-8"):
        conda_file.load(tmp_path / "environment.yml")
    with pytest.raises(FileError, match="cannot be read"):
        conda_file.load(tmp_path / "absent.yml")


def test_a_channel_comes_before_or_after_conda_forge_and_only_once() -> None:
    text = add_channel(add_channel(OURS, "bioconda"), "mine", first=True)
    assert parse(text).channels == ["mine", "conda-forge", "bioconda", "nodefaults"]
    assert add_channel(text, "bioconda") == text


# --- intake of an environment.yml -----------------------------------------------------------------


def test_a_choice_of_a_version_or_library_never_goes_unsaid() -> None:
    taken = take(
        "dependencies:\n  - _openmp_mutex=5.1=1_gnu\n  - pip\n  - pip=21\n  - setuptools=59.5.0\n"
        "  - blas=1.0=mkl\n  - blas\n"
    )
    assert taken.conda == ["pip=21", "setuptools=59.5.0", "libblas=*=*mkl"]
    assert taken.notes == [
        "blas=1.0=mkl: taken as libblas=*=*mkl, as conda-forge names it.",
        "blas: left out, conda-forge's packages choose their libblas.",
    ]


def notes_on(text: str) -> str:
    return "\n".join(take(text).notes)


def test_an_export_of_another_platform_is_taken_in_and_what_changed_is_named() -> None:
    taken = take(
        "name: old\nchannels: [pytorch, bioconda, defaults]\ndependencies:\n"
        "  - _libgcc_mutex=0.1=main\n  - python=3.10.4=h12debd9_0\n  - vc=14.2=h21ff451_1\n"
        "  - numpy=1.26.4=py310heeff2f4_0\n  - pytorch=2.0.1=py3.10_cuda11.8_cudnn8.7.0_0\n"
        "  - pytorch-cuda=11.8=h7e8668a_5\n  - torchvision=0.15.2=py310_cu118\n"
        "  - libblas=*=*mkl\n  - bioconda::samtools\n  - pip:\n    - -e .\n    - rich==13.0\n"
        "    - git+https://github.com/a/b.git@main\n    - torch==2.0.1+cu118\n"
        "    - nvidia-cublas-cu11==11.1\nprefix: C:\\conda\nvariables: {A: 1}\n"
    )
    assert taken.conda == ["numpy=1.26.4", "torchvision", "libblas=*=*mkl", "bioconda::samtools"]
    assert taken.pip == ["rich==13.0", "git+https://github.com/a/b.git@main"]
    assert (list(taken.before), list(taken.after)) == ([], ["bioconda"])
    notes = "\n".join(taken.notes)
    for said in (
        "defaults: left out of the channels, its owner charges for it.",
        (
            "python=3.10.4=h12debd9_0: left out, an answer decides it "
            "(template.sh update --data python_version=3.10)"
        ),
        "vc=14.2=h21ff451_1: left out, as it is for another platform.",
        "numpy=1.26.4=py310heeff2f4_0: taken without its build",
        "torchvision=0.15.2=py310_cu118: taken without its version",
        "torch==2.0.1+cu118: left out, an answer decides it",
        "-e .: left out",
        "prefix: left out",
        "variables (A): left out, export them in dependencies/pre-run.sh",
    ):
        assert said in notes


def test_what_was_taken_is_in_the_file_and_can_be_solved_from() -> None:
    taken = take("channels: [mine, conda-forge, other]\ndependencies: [numpy, {pip: [rich]}]\n")
    meant = parse(conda_file.add_all(OURS, taken))
    assert meant.channels == ["mine", "conda-forge", "other", "nodefaults"]
    assert (meant.conda, meant.pip) == (["numpy"], ["rich"])
    assert meant.owned == parse(OURS).owned


def test_a_token_is_neither_taken_nor_shown() -> None:
    text = (
        "channels:\n  - https://conda.anaconda.org/t/ab-12cd/mine\n  - https://me:hunter2@host.x/ch\n"
        "dependencies:\n  - pip:\n    - git+https://tok123@github.com/a/b.git\n"
        "    - --index-url https://me:hunter2@host/simple\n"
    )
    taken = take(text)
    assert list(taken.after) == ["https://conda.anaconda.org/mine", "https://host.x/ch"]
    assert taken.pip == ["git+https://github.com/a/b.git"]
    assert "CONDA_AUTH_FILE" in notes_on(text)
    assert "NETRC_FILE" in notes_on(text)
    for secret in ("ab-12cd", "hunter2", "tok123"):
        assert secret not in str(taken)


def test_many_lines_of_a_kind_are_one_note() -> None:
    lines = "".join(f"  - lib{number}=1.0=h{number}_0\n" for number in range(300))
    taken = take(f"dependencies:\n{lines}")
    assert len(taken.conda) == 300
    assert len(taken.notes) == 2
    assert "and 294 more" in taken.notes[0]
    assert "keep the lines of what you import" in taken.notes[1]


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "name: x\n", "just text\n", "- a\n", "a: [\n", "\t"]
)
def test_what_is_no_environment_file_is_one_sentence(text: str) -> None:
    with pytest.raises(FileError) as caught:
        take(text)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.one_of(st.sampled_from(NASTY), st.text(max_size=80)))
def test_no_file_makes_intake_fail_otherwise(text: str) -> None:
    refused = refusal(lambda: conda_file.add_all(OURS, take(text)))
    assert refused is None or is_sentence(refused)


def test_a_file_with_packages_of_its_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(OURS + "  - numpy\n")
    theirs = tmp_path / "theirs.yml"
    theirs.write_text("dependencies: [scipy]\n")
    assert conda_file.take_into(tmp_path, theirs, theirs.name) is None
    (tmp_path / "environment.yml").write_text(OURS)
    assert conda_file.take_into(tmp_path, theirs, theirs.name) == []
    assert (tmp_path / "environment.yml").read_text() == OURS + "  - scipy\n"


def test_a_requirements_file_goes_into_the_pip_part(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(OURS)
    theirs = tmp_path / "requirements.txt"
    theirs.write_bytes(
        b"# the paper's\r\nrich==13.0 \\\r\n    --hash=sha256:01 \\\r\n    --hash=sha256:02\r\n"
        b"torch==2.0\r\n-e .\r\ntorchvision\r\neinops>=0.8 ; python_version < '4'  # shapes\r\n"
    )
    notes = "\n".join(conda_file.take_into(tmp_path, theirs, theirs.name) or [])
    meant = parse((tmp_path / "environment.yml").read_text())
    assert meant.pip == ["rich==13.0", "einops>=0.8 ; python_version < '4'"]
    assert meant.conda == ["torchvision"]
    assert "torch==2.0: left out, an answer decides it" in notes
    assert "-e .: left out, as it is an option of pip." in notes
    assert "hash" not in notes


def test_a_pip_part_that_names_a_requirements_file_has_what_that_lists(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("rich\n-e .\n")
    text = "dependencies:\n  - pip:\n    - -r requirements.txt\n    - -r other.txt\n    - einops\n"
    taken = take(text, folder=tmp_path)
    assert taken.pip == ["rich", "einops"]
    assert taken.notes == ["-e ., -r other.txt: left out, as it is an option of pip."]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dependencies:\n\t- numpy\n", "mine.yml is no YAML in line 2: a tab is there"),
        ("name: x\ndependencies:\n  numpy: 1\n", "mine.yml, line 2: `dependencies:` is no list"),
        ("dependencies:\n  - numpy: 1\n", "mine.yml, line 2: a name is expected there."),
        ("dependencies:\n  - a\n - b\n", "mine.yml is no YAML in line 3"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(text: str, said: str) -> None:
    assert (refusal(lambda: parse(text, "mine.yml")) or "").startswith(said)


# --- between pip and conda ------------------------------------------------------------------------


LOCK = """\
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/numpy-1.26.4-py312heda63a1_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/noarch/rich-13.0-pyhd8ed1ab_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/linux-64/torchvision-0.20-cuda126_py312_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/linux-64/msgpack-python-1.1-py312h68727a3_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/linux-64/ffmpeg-7.1-gpl_h_0.conda#sha256:0
"""


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy 1.26.4", "numpy==1.26.4"),
        ("numpy >=1,<2", "numpy>=1,<2"),
        ("numpy=1.26.4=py312heda63a1_0", "numpy==1.26.4.*"),
        ("numpy>=1.20.*", "numpy>=1.20"),
        ("numpy=*=*openblas", "numpy"),
        ("numpy[build=x]", "numpy"),
        ("msgpack-python", "msgpack"),
        ("torchvision", "torchvision"),
    ],
)
def test_a_python_package_goes_over_to_pip_with_its_version(spec: str, line: str) -> None:
    environment = parse(put(OURS, spec))
    lines, _ = conda_file.to_requirements(environment, conda_file.python_packages(LOCK))
    assert lines == [line]


def test_what_pip_cannot_have_is_named() -> None:
    environment = parse(put(put(OURS, "ffmpeg"), "foo @ git+https://h/f.git", pip=True))
    lines, notes = conda_file.to_requirements(environment, conda_file.python_packages(LOCK))
    assert lines == ["foo @ git+https://h/f.git"]
    assert "ffmpeg: no Python package" in notes[0]
    assert "apt-runtime.txt" in notes[0]


def test_pips_lines_go_over_to_conda_but_for_what_must_match_its_pytorch() -> None:
    taken = conda_file.from_requirements(
        ["pandas>=2", "torchvision==0.20", "foo[x] ; python_version>'3'"]
    )
    assert taken.pip == ["pandas>=2", "foo[x] ; python_version>'3'"]
    assert taken.conda == ["torchvision"]
    assert "torchvision==0.20" in taken.notes[0]
