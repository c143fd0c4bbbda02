"""Conda's environment files: what they say is read, single lines change, and the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import conda_file
from conda_file import add_channel, parse, put, remove
from intake.family import ANSWERS, WITH_TORCH
from intake.names import name_of, pip_name
from intake.text import FileError

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


@given(files(), WORD, st.booleans())
def test_every_other_line_stays_whatever_is_added_and_removed(
    before: str, name: str, pip: bool
) -> None:
    if name in ANSWERS or name in WITH_TORCH:
        return
    after = put(before, name, pip=pip)
    of = pip_name if pip else name_of
    others = [
        line for line in before.split("\n") if of(line.split("#")[0].strip(" -\r")) != of(name)
    ]
    left = iter(after.split("\n"))
    assert all(line in left for line in others), after  # in the same order
    meant, gone = parse(after), parse(remove(after, name, pip=pip))
    assert [of(line) for line in (meant.pip if pip else meant.conda)].count(of(name)) == 1
    assert of(name) not in map(of, gone.pip if pip else gone.conda)


@given(st.one_of(st.sampled_from(NASTY), st.text(max_size=80)), WORD, st.booleans())
def test_a_strange_file_is_edited_rightly_or_refused_in_one_sentence(
    text: str,
    name: str,
    pip: bool,
) -> None:
    if name in ANSWERS or name in WITH_TORCH:
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


def test_all_lines_are_added_with_their_channels_around_conda_forge() -> None:
    text = conda_file.add_all(
        OURS, conda=["numpy"], pip=["rich"], channels=["mine", "conda-forge", "other", "nodefaults"]
    )
    meant = parse(text)
    assert meant.channels == ["mine", "conda-forge", "other", "nodefaults"]
    assert (meant.conda, meant.pip) == (["numpy"], ["rich"])
    assert meant.owned == parse(OURS).owned


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


# --- the lock -------------------------------------------------------------------------------------


LOCK = """\
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/numpy-1.26.4-py312heda63a1_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/noarch/rich-13.0-pyhd8ed1ab_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/linux-64/torchvision-0.20-cuda126_py312_0.conda#sha256:0
https://conda.anaconda.org/conda-forge/linux-64/ffmpeg-7.1-gpl_h_0.conda#sha256:0
"""


def test_a_lock_says_which_packages_are_for_python() -> None:
    known = conda_file.packages_in(LOCK)
    assert known == {"numpy": True, "rich": True, "torchvision": True, "ffmpeg": False}
