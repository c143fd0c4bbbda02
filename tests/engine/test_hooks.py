"""pre-install.sh and post-install.sh: what they may do, and what the images have of it."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.engine.conftest import MakeProject
from tests.support.build_log import stages_built
from tests.support.index import PackageIndex
from tests.support.process import run
from tests.support.project import Project

DEPENDENCIES = "docker-amd64/dependencies"
PRE_INSTALL = """\
#!/bin/bash
# A program of the distribution, and a file of this folder.
# as: root
apt-get update -qq
apt-get install -qqy --no-install-recommends tree
install -m 0644 site.conf /etc/site.conf
"""
# It has Python, the packages and uv, and is nobody who may change the rest of the image.
POST_INSTALL = """\
cp -r words /opt/venv/words
python - <<'END'
import os, pathlib, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
words = "words = open('/opt/venv/words/list.txt').read()"
(site / "of_hook.py").write_text(f"{words}; id = {os.getuid()}")
END
uv pip install by-hook
if echo x >/usr/share/of-hook; then exit 3; fi
"""
SEEN = "import by_hook, of_hook as m; print(m.words, m.id == 0, m.__file__, m.__cached__)"


@pytest.fixture(scope="module")
def hooked(project: MakeProject, index: PackageIndex) -> Project:
    """A project with both hooks, and its images; whoever changes a hook restores it."""
    index.add("by-hook")
    new = project("with hooks", light=True)
    new.write(f"{DEPENDENCIES}/pre-install.sh", PRE_INSTALL)
    new.write(f"{DEPENDENCIES}/pre-install/site.conf", "mirror = near\n")
    new.write(f"{DEPENDENCIES}/post-install.sh", POST_INSTALL)
    new.write(f"{DEPENDENCIES}/post-install/words/list.txt", "one two")
    new.build()
    return new


def in_image(image: str, command: str) -> str:
    done = run("docker", "run", "--rm", "--entrypoint=", image, "sh", "-c", command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("service", ["runtime", "dev"])
def test_an_image_has_what_the_hooks_made_and_nothing_of_their_user(
    hooked: Project, service: str
) -> None:
    image = hooked.image(service)
    assert in_image(image, "tree --version >/dev/null; cat /etc/site.conf") == "mirror = near\n"
    words, root, file, compiled = in_image(image, f"python -c '{SEEN}'").rsplit(maxsplit=3)
    assert (words, root) == ("one two", "False")
    # Whoever may change packages may change this, and it starts as fast as they do.
    made = in_image(image, f"stat -c '%u %g %A' {file} {compiled} /opt/venv/words")
    assert made == "0 50000 -rw-rw-r--\n0 50000 -rw-rw-r--\n0 50000 drwxrwxr-x\n"
    traces = "find / -xdev -uid 50000 2>/dev/null; ls /mnt /tmp; find /var/lib/apt/lists -type f"
    assert in_image(image, traces + " || true").split() == ["/mnt:", "/tmp:"]


def test_another_post_install_runs_only_that_again(hooked: Project) -> None:
    script = hooked.docker / "dependencies/post-install.sh"
    hooked.write(f"{DEPENDENCIES}/post-install.sh", POST_INSTALL + "echo 3 >/opt/venv/third\n")
    try:
        built = stages_built(hooked.build("runtime"))
        # The cache may have the stage that only takes the script, from another run of this test.
        assert built - {"post-install"} == {"post", "publish", "runtime"}
        assert in_image(hooked.image("runtime"), "cat /opt/venv/third") == "3\n"
    finally:
        hooked.write(f"{DEPENDENCIES}/{script.name}", POST_INSTALL)


@pytest.mark.parametrize(
    ("name", "script", "said"),
    [
        ("pre", "touch /opt/local/mine\ntouch /etc/x\n", "cannot touch '/etc/x': Permission"),
        ("pre", "\n# as: jane\ntrue\n", 'says "# as: jane": there is only "# as: root"'),
        ("post", "false | true\necho and goes on", 'write the line "# as: root" at its start'),
        ("post", "uv pip uninstall pip", "-install.sh removed /opt/venv/bin/pip"),
    ],
    ids=["is not root", "wants another user", "fails in a line", "removes a package"],
)
def test_a_hook_that_does_what_it_may_not_stops_the_build(
    hooked: Project, name: str, script: str, said: str
) -> None:
    file = hooked.docker / f"dependencies/{name}-install.sh"
    before = file.read_text()
    hooked.write(f"{DEPENDENCIES}/{file.name}", script)
    try:
        result = hooked.sh("build", "runtime")
    finally:
        hooked.write(f"{DEPENDENCIES}/{file.name}", before)
    assert result.returncode == 1
    assert said in result.stderr
    assert "and goes on" not in re.sub(r"RUN .*", "", result.stderr)
    assert "(failure: hook-failed)" in result.stderr
    assert f"dependencies/{file.name}" in result.stderr.splitlines()[-1]


def test_a_project_without_hooks_has_nothing_of_them(hooked: Project) -> None:
    for name in ("pre-install", "post-install"):
        shutil.rmtree(hooked.docker / "dependencies" / name)
        (hooked.docker / f"dependencies/{name}.sh").unlink()
    hooked.build("runtime")
    image = hooked.image("runtime")
    assert in_image(image, "ls -d /opt/venv/words /etc/site.conf /opt/local || true") == ""
    history = run("docker", "history", "--no-trunc", "--format", "{{.Size}} {{.CreatedBy}}", image)
    steps = re.findall(r"(?m)^(\S+) .*(?:install-hook\.sh|delta/post )", history.stdout)
    assert steps == ["0B", "0B"]
