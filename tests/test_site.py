"""The site: what its build refuses, and its pages in a real browser, from a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page

from hooks.generate.make_translations import languages
from tests.conftest import ROOT
from tests.support.browser import NARROW, browsing, unreadable
from tests.support.git import git
from website.build import DOCS, PLAIN, main
from website.links import Page as Html
from website.links import problems
from website.theme_words import words

TEXT = "article p, article a, article code, article td, article pre, .sidebar-tree a"

# A folder of docs in which each page has one fault, and the sentence that names it.
FAULTS = {
    "dead_link": ("[x](nowhere.md)", r"dead_link\.md:3: .*'nowhere\.md'"),
    "dead_anchor": ("[x](#nowhere)", r"dead_anchor\.md:3: .*'nowhere'"),
    "anchor_elsewhere": ("[x](index.md#nowhere)", r"anchor_elsewhere\.md:3: .*'nowhere'"),
    "no_image": ("![A plot](plot.png)", r"no_image\.md:3: .*plot\.png"),
    "jump": ("### Too deep", r"jump\.md\S*: .*H1 to H3"),
    "no_option": ("```{note}\n:nonsense: 1\nx\n```", r"no_option\.md\S*: .*nonsense"),
    "no_page": ("```{toctree}\nmissing\n```", r"no_page\.md:3: .*missing"),
    "dead_html": ('<a href="nowhere/">x</a>', r"dead_html\.html: the link nowhere/ leads to no"),
    "dead_place": ('<a href="#nowhere">x</a>', r"dead_place\.html: the link #nowhere leads to no"),
    "outside": ('<a href="../x">x</a>', r"outside\.html: the link \.\./x leads out of the site"),
    "host": ('<script src="https://x.example/x.js"></script>', r"host\.html: .* another host"),
    "silent": ('<img src="_static/furo.css">', r"silent\.html: .* has no alternative text"),
    "verb": ("    template.sh buidl dev", r"verb\.md:3: template\.sh has no verb buidl"),
    "option": ("`template.sh run -d --gups 1 x`", r"option\.md:3: .* run has no option --gups"),
    "match": ("    hearth match 5090 --drive 570", r"match\.md:3: hearth match has no .* --drive"),
    "question": ("`copier copy --data servise=ngc`", r"question\.md:3: servise is not a question"),
    "choice": ("`copier copy --data service=trian`", r"choice\.md:3: trian is no answer to serv"),
    "several": ("`--data 'extras=[ci, jupiter]'`", r"several\.md:3: \[ci, jupiter\] is no answer"),
    "list": ("`update --data extras=ci`", r"list\.md:3: ci is no answer to extras"),
    "switch": ("`update --data jit=maybe`", r"switch\.md:3: maybe is no answer to jit: yes, no"),
    "data": ("    make new DATA='servise=ngc'", r"data\.md:3: servise is not a question"),
    "value": ("    make new DATA='jit=no service=trian'", r"value\.md:3: trian is no answer"),
    "target": ("    make sight", r"target\.md:3: make has no target sight"),
    "set": ("`template.sh env --set SHM=2gb`", r"set\.md:3: SHM is not a key of \.env"),
    "refresh": ("`template.sh env --refresh CCA GPUIDS`", r"refresh\.md:3: GPUIDS is not a key"),
    "action": ("    template.sh airflow upp", r"action\.md:3: template\.sh airflow has no upp"),
    "command": ("    hearth matsch 5090", r"command\.md:3: hearth has no matsch"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "out"
    assert main([str(out), "--without-python"]) == 0
    return out


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a build with all faults says."""
    docs = tmp_path_factory.mktemp("faults") / "docs"
    docs.mkdir()
    names = "\n".join(FAULTS)
    (docs / "index.md").write_text(f"# Faults\n\n```{{toctree}}\n{names}\n```\n")
    for name, (text, _) in FAULTS.items():
        (docs / f"{name}.md").write_text(f"# Page\n\n{text}\n")
    (docs / "orphan.md").write_text("# In no toctree\n")
    (docs.parent / "README.md").write_text("    template.sh up --nonsense\n")
    with pytest.MonkeyPatch.context() as patch, (docs.parent / "said").open("w") as said:
        patch.setattr("sys.stderr", said)
        assert main([str(docs.parent / "out"), "--docs", str(docs)]) == 1
    return (docs.parent / "said").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def faults(browser: Page) -> Iterator[list[str]]:
    """Errors of the console, and requests that leave the folder; none after each test."""
    seen: list[str] = []
    listeners = {
        "console": lambda one: seen.append(one.text) if one.type == "error" else None,
        "pageerror": lambda one: seen.append(str(one)),
        "request": lambda one: None if local(one.url) else seen.append(one.url),
        # Leaving a page ends what it still loads.
        "requestfailed": lambda one: (
            None if one.failure == "net::ERR_ABORTED" else seen.append(one.url)
        ),
    }
    for event, listener in listeners.items():
        browser.on(event, listener)  # type: ignore[call-overload]
    yield seen
    for event, listener in listeners.items():
        browser.remove_listener(event, listener)
    assert seen == []


def local(url: str) -> bool:
    return url.startswith(("file:", "data:"))


@pytest.mark.parametrize(("name", "sentence"), [(name, one[1]) for name, one in FAULTS.items()])
def test_each_fault_of_a_page_is_named_with_its_place(
    refused: str, name: str, sentence: str
) -> None:
    assert re.search(rf"(?m)^.*{sentence}.*$", refused), name


def test_a_page_in_no_toctree_is_refused(refused: str) -> None:
    assert re.search(r"orphan\.md: .*toctree", refused)
    assert refused.endswith("above: mend these pages, then build again.\n")


def test_commands_of_the_first_page_are_those_of_the_readme(refused: str) -> None:
    assert "README.md:1: template.sh up has no option --nonsense" in refused


def test_links_that_work_on_github_lead_to_the_site_or_to_the_repository(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    up = "../" * (len(docs.parts) - 1) + ROOT.relative_to("/").as_posix()
    blob, site = "https://github.com/org/hearth/blob/HEAD", "https://org.github.io/hearth"
    links = {
        f"[a]({up}/SECURITY.md#b)": f"{blob}/SECURITY.md#b",
        f"[a]({up}/pyproject.toml)": f"{blob}/pyproject.toml",
        f"[a]({up}/hooks/)": "https://github.com/org/hearth/tree/HEAD/hooks",
        f"[a]({up}/README.md)": "index.html",
        f"[a]({up}/README.md#words)": "index.html#words",
        f"[a]({site}/)": "index.html",
        f"[a]({site}/index.html#words)": "index.html#words",
        "[index.md](index.md#words)": "index.html#words",
    }
    (docs / "index.md").write_text("# A\n\n## Words\n\n```{toctree}\nother\n```\n")
    (docs / "other.md").write_text("# Other\n\n" + "".join(f"- {link}\n" for link in links))
    assert main([str(tmp_path / "out"), "--docs", str(docs)]) == 0
    text = (tmp_path / "out/other.html").read_text()
    made = re.findall(r'<li><p><a [^>]*href="([^"]*)"', text)
    assert made == [*links.values()]
    assert ">Words</span></a></p></li>" in text  # in place of index.md


def test_links_into_a_folder_that_was_left_out_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/index.html").write_text('<script src="../b/x.js"></script><a href="../c/">c</a>')
    assert len([*problems(tmp_path)]) == 2
    assert [*problems(tmp_path, left_out="b")] == [
        "a/index.html: the link ../c/ leads to no file; a link to a folder needs its index.html."
    ]


def test_a_build_does_not_replace_a_folder_with_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    assert main([str(tmp_path)]) == 1
    assert "name another folder" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "thesis.tex"]


def toctree() -> list[str]:
    """The pages in their order, the one place of which is docs/index.md."""
    trees = re.findall(r"(?s)```\{toctree\}(.*?)```", (DOCS / "index.md").read_text())
    return re.findall(r"(?m)^[a-z]+$", "\n".join(trees))


def test_the_readme_lists_the_pages_in_their_order() -> None:
    text = (ROOT / "README.md").read_text().split("\n## More\n")[1]
    assert re.findall(r"(?m)^- \[.*?\]\(docs/([a-z]+)\.md\)", text) == toctree()


def test_the_quick_start_is_the_same_in_the_readme_and_on_its_page() -> None:
    readme, page = (ROOT / "README.md").read_text(), (DOCS / "start.md").read_text()
    block = re.compile(r"(?m)(?:^    .*\n)+")
    start = block.search(readme.split("\n## Quick start\n")[1])
    assert start
    assert start == block.search(page) or start[0] == block.findall(page)[0]


# The first lists what somebody may want, the second all decisions.
LISTS = {"compare", "decisions"}


@pytest.mark.parametrize("name", sorted({*toctree()} - LISTS))
def test_a_page_begins_with_what_the_reader_wants_and_the_command(name: str) -> None:
    first = (DOCS / f"{name}.md").read_text().partition("\n## ")[0]
    # A page that is translated names its languages first.
    assert re.match(r"# .+\n\n(<!--[^>]+-->\n\n.+\n\n<!--[^>]+-->\n\n)?You ", first)
    assert re.search(r"(?m)^(?:    |```sh\n)[\w$.]", first)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_pages_outside_of_the_site_lead_somewhere(site: Path, name: str) -> None:
    places: dict[str, set[str]] = {}
    for target in re.findall(r"\]\((?!\w+:)([^)#]*(?:#[^)]*)?)\)", (ROOT / name).read_text()):
        path, _, place = target.partition("#")
        assert (ROOT / path).exists(), target
        if place:
            # The first page has the text of README.
            page = path.replace("docs/", "").replace(".md", ".html") or "index.html"
            places.setdefault(page, Html((site / page).read_text()).places)
            assert place in places[page], target


def test_each_page_of_docs_that_a_file_names_exists() -> None:
    named = re.compile(r"(?<![\w/.:-])docs/(?:decisions/)?[a-z0-9-]+\.md\b")
    mine = Path(__file__).relative_to(ROOT).as_posix()
    for path in git(ROOT, "ls-files").split():
        if path not in ("CHANGELOG.md", mine) and (ROOT / path).is_file():
            for page in named.findall((ROOT / path).read_text(errors="replace")):
                assert (ROOT / page).is_file(), f"{path} names {page}"


def test_every_page_can_be_read_and_reports_no_error_and_asks_no_other_host(
    site: Path, browser: Page, faults: list[str]
) -> None:
    wrong = {}
    # Pages that are programs have tests of their own: they lack their Python here.
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        if name.split("/")[0] in PLAIN:
            continue
        browser.goto(file.as_uri())
        wrong[name] = [*unreadable(browser, TEXT), *faults]
        heading = browser.evaluate("document.querySelector('h1')?.textContent ?? ''")
        if name != "search.html" and not heading.strip("¶# \n"):
            wrong[name].append("it has no heading")
        faults.clear()
    assert {"index.html", "compatibility.html", "de/start.html"} < {*wrong}
    assert not {name: sentences for name, sentences in wrong.items() if sentences}


def test_each_page_leads_to_the_pages_that_are_programs(site: Path) -> None:
    for name in ("index.html", "de/start.html", "decisions/0024-the-matcher-does-not-guess.html"):
        links = Html((site / name).read_text()).links
        up = "../" * name.count("/")
        assert [f"{up}{program}/index.html" in links for program in PLAIN] == [True] * len(PLAIN)


def test_the_list_beside_a_translation_leads_to_the_pages_of_its_language(
    site: Path, browser: Page, faults: list[str]
) -> None:
    browser.goto((site / "de/start.html").as_uri())
    tree = browser.locator(".sidebar-tree")
    heading = browser.locator("h1").text_content() or ""
    assert tree.locator(".current-page a").text_content() == heading.rstrip("¶#")
    assert tree.locator("a[lang=en]", has_text="Packages").count()
    tree.locator("a[href='choose.html']").click()
    assert browser.url == (site / "de/choose.html").as_uri()
    assert faults == []


def words_around(page: Path) -> set[str]:
    """Texts and labels of a page outside its article, but for what is marked as English."""
    tree = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    for one in tree.select("article, script, style, title:not(svg *), body [lang=en]"):
        one.decompose()
    labels = ("aria-label", "placeholder", "title", "alt")
    found = [str(one[name]) for one in tree.find_all() for name in labels if name in one.attrs]
    return {*found, *(" ".join(text.split()) for text in tree.stripped_strings)}


@pytest.mark.parametrize("language", languages())
def test_words_around_a_translation_are_in_its_language(site: Path, language: str) -> None:
    english = words_around(site / "start.html")
    assert words(language).keys() <= english, "website/theme_words.yml: no page has these words"
    same = {word for word, other in words(language).items() if word == other}
    # Names, and titles of pages that are not translated.
    left = (words_around(site / language / "start.html") & english) - same - {"Furo", "Hearth"}
    assert left == set()


def test_search_finds_a_word_of_a_translation(site: Path, browser: Page, faults: list[str]) -> None:
    for word, page in (("Minuten", "de/start.html"), ("컨테이너", "ko/start.html")):
        browser.goto((site / page).as_uri())
        browser.locator("input[name=q]").fill(word)
        browser.keyboard.press("Enter")
        found = browser.locator("#search-results li a")
        found.first.wait_for()
        assert any(page in (one.get_attribute("href") or "") for one in found.all())
    assert faults == []


def test_search_finds_a_word_in_a_folder(site: Path, browser: Page, faults: list[str]) -> None:
    browser.goto((site / "index.html").as_uri())
    browser.locator("input[name=q]").fill("watchdog")
    browser.keyboard.press("Enter")
    found = browser.locator("#search-results li a")
    found.first.wait_for()
    assert any("gpus.html" in (one.get_attribute("href") or "") for one in found.all())
    assert faults == []


def test_a_phone_has_the_list_of_pages_behind_a_button(
    site: Path, browser: Page, faults: list[str]
) -> None:
    browser.set_viewport_size({"width": NARROW, "height": 640})
    browser.goto((site / "index.html").as_uri())
    browser.locator("label.nav-overlay-icon").click()
    assert browser.locator(".sidebar-tree a", has_text="Start in five").is_visible()
    # By keyboard, a link in it is reached without the button, and is then seen.
    browser.goto((site / "start.html").as_uri())
    box = browser.locator("input[name=q]")
    assert box.evaluate("one => one.getBoundingClientRect().x") < 0
    box.focus()
    browser.wait_for_function("document.activeElement.getBoundingClientRect().x >= 0")
    browser.set_viewport_size({"width": 1100, "height": 640})
    assert faults == []


def test_without_javascript_pages_and_their_order_can_be_read(site: Path, browser: Page) -> None:
    assert browser.context.browser
    page = browser.context.browser.new_page(java_script_enabled=False)
    page.goto((site / "start.html").as_uri())
    assert page.get_by_text("You want PyTorch in a container").is_visible()
    page.locator(".sidebar-tree a", has_text="GPUs").first.click()
    assert page.url == (site / "gpus.html").as_uri()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_follow_the_browser(
    site: Path, browser: Page, faults: list[str], scheme: str
) -> None:
    browser.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    browser.goto((site / "start.html").as_uri())
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert faults == []
