"""Projects whose package manager changes, without Copier."""

from __future__ import annotations

import json
from pathlib import Path

from hooks.generate import packages
from tests.support.process import run

ANSWERS = {
    "name": "demo",
    "package_manager": "conda",
    "python": "3.12",
    "torch": "2.13.0",
    "cuda": "",
    "accelerator": "cpu",
    "base_has_torch": False,
    "offered": {"python_version": ["3.14", "3.13", "3.12"]},
}


class Project:
    """A generated project in git."""

    def __init__(self, folder: Path, *, in_git: bool = True) -> None:
        """Without git, the old file is left beside the new one, as a copy does it."""
        self.root = folder / "my project"
        self.folder = self.root / packages.DEPENDENCIES
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.root / "docker-amd64/host").mkdir()
        self.describe("none")
        if in_git:
            self.git("init", "-q")

    def git(self, *arguments: str) -> str:
        """Run git as a person who has a name."""
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = run("git", *who, *arguments, cwd=self.root)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, **files: str) -> None:
        """What a person committed; a name has `_` for a dot."""
        self.write(**files)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text)

    def switch(self, **files: str) -> None:
        """What `copier update` does: it deletes what it does not render any more, edited or not."""
        for name in (
            "pyproject.toml",
            "environment.yml",
            "environment-dev.yml",
            "environment-cuda.yml",
        ):
            (self.folder / name).unlink(missing_ok=True)
        manager = "pip" if "pyproject_toml" in files else "conda"
        self.describe(manager)
        self.write(**files)

    def describe(self, manager: str) -> None:
        """What the template writes of the answers."""
        file = self.root / "docker-amd64/host/project.json"
        file.write_text(json.dumps({**ANSWERS, "package_manager": manager}))

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}
