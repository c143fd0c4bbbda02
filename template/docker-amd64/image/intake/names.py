"""Names of packages: how they are spelled, and what they are called elsewhere."""

from __future__ import annotations

import re
import sys

SPEC = re.compile(
    r"(?:([^\s:\[\]=<>]+)::)?((?=[\d.-]*[A-Za-z_])[A-Za-z0-9_][A-Za-z0-9_.-]*)(?:(?=[\s=<>!~\[])(.*))?"
)
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<extras>\[[^\]]*\])?\s*(?P<rest>[@<>=!~;(].*)?"
)
# https://host/NAME-1.0.whl, git+https://host/group/NAME.git@branch, or with #egg=NAME
ADDRESS = re.compile(
    r"(?:(?:git|hg)\+)?(?:https?|ssh)://\S*?/(?P<name>[A-Za-z0-9][\w.]*?(?:-[A-Za-z_][\w.]*?)*)"
    r"(?:\.git|-\d[^/\s]*)?(?:@[^\s#]*)?(?:#(?:\S*&)?egg=(?P<egg>[\w.-]+)\S*|#\S*)?(?:\s+;.*)?"
)
# Lines of an export that the solver adds by itself.
BOOKKEEPING = {"_libgcc_mutex", "_openmp_mutex", "_pytorch_select", "python_abi"}
OTHER_PLATFORM = re.compile(
    r"vc|vc14_runtime|vs20\d\d_.*|ucrt|msys2-.*|m2w64-.*|pywin32(-.*)?|pypiwin32|pywinpty|"
    r"win_inet_pton|win-inet-pton|win32-setctime|win32_setctime|wincertstore|windows-curses|winsdk|wmi|"
    r"menuinst|console_shortcut|libcxx|appnope|pyobjc(-.*)?|python\.app|tapi|ld64|cctools|rumps|"
    r"tensorflow-(macos|metal|intel|cpu-aws)|jax-metal|torch-directml|triton-windows|__.*"
)
# conda's names of Python packages that PyPI knows by another one.
PYPI_NAMES = {
    "brotli-python": "brotli",
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "py-lightgbm": "lightgbm",
    "pyg": "torch-geometric",
    "pytorch_geometric": "torch-geometric",
    "pytorch_scatter": "torch-scatter",
    "pytorch_sparse": "torch-sparse",
    "pytorch_cluster": "torch-cluster",
    "pytorch_spline_conv": "torch-spline-conv",
    "pyqt": "pyqt5",
    "pytables": "tables",
    "python-graphviz": "graphviz",
    "python-lmdb": "lmdb",
    "seaborn-base": "seaborn",
    "faiss": "faiss-cpu",
    "tensorflow-gpu": "tensorflow",
    "cupy": "cupy-cuda12x",
    "pysoundfile": "soundfile",
    "typing_extensions": "typing-extensions",
    "ruamel_yaml": "ruamel.yaml",
    "antlr-python-runtime": "antlr4-python3-runtime",
}
# Names that PyPI has nothing for, an empty package or one that refuses to be installed.
# https://pypi.org/project/sklearn, https://pypi.org/project/tensorflow-gpu
MISNAMED = {
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "pil": "pillow",
    "cv2": "opencv-python-headless",
    "tensorflow-gpu": "tensorflow",
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "dotenv": "python-dotenv",
}
# What old code lists for a Python before 3.7; newer ones have it, and these refuse to be installed
# there or replace a module of Python's own.
BACKPORTS = {"dataclasses", "enum34", "futures", "pickle5", "typing", "contextvars", "asyncio"}
# PyPI's packages of the same name are other programs than the module of Python's.
NOT_OF_PYTHON = {"code", "this", "test", "site", "parser", "token", "select", "resource"}
# What conda itself is made of. PyPI has most of them in no version that fits.
CONDA_ITSELF = re.compile(
    r"conda|mamba|libmamba(py)?|conda-(build|content-trust|index|libmamba-solver|pack|repo-cli|"
    r"package-handling|package-streaming|token|verify|env)|anaconda(-.*)?|navigator-updater|"
    r"ruamel[-_]yaml[-_]conda|_anaconda_depends|clyent"
)
# conda's names of what apt has: the commands and libraries that people ask conda for.
APT = {
    "ffmpeg": "ffmpeg",
    "sox": "sox",
    "git": "git",
    "git-lfs": "git-lfs",
    "graphviz": "graphviz",
    "openmpi": "openmpi-bin",
    "mpich": "mpich",
    "nodejs": "nodejs",
    "openjdk": "default-jre-headless",
    "libsndfile": "libsndfile1",
    "portaudio": "libportaudio2",
    "mesalib": "libgl1",
    "libgl": "libgl1",
    "glew": "libglew-dev",
    "glfw": "libglfw3",
    "mesa-libgl-devel-cos6-x86_64": "libgl1-mesa-dev",
    "eigen": "libeigen3-dev",
    "boost": "libboost-all-dev",
    "gsl": "libgsl-dev",
    "fftw": "libfftw3-dev",
    "hdf5": "libhdf5-dev",
    "gdal": "gdal-bin",
    "geos": "libgeos-dev",
    "proj": "proj-bin",
    "swig": "swig",
    "pandoc": "pandoc",
    "imagemagick": "imagemagick",
    "ghostscript": "ghostscript",
    "libspatialindex": "libspatialindex-dev",
    "libaio": "libaio-dev",
    "tesseract": "tesseract-ocr",
    "poppler": "poppler-utils",
    "samtools": "samtools",
    "bedtools": "bedtools",
    "bwa": "bwa",
    "htslib": "tabix",
    "mafft": "mafft",
    "hmmer": "hmmer",
    "curl": "curl",
    "wget": "wget",
    "aria2": "aria2",
    "unzip": "unzip",
    "zip": "zip",
    "rsync": "rsync",
    "jq": "jq",
    "parallel": "parallel",
    "tmux": "tmux",
    "vim": "vim-tiny",
    "htop": "htop",
    "nano": "nano",
    "tree": "tree",
    "perl": "perl",
    "r-base": "r-base",
}
COMPILERS = re.compile(
    r"(gcc|gxx|gfortran|binutils|sysroot|kernel-headers|ld_impl|gcc_impl|gxx_impl|gfortran_impl|"
    r"binutils_impl|libgcc-devel|libstdcxx-devel)(_linux-64)?|compilers|(c|cxx|fortran)-compiler|make|pkg-config"
)
# conda's packages of R, Bioconductor and Perl.
OTHER_LANGUAGES = re.compile(r"(?:r|bioconductor|perl)-.*")
# What wheels bring along, or the distribution has: in an export, most lines are such libraries.
LIBRARIES = re.compile(
    r"lib(?!rosa$|cst$|sass$|clang$|pysal$|tmux$|archive-c$|tpu)[a-z0-9_.+-]*|.*-ng|.*-cpp|xorg-.*|aws-c-.*|"
    r"font-ttf-.*|fonts-.*|gst-plugins-.*|abseil-cpp|arrow-cpp|alsa-lib|at-spi2-.*|attr|blas(-devel)?|"
    r"bzip2|c-ares|ca-certificates|cairo|dav1d|dbus|double-conversion|elfutils|expat|fontconfig|freetype|"
    r"fribidi|gettext|gflags|giflib|glib(-tools)?|glog|gmp|gnutls|graphite2|gstreamer|gtk[23]|harfbuzz|"
    r"hicolor-icon-theme|icu|imath|intel-openmp|jasper|jpeg|jxrlib|keyutils|krb5|lame|lcms2|lerc|"
    r"llvm-openmp|lz4-c|mkl(-include|-devel|_fft|_random|-service|-fft|-random)?|mpc|mpfr|mpg123|mysql-.*|"
    r"ncurses|nettle|nspr|nss|openblas(-devel)?|openh264|openjpeg|openssl|orc|p11-kit|pango|pcre2?|pixman|"
    r"pthread-stubs|pulseaudio-client|qt|qt-main|qt-webengine|qt6-main|rav1e|rdma-core|re2|readline|s2n|"
    r"sqlite|svt-av1|tbb|tk|tzdata|ucx|unixodbc|wayland(-protocols)?|x26[45]|xcb-util.*|xerces-c|"
    r"xkeyboard-config|xz|yaml|yaml-cpp|zeromq|zlib|zstd"
)


def normal(name: str) -> str:
    """The one spelling of a PyPI name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(spec: str) -> str:
    """The package that a conda spec names, "" where it is none."""
    match = SPEC.fullmatch(spec.strip())
    return match[2].lower() if match else ""


def pip_name(line: str) -> str:
    """The one spelling of the name of a pip line, also of a bare address; "" where it has none."""
    match = REQUIREMENT.fullmatch(line.strip()) or ADDRESS.fullmatch(line.strip())
    return normal(match.groupdict().get("egg") or match["name"]) if match else ""


# Python 3.9 does not tell them.
OF_PYTHON: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())


def python_has(name: str) -> bool:
    """Whether Python has it itself, so that PyPI's old copy of it is not wanted."""
    return name in BACKPORTS or (name in OF_PYTHON and name not in NOT_OF_PYTHON)


def is_python(build: str) -> bool:
    """Whether a build is a Python package's: conda-forge names it so, as pyhd8ed1ab_0."""
    return build.startswith("py") or re.search(r"py3\d", build) is not None


def without_build(spec: str) -> str:
    """`numpy=1.26.4=py312h` as `numpy=1.26.4`; a build chosen by a pattern stays."""
    match = re.fullmatch(r"([^\s=<>!~\[]+)(?:==?|\s+)([\w.!+]+)(?:=|\s+)([\w.+-]+)", spec)
    return f"{match[1]}={match[2]}" if match else spec


def pip_version(rest: str) -> str | None:
    """A conda version as pip writes it, "" of none, None where pip cannot say it."""
    rest = rest.strip()
    if not rest or rest in {"*", "=*"}:
        return ""
    clauses = []
    for clause in rest.split(","):
        match = re.fullmatch(
            r"\s*(==|=|!=|>=|<=|~=|<|>|)\s*(\d+(?:\.\d+)*[\w+!]*)(\.?\*)?\s*", clause
        )
        if match is None:
            return None
        sign, version, star = match.groups()
        if sign == "=" or (star and sign in {"", "=", "=="}):
            clauses.append(f"=={version}.*")
        elif star and sign == "!=":
            clauses.append(f"!={version}.*")
        else:
            clauses.append(f"{sign or '=='}{version}")
    return ",".join(clauses)
