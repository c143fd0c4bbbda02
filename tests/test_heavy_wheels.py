"""Heavy wheels have a layer of their own, which a light package does not change."""

from __future__ import annotations

import heavy_wheels

PYPI, OTHER = "https://pypi.example/simple", "https://other.example/simple"


def package(name: str, *sizes: int, index: str = PYPI, requires: tuple[str, ...] = ()) -> str:
    """A package of uv.lock with wheels of these sizes, and a source archive that is large."""
    wheels = "".join(
        f'    {{ url = "{index}/{name}-1-cp31{at}.whl", hash = "sha256:0", size = {size} }},\n'
        for at, size in enumerate(sizes)
    )
    return (
        f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ registry = "{index}" }}\n'
        f"{table('dependencies', *requires)}"
        f'sdist = {{ url = "{index}/{name}.tar.gz", hash = "sha256:0", size = 9999999 }}\n'
        f"wheels = [\n{wheels}]\n\n"
    )


def table(key: str, *names: str) -> str:
    """A list of dependencies in uv.lock; nothing for none."""
    lines = "".join(
        f'    {{ name = "{name}", marker = "python_full_version < \'4\'" }},\n' for name in names
    )
    return f"{key} = [\n{lines}]\n" if names else ""


def requirement(name: str) -> str:
    """A requirement as `uv export` prints it."""
    return f"{name}==1 ; sys_platform == 'linux' \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n"


LOCK = (
    'version = 1\n\n[[package]]\nname = "mine"\nversion = "0"\nsource = { virtual = "." }\n\n'
    + package("light", 1_999_999)
    + package("scipy", 30_000_000, 35_000_000)
    + package("torch", 900_000_000, index=OTHER)
    + package("maps", 2_000_000, 1, index=OTHER)
)


def test_the_heavy_ones_are_selected_with_their_hashes_and_indexes() -> None:
    given = "".join(map(requirement, ("light", "maps", "scipy", "torch")))
    assert heavy_wheels.selected(given, LOCK, {"torch"}) == (
        f"--extra-index-url {OTHER}\n--extra-index-url {PYPI}\n"
        + requirement("maps")
        + requirement("scipy")
    )


def test_one_more_light_package_changes_no_byte() -> None:
    before = requirement("maps") + requirement("scipy")
    after = requirement("light") + before + requirement("tiny")
    lock = LOCK + package("tiny", 100)
    assert heavy_wheels.selected(before, LOCK, set()) == heavy_wheels.selected(after, lock, set())


def test_without_a_heavy_one_there_is_nothing() -> None:
    assert heavy_wheels.selected(requirement("light"), LOCK, set()) == ""


def test_what_a_heavy_one_requires_belongs_to_it_and_so_does_what_the_template_requires() -> None:
    lock = (
        '[[package]]\nname = "mine"\nsource = { virtual = "." }\n\n[package.dev-dependencies]\n'
        + table("container", "pip", "project-requirements")
        + table("dev", "pytest")
        + "\n"
        + package("joblib", 300, requires=("tiny", "scikit"))  # in a circle
        + package("light", 300, requires=("tiny", "other"))
        + package("other", 300)
        + package("pip", 300)
        + package("pytest", 300)
        + package("scikit", 30_000_000, requires=("joblib", "from-source"))
        + package("from-source")
        + package("tiny", 300)
    )
    given = "".join(map(requirement, ("from-source", "joblib", "light", "other", "pip", "scikit")))
    assert heavy_wheels.selected(given + requirement("tiny"), lock, set()) == (
        f"--extra-index-url {PYPI}\n"
        + "".join(map(requirement, ("joblib", "pip", "scikit", "tiny")))
    )
