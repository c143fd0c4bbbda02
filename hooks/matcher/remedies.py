"""What a user can paste: the commands that install a choice, or a driver.

Inside a project its answers are changed; elsewhere it is a line for uv, pip, conda or Docker. Which
packages bring a driver differs by distribution; where one has no packages by branch, the comment
says so.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ..compat.rows import numbers
from ..compat.table import Table, load
from .choices import cuda_tag, hub_tag
from .libcuda import architecture_of
from .search import answers_of

if TYPE_CHECKING:
    from .choices import Choice
    from .hosts import Host
    from .search import Change
    from .this_machine import Place

WHEELS = "https://download.pytorch.org/whl"

# What `uv pip install --help` of uv 0.13.9 lists for --torch-backend; pip's index has more.
UV_BACKENDS = frozenset(
    [
        *("cu132", "cu130", "cu129", "cu128", "cu126", "cu125", "cu124", "cu123", "cu122"),
        *("cu121", "cu120", "cu118", "cu117", "cu116"),
    ]
)

# Packages name the flavours of the kernel modules, of which the table knows what a GPU needs. There
# are open ones from branch 515 on, and no others from 620 on.
# https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/620/kernel-modules.html
FIRST_OPEN_BRANCH = 515
FIRST_WITHOUT_PROPRIETARY = 620
FIRST_CUDA_IN_PARTS = 12  # of conda-forge, which has older ones as one package
FIRST_PINNED = 570  # what NVIDIA's guide says of packages holds from this branch on

GUIDE = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"


JETSON_GUIDE = (
    "https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform/index.html"
)


def _variant(cuda: str) -> str:
    return f"cu{cuda.replace('.', '')}"


def _wheel(choice: Choice, cuda: str) -> list[str]:
    """PyTorch's wheel of a CUDA line, by uv and by pip."""
    package, variant = f"torch=={choice.torch}", _variant(cuda)
    index = f"--index-url {WHEELS}/{variant}"
    by_uv = f"--torch-backend={variant}" if variant in UV_BACKENDS else index
    return [
        f"uv pip install {package} {by_uv}",
        f"pip install {package} {index}",
    ]


def image_name(choice: Choice, table: Table | None = None) -> str:
    """The image of a choice, with its tag; "" where it has none or the table knows no tag."""
    table = table or load()
    release = table.torch.get(choice.torch or "")
    if choice.service == "ngc":
        return f"nvcr.io/nvidia/pytorch:{choice.tag or f'{choice.ngc_release}-py3'}"
    if choice.service == "hub" and release:
        tag = hub_tag(release, choice.cuda or release.pypi_cuda, choice.flavour)
        return f"pytorch/pytorch:{choice.tag or tag}"
    line = table.lines.get(_cuda_of(choice, table) or "")
    if choice.service not in {"train", "devel"} or line is None or line.image is None:
        return ""
    distro = choice.distro or next(
        (name for name in reversed(line.image.distros) if name.startswith("ubuntu")), None
    )
    if choice.tag or distro is None:
        return f"nvidia/cuda:{choice.tag}" if choice.tag else ""
    return f"nvidia/cuda:{cuda_tag(line, choice.flavour, distro)}"


def for_jetson(machine: Host | None) -> tuple[str, ...]:
    """Where PyTorch for a Jetson module is; what PyPI and PyTorch's index have is for servers."""
    if machine is None or all(item.kind != "jetson" for item in machine.gpus):
        return ()
    return (f"# Jetson: NVIDIA has PyTorch's wheels for JetPack: {JETSON_GUIDE}",)


def _cuda_of(choice: Choice, table: Table) -> str | None:
    """The CUDA line of a choice; where it names none, the one that the rules judge it by."""
    if choice.cuda or choice.torch not in table.torch or choice.accelerator == "cpu":
        return choice.cuda
    if choice.package_manager == "conda":
        return table.conda.get(choice.torch, [None])[-1]
    return table.torch[choice.torch].pypi_cuda


def _toolkit(cuda: str) -> str:
    """A CUDA toolkit by itself: https://conda-forge.org/blog/2023/11/06/cuda-12/."""
    if numbers(cuda)[0] < FIRST_CUDA_IN_PARTS:
        return f"conda install -c conda-forge cudatoolkit={cuda}"
    return f"conda install -c conda-forge cuda-toolkit cuda-version={cuda}"


def installs(choice: Choice, table: Table | None = None) -> tuple[str, ...]:
    """The lines that install a choice outside a project.

    Args:
        choice: one that works.
        table: another table than the one checked in, for tests.
    """
    table = table or load()
    release = table.torch.get(choice.torch or "")
    found: list[str] = []
    image = image_name(choice, table) if choice.accelerator == "cuda" else ""
    if image:
        found.append(f"docker pull {image}")
    if choice.service == "simple" and choice.torch is None and choice.cuda:
        return (_toolkit(choice.cuda),)
    if release is None or choice.service in {"ngc", "hub"} or choice.pytorch_build == "source":
        return tuple(found)
    cuda = choice.wheel_cuda or _cuda_of(choice, table) or release.pypi_cuda
    if choice.package_manager == "conda":
        python = f" python={choice.python}" if choice.python else ""
        line = f"conda install -c conda-forge pytorch-gpu={choice.torch} cuda-version={cuda}"
        return (*found, f"{line}{python}")
    if choice.accelerator == "cpu":
        index = f"--index-url {WHEELS}/cpu"
        return (
            f"uv pip install torch=={choice.torch} --torch-backend=cpu",
            f"pip install torch=={choice.torch} {index}",
        )
    return (*found, *_wheel(choice, cuda))


def environment(choice: Choice) -> tuple[str, ...]:
    """The line that makes an environment of a choice's Python for the lines of `installs`."""
    of_pip = choice.service in {"simple", "train"} and choice.package_manager == "pip"
    if not choice.python or not choice.torch or not of_pip or choice.pytorch_build == "source":
        return ()
    return (f"uv venv --python {choice.python}",)


def _modules(machine: Host, branch: int) -> str:
    """Which kernel modules drive all GPUs of a host: "open", "proprietary", or "" for none."""
    rows = [architecture_of(item, load()) for item in machine.gpus]
    needed = {row.modules for row in rows if row}
    if "proprietary" not in needed:
        return "proprietary" if branch < FIRST_OPEN_BRANCH else "open"
    return "" if "open" in needed or branch >= FIRST_WITHOUT_PROPRIETARY else "proprietary"


def drivers(machine: Host, branch: int, where: Place) -> tuple[str, ...]:
    """The lines that install a driver branch on a host.

    Args:
        machine: whose GPUs decide the flavour of the kernel modules.
        branch: such as 580.
        where: whose distribution decides the packages.
    """
    if where.wsl:
        return (
            f"# WSL: install driver {branch} or newer in Windows, from",
            "# https://www.nvidia.com/drivers; install no Linux driver in WSL",
        )
    modules = _modules(machine, branch)
    if not modules:
        return (f"# no kernel modules of branch {branch} drive all of these GPUs",)
    server = all(item.kind == "datacenter" for item in machine.gpus)
    family = {where.distribution, *where.like}
    if "ubuntu" in family:
        return _ubuntu(branch, modules, server=server)
    if "debian" in family:
        return _debian(branch, modules, where)
    if family & {"rhel", "centos", "fedora", "amzn"}:
        return _red_hat(branch, modules, where)
    return _by_hand(branch, modules, where)


def _ubuntu(branch: int, modules: str, *, server: bool) -> tuple[str, ...]:
    """Ubuntu's own packages, https://packages.ubuntu.com/search?keywords=nvidia-driver.

    Source packages and their flavours: nvidia-driver-580, -open, -server, -server-open.
    """
    parts = ["nvidia-driver", str(branch), *(["server"] if server else [])]
    name = "-".join([*parts, *(["open"] if modules == "open" else [])])
    other = "" if server else f" (servers: {'-'.join([*parts, 'server'])})"
    if not server and modules == "open":
        other = f" (servers: nvidia-driver-{branch}-server-open)"
    return (f"sudo apt install {name}  # then restart{other}",)


def _meta(modules: str) -> str:
    """The package of NVIDIA's repositories that brings a driver with one kind of modules."""
    return "nvidia-open" if modules == "open" else "cuda-drivers"


def _debian(branch: int, modules: str, where: Place) -> tuple[str, ...]:
    """Debian has one branch for each release; NVIDIA's repository has all, by a pinning package.

    https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/version-locking.html
    """
    own = {"12": 535, "13": 550}.get(where.version)  # https://packages.debian.org/nvidia-driver
    if where.distribution == "debian" and own == branch:
        return ("sudo apt install nvidia-driver  # from non-free, then restart",)
    if branch < FIRST_PINNED:
        return _by_hand(branch, modules, where)
    name = f"{where.distribution} {where.version}".strip()
    pin = f"sudo apt install nvidia-driver-pinning-{branch}"
    return (
        f"# {name} itself has no packages of branch {branch}; NVIDIA's repository has:",
        f"# {GUIDE}",
        f"{pin} && sudo apt install {_meta(modules)}  # then restart",
    )


def _by_hand(branch: int, modules: str, where: Place) -> tuple[str, ...]:
    """No package is known: where to read on."""
    name = where.distribution or "this distribution"
    return (
        f"# no package of branch {branch} ({modules} modules) is known for {name}:",
        f"# {GUIDE}",
    )


def _red_hat(branch: int, modules: str, where: Place) -> tuple[str, ...]:
    """Module streams up to RHEL 9 and on Amazon Linux, a version lock on RHEL 10 and Fedora.

    Table 5 of the page that FIRST_OPEN names.
    """
    install = f"sudo dnf install {_meta(modules)}"
    major = where.version.partition(".")[0]
    first = f"# with NVIDIA's repository ({GUIDE}):"
    if where.distribution != "fedora" and (major in {"8", "9"} or where.distribution == "amzn"):
        stream = f"{branch}-{'open' if modules == 'open' else 'dkms'}"
        # dnf refuses to enable a stream beside another one, such as that of the present driver.
        enable = f"sudo dnf module enable nvidia-driver:{stream}"
        line = f"sudo dnf module reset nvidia-driver && {enable} && {install}"
    else:
        add = "add " if where.distribution == "fedora" else ""
        line = f"sudo dnf versionlock {add}'*nvidia*{branch}*' && {install}"
    return first, f"{line}  # then restart"


def remedies(machine: Host, wanted: Choice, change: Change, where: Place) -> tuple[str, ...]:
    """What to paste to make a change: a driver, other answers or another installation, or both.

    Args:
        machine: the host as it is.
        wanted: the choice that does not work.
        change: what works instead.
        where: the command was started.
    """
    found: list[str] = []
    if change.host.driver and change.host.driver != machine.driver:
        branch = int(change.host.driver.partition(".")[0])
        found += drivers(machine, branch, where)
    if change.choice == wanted:
        return tuple(found)
    if where.project:
        return (*found, *updates(change.choice, where))
    return (*found, *environment(change.choice), *installs(change.choice))


def updates(choice: Choice, where: Place) -> tuple[str, ...]:
    """The command that changes the answers of the project around to a choice, if they differ."""
    answers = dict(where.answers)
    choice = choice._replace(cuda=_cuda_of(choice, load()))  # else the old answer would remain
    wanted = {"service": choice.service, "package_manager": choice.package_manager}
    if "accelerator" in answers:
        wanted["accelerator"] = choice.accelerator
    if "pytorch_build" in answers and choice.service == "train" and choice.torch:
        wanted["pytorch_build"] = choice.pytorch_build
    wanted |= answers_of(choice)
    if choice.torch is None and choice.service != "ngc" and "torch_version" in answers:
        wanted["torch_version"] = "none"
    if choice.service in {"ngc", "hub"}:
        del wanted["package_manager"]  # not asked there
    if choice.service == "ngc":
        kept = ("service", "accelerator", "ngc_release", "cca")
        wanted = {name: wanted[name] for name in kept if name in wanted}
    data = [
        f"--data {name}={shlex.quote(value)}"
        for name, value in wanted.items()
        if answers.get(name) != value
    ]
    line = f"{shlex.quote(where.project)} update {' '.join(data)}"
    return (line,) if data else ()
