"""Git repositories of a stand-in for PyTorch's sources: small, with the same build interface.

PyTorch itself takes hours and tens of gigabytes to compile. The stand-in is named torch, has a
submodule on github.com, is compiled from C++ by CMake and ninja, reads the same environment
variables, and records in `torch.version.built` what they said. Its torchvision is an extension of
setuptools that cannot be built without it. What holds for them does not prove PyTorch compiles.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import run
from tests.support.serving import listening

SUBMODULE = "hearth-stand-in/tiny"

TORCH = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools", "cmake", "ninja", "numpy", "pyyaml", "typing-extensions"]
build-backend = "setuptools.build_meta"
""",
    "setup.py": '''\
"""As PyTorch's: CMake compiles, and variables of the environment decide what."""
import os, subprocess, sys, sysconfig
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

import numpy, yaml  # what PyTorch's build imports too

env = os.environ
on = lambda name: env.get(name, "1").upper() not in ("0", "OFF", "NO", "")
version = env.get("PYTORCH_BUILD_VERSION") or "0.0.0a0+git"
passed_on = ("BLAS", "BUILD_", "CMAKE_", "USE_")
built = {
    "version": version,
    "cuda": ".".join(env["CUDA_VERSION"].split(".")[:2]) if on("USE_CUDA") else None,
    "caches": [line.split()[1] for line in open("/proc/self/mounts") if " /var/cache/" in line],
    "settings": {
        name: env.get(name)
        for name in "BLAS MAX_JOBS TORCH_CUDA_ARCH_LIST USE_CUDA USE_CUDNN USE_MAGMA".split()
    },
}


class CMakeBuild(build_ext):
    def build_extension(self, extension):
        work = os.path.abspath("build/cmake")
        defines = {name: env[name] for name in env if name.startswith(passed_on)}
        defines |= {
            "CMAKE_BUILD_TYPE": "Release",
            "PYTHON_INCLUDE_DIR": sysconfig.get_path("include"),
            "SUFFIX": sysconfig.get_config_var("EXT_SUFFIX"),
            "TARGET_DIR": os.path.abspath(os.path.dirname(self.get_ext_fullpath(extension.name))),
        }
        arguments = [f"-D{name}={value}" for name, value in sorted(defines.items())]
        subprocess.check_call(["cmake", "-GNinja", "-S", ".", "-B", work, *arguments])
        subprocess.check_call(["cmake", "--build", work, "--", "-j", env["MAX_JOBS"]])


if not os.path.exists("third_party/tiny/tiny.h"):
    sys.exit("Could not find third_party/tiny. Did you run 'git submodule update --init'?")
with open("torch/version.py", "w") as file:
    file.write(f"__version__ = {version!r}\\ncuda = {built['cuda']!r}\\nbuilt = {built!r}\\n")
setup(
    name="torch",
    version=version,
    packages=["torch"],
    ext_modules=[Extension("torch._C", [])],
    cmdclass={"build_ext": CMakeBuild},
    install_requires="filelock typing-extensions>=4.10.0 sympy networkx jinja2 fsspec".split(),
)
''',
    "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.18)
project(Torch CXX)
set(CMAKE_CXX_STANDARD 17)
add_library(_C MODULE csrc/module.cpp csrc/sum.cpp csrc/product.cpp third_party/tiny/tiny.cpp)
target_include_directories(_C PRIVATE third_party/tiny ${PYTHON_INCLUDE_DIR})
set_target_properties(_C PROPERTIES PREFIX "" SUFFIX "${SUFFIX}"
  LIBRARY_OUTPUT_DIRECTORY "${TARGET_DIR}")
if(BLAS STREQUAL "OpenBLAS")
  find_library(OPENBLAS openblas REQUIRED)
  target_compile_definitions(_C PRIVATE WITH_BLAS)
  target_link_libraries(_C PRIVATE ${OPENBLAS})
elseif(BLAS STREQUAL "MKL")
  find_path(MKL_INCLUDE_DIR mkl.h REQUIRED)
  find_library(MKL_CORE libmkl_core.a REQUIRED)
  find_library(MKL_THREAD libmkl_gnu_thread.a REQUIRED)
  find_library(MKL_LP64 libmkl_gf_lp64.a REQUIRED)
  find_package(OpenMP REQUIRED)
  target_compile_definitions(_C PRIVATE WITH_BLAS)
  target_link_libraries(_C PRIVATE -Wl,--start-group ${MKL_LP64} ${MKL_THREAD} ${MKL_CORE}
    -Wl,--end-group OpenMP::OpenMP_CXX dl m pthread)
endif()
""",
    "csrc/module.cpp": """\
#include <Python.h>
#include "tiny.h"

double sum(double, double);
double product(double, double);

static PyObject* compute(PyObject*, PyObject*) {
  return PyFloat_FromDouble(sum(product(3, 4), tiny()));
}

static PyMethodDef methods[] = {{"compute", compute, METH_NOARGS, "3 * 4 + the submodule's"}, {}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, methods};

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&module); }
""",
    "csrc/sum.cpp": "double sum(double a, double b) { return a + b; }\n",
    "csrc/product.cpp": """\
#ifdef WITH_BLAS
extern "C" double cblas_ddot(int, const double*, int, const double*, int);
double product(double a, double b) { return cblas_ddot(1, &a, 1, &b, 1); }
#else
double product(double a, double b) { return a * b; }
#endif
""",
    "torch/__init__.py": """\
import typing_extensions

from torch import __config__, cuda, version
from torch._C import compute
from torch.version import __version__, built
""",
    "torch/cuda.py": """\
import re

from torch.version import built


def is_available():
    return False


def device_count():
    return 0


def get_arch_list():
    codes = []
    for target in re.split("[ ;]+", built["settings"]["TORCH_CUDA_ARCH_LIST"] or ""):
        number = target.replace("+PTX", "").replace(".", "")
        codes += [f"sm_{number}"] if number else []
        codes += [f"compute_{number}"] if "+PTX" in target else []
    return codes
""",
    "torch/__config__.py": """\
from torch.version import built


def show():
    return f"stand-in built with {built}"
""",
}

VISION = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
""",
    "setup.py": '''\
"""As torchvision's: an extension that PyTorch, already installed, helps to build."""
import os
from setuptools import Extension, setup

import torch

version = os.environ.get("BUILD_VERSION") or "0.0.0a0"
with open("torchvision/version.py", "w") as file:
    file.write(f"__version__ = {version!r}\\nbuilt_with = {torch.__version__!r}\\n")
setup(
    name="torchvision",
    version=version,
    packages=["torchvision"],
    ext_modules=[Extension("torchvision._C", ["csrc/vision.cpp"])],
    install_requires=["numpy", f"torch=={torch.__version__}", "pillow>=5.3.0,!=8.3.*"],
)
''',
    "csrc/vision.cpp": """\
#include <Python.h>

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr};

PyMODINIT_FUNC PyInit__C() { return PyModule_Create(&module); }
""",
    "torchvision/__init__.py": """\
import numpy, PIL, torch

from torchvision import _C
from torchvision.version import __version__, built_with
""",
}

TINY = {
    "tiny.h": "double tiny();\n",
    "tiny.cpp": '#include "tiny.h"\ndouble tiny() { return 30; }\n',
}

MAGMA = {
    "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.18)
project(Magma CXX)
add_library(magma STATIC magma.cpp)
set_target_properties(magma PROPERTIES ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
file(WRITE "${CMAKE_BINARY_DIR}/include/magma_config.h" "// ${GPU_TARGET}\\n")
""",
    "include/magma.h": "int magma();\n",
    "magma.cpp": '#include "include/magma.h"\nint magma() { return 1; }\n',
}


@dataclass(frozen=True)
class TorchSources:
    """The stand-in's repositories: bare ones in `folder`, by their paths on github.com.

    Attributes:
        folder: what LOCAL_SOURCES_DIR names, or what a git server serves.
        work: where each has a work tree to commit in.
    """

    folder: Path
    work: Path

    def repository(self, name: str) -> Path:
        """The bare repository of a name such as pytorch/pytorch."""
        return self.folder / f"{name}.git"

    def commit(self, name: str, files: dict[str, str], tag: str) -> str:
        """Commit these files to a repository, tag the commit, and give its full name."""
        tree = self.work / name
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        git(tree, "add", "--all")
        git(tree, "commit", "--quiet", "--message", f"a state of {name}")
        git(tree, "tag", "--force", tag)
        git(tree, "push", "--quiet", "--force", str(self.repository(name)), "HEAD:main", tag)
        return git(tree, "rev-parse", "HEAD").strip()

    def point_submodule_to(self, commit: str, tag: str) -> str:
        """Commit to pytorch/pytorch that its submodule is at this commit; the rest as `commit`."""
        submodule = self.work / "pytorch/pytorch/third_party/tiny"
        git(submodule, "fetch", "--quiet", str(self.repository(SUBMODULE)), commit)
        git(submodule, "checkout", "--quiet", commit)
        return self.commit("pytorch/pytorch", {}, tag)


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and give what it prints.

    Raises:
        RuntimeError: git failed; the message has its words.
    """
    allowed = ("-c", "protocol.file.allow=always")
    result = run("git", *allowed, *arguments, cwd=folder)
    if result.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {result.stderr}")
    return result.stdout


def make_torch_sources(
    folder: Path, work: Path, torch_version: str, torchvision_version: str
) -> TorchSources:
    """Make the repositories with one commit each, tagged as PyTorch's releases are.

    Args:
        folder: an existing folder for the bare repositories.
        work: an existing folder for their work trees, outside `folder`.
        torch_version: such as 2.15.0, tagged v2.15.0.
        torchvision_version: the same for torchvision.
    """
    sources = TorchSources(folder, work)
    for name in (SUBMODULE, "pytorch/pytorch", "pytorch/vision"):
        tree = work / name
        tree.mkdir(parents=True)
        git(tree, "init", "--quiet", "--initial-branch", "main")
        git(
            folder,
            "init",
            "--quiet",
            "--bare",
            "--initial-branch",
            "main",
            str(sources.repository(name)),
        )
        git(sources.repository(name), "config", "http.receivepack", "false")
    sources.commit(SUBMODULE, TINY, "v1")
    torch = work / "pytorch/pytorch"
    git(
        torch, "submodule", "--quiet", "add", str(sources.repository(SUBMODULE)), "third_party/tiny"
    )
    address = f"https://github.com/{SUBMODULE}.git"
    git(torch, "config", "--file", ".gitmodules", "submodule.third_party/tiny.url", address)
    sources.commit("pytorch/pytorch", TORCH, f"v{torch_version}")
    sources.commit("pytorch/vision", VISION, f"v{torchvision_version}")
    return sources


def make_magma(folder: Path) -> tuple[Path, str]:
    """Write an archive that stands in for MAGMA's into a folder; give it and its SHA-256."""
    archive = folder / "magma.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in MAGMA.items():
            entry = tarfile.TarInfo(f"magma/{name}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive, hashlib.sha256(archive.read_bytes()).hexdigest()


class GitServer:
    """What a running git server was asked, and how often it still hangs up.

    Attributes:
        url: its address, without a slash at the end.
        drops: repository to how many of its next packs break off in the middle.
        packs: repositories whose packs were asked for, in this order, the broken ones too.
    """

    def __init__(self) -> None:
        self.url = ""
        self.drops: dict[str, int] = {}
        self.packs: list[str] = []


@contextmanager
def serving_git(folder: Path, address: str) -> Iterator[GitServer]:
    """Serve the repositories of a folder by git's own program, on a free port of this address."""
    state = GitServer()
    backend = Path(run("git", "--exec-path").stdout.strip(), "git-http-backend")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *_: Any) -> None:
            """Say nothing on the terminal."""

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(body)

        def _answer(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
                "REMOTE_ADDR": "127.0.0.1",
            }
            answer = subprocess.run(
                [backend], input=body, env=environment, capture_output=True, check=True
            ).stdout
            head, _, content = answer.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            name = path.removesuffix("/git-upload-pack").removesuffix(".git").strip("/")
            if b"packfile" in content:
                state.packs.append(name)
                if state.drops.get(name, 0) > 0:
                    state.drops[name] -= 1
                    self.wfile.write(content[: len(content) // 2])
                    return
            self.wfile.write(content)

    with listening(Handler, address) as state.url:
        yield state
