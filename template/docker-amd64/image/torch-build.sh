#!/bin/bash
# The steps of the stage torch-build: fetch sources, compile, collect wheels in /opt/wheels.
#
#   torch-build.sh git NAME REPOSITORY REF PIN  /opt/src/NAME at exactly that tag, with its submodules
#                                               PIN: "" or REPOSITORY@TAG@COMMIT, what the tag has to be
#   torch-build.sh archive NAME ADDRESS SHA256  /opt/src/NAME from an archive with that checksum
#   torch-build.sh magma | pytorch | torchvision
#   torch-build.sh jobs                         how many compilers run at once
set -euo pipefail

cache=/var/cache/torch-sources
wheels=/opt/wheels

say() { printf 'torch-build: %s\n' "$*" >&2; }

# fail SENTENCE [COMMAND]: the cause and the remedy, which template.sh repeats below the log of the build.
fail() {
    printf 'torch-build stopped: %s\n' "$1" >&2
    if [[ -n ${2:-} ]]; then printf 'torch-build advises: %s\n' "$2" >&2; fi
    exit 1
}

# retry COMMAND...: five times, with growing pauses. What was received before is kept.
retry() {
    local pause=2
    until "$@"; do
        if ((pause > 16)); then
            fail "five attempts to fetch $name failed; what was received is kept." "./template.sh build, to continue from there"
        fi
        say "$name did not come through: again in $pause s"
        sleep "$pause"
        pause=$((pause * 2))
    done
}

# --- sources ---------------------------------------------------------------------------------------------------

# git ignores --depth for a plain path, but not for its file:// address.
address() { case $1 in /*) printf 'file://%s' "$1" ;; *) printf '%s' "$1" ;; esac }

set_up_git() {
    export GIT_CONFIG_GLOBAL=/tmp/gitconfig GIT_TERMINAL_PROMPT=0
    rm -f "$GIT_CONFIG_GLOBAL"
    # Folders of the host and of the cache may belong to another UID, which git refuses; a submodule may be in one, too.
    git config --global safe.directory '*'
    git config --global protocol.file.allow always
    # Give up a connection that sends less than 1000 bytes a second for a minute.
    git config --global http.lowSpeedLimit 1000
    git config --global http.lowSpeedTime 60
    if [[ -n ${SSL_CERT_FILE:-} ]]; then git config --global http.sslCAInfo "$SSL_CERT_FILE"; fi
    if [[ -n ${GIT_MIRROR:-} ]]; then
        git config --global "url.$(address "${GIT_MIRROR%/}")/.insteadOf" https://github.com/
    fi
    if [[ -n ${NETRC:-} ]]; then
        ln -sf "$NETRC" ~/.netrc
        trap 'rm -f ~/.netrc' EXIT
    fi
}

# Delete what a killed build left half written, and keep the rest. The cache mount is locked, so no other build uses it.
mend() {
    local module
    find .git -name '*.lock' -delete
    if ! git fsck --no-dangling --no-progress >/dev/null 2>&1; then
        say "the cache of $name is damaged and is deleted"
        rm -rf .git
        git init --quiet .
    fi
    if [[ -d .git/modules ]]; then
        find .git/modules -name HEAD -not -path '*/logs/*' -not -path '*/refs/*' -printf '%h\n' | while read -r module; do
            if ! { git --git-dir="$module" rev-parse --quiet --verify 'HEAD^{commit}' &&
                git --git-dir="$module" fsck --no-dangling --no-progress; } >/dev/null 2>&1; then rm -rf "$module"; fi
        done
    fi
    find . -mindepth 1 -maxdepth 1 -not -name .git -exec rm -rf {} +
}

fetch_commit() {
    local said
    if said=$(git fetch --quiet --depth 1 --no-tags "$from" "$ref" 2>&1); then return; fi
    printf '%s\n' "$said" >&2
    case $said in
        *"couldn't find remote ref"* | *'not our ref'* | *'unadvertised object'*)
            fail "$repository has no tag, branch or commit $ref." "git ls-remote --tags $repository, and see the _REF keys of .env"
            ;;
        *'not appear to be a git repo'* | *repository*'not found'* | *'could not read Username'* | *'uthentication failed'*)
            fail "$repository is not a repository, or needs a login (NETRC_FILE in .env)." "git ls-remote $repository"
            ;;
    esac
    mend
    return 1
}

fetch_submodules() {
    # --force replaces files that a damaged or older checkout left.
    git checkout --quiet --force --detach "$commit" && git submodule --quiet sync --recursive &&
        git submodule --quiet update --init --recursive --force --depth 1 --jobs 4 && return
    mend
    if ! git cat-file -e "$commit" 2>/dev/null; then git fetch --quiet --depth 1 --no-tags "$from" "$ref"; fi
    return 1
}

cmd_git() {
    name=$1 repository=$2 ref=$3 from=$(address "$2")
    [[ -n $repository && -n $ref ]] || fail "the repository or the tag of $name is empty in .env." "./template.sh config"
    set_up_git
    mkdir -p "$cache/$name" /opt/src
    cd "$cache/$name"
    if ! git rev-parse --git-dir >/dev/null 2>&1 || [[ ! -d .git ]]; then
        find . -mindepth 1 -delete
        git init --quiet .
    fi
    retry fetch_commit
    commit=$(git rev-parse 'FETCH_HEAD^{commit}')
    # Another repository or tag, which .env names, has no pin.
    if [[ ${4%@*} == "$repository@$ref" && ${4##*@} != "$commit" ]]; then
        fail "the tag $ref of $repository was moved: it is commit $commit, and compose.pins.yaml has ${4##*@}." \
            "./template.sh pin, if the new one is right"
    fi
    retry fetch_submodules
    rm -rf "/opt/src/$name"
    cp -a "$cache/$name" "/opt/src/$name"
    cd "/opt/src/$name"
    git clean --quiet -ffdx
    git submodule --quiet foreach --recursive 'git clean --quiet -ffdx'
    if [[ $(git rev-parse HEAD) != "$commit" || -n $(git status --porcelain --ignore-submodules=dirty) ]] ||
        git submodule status --recursive | grep -q '^[^ ]'; then
        rm -rf "${cache:?}/$name"
        fail "the checkout of $name is not exactly $ref; its cache was deleted." "./template.sh build"
    fi
    say "$name is $ref, commit $commit"
}

# --continue-at does not fetch again what was received before, if the server can do that.
download() { # ADDRESS FILE
    local status=0
    curl --fail --silent --show-error --location --connect-timeout 30 --speed-time 60 --speed-limit 1000 \
        --continue-at - --output "$2" "$1" || status=$?
    case $status in 22 | 33 | 36) rm -f "$2" ;; esac
    return $status
}

cmd_archive() {
    local url=$2 sum=$3 file
    name=$1 file=$cache/$1-$3
    case $url in /*) file=$url ;; esac
    mkdir -p "$cache" "/opt/src/$name"
    right() { [[ -f $1 ]] && sha256sum --status --check - <<<"$sum  $1"; }
    if [[ $file != "$url" ]] && ! right "$file" 2>/dev/null; then
        rm -f "$file"
        retry download "$url" "$file.part"
        mv "$file.part" "$file"
    fi
    if ! right "$file"; then
        if [[ $file != "$url" ]]; then rm -f "$file"; fi
        fail "$url is not the archive that was asked for: its SHA-256 is not $sum." "sha256sum, on the file you meant"
    fi
    tar --extract --file "$file" --directory "/opt/src/$name" --strip-components 1
    say "$name is $url"
}

# --- compiling -------------------------------------------------------------------------------------------------

# One compiler for each core, and for each 4 GiB of memory: nvcc can take that much, and the kernel kills one when memory
# ends. The limits of the container count, if it has some.
compilers() {
    local cores memory limit quota period
    if [[ -n ${MAX_JOBS:-} ]]; then
        [[ $MAX_JOBS =~ ^[1-9][0-9]*$ ]] || fail "MAX_JOBS in .env must be a number from 1 on, not \"$MAX_JOBS\"."
        echo "$MAX_JOBS"
        return
    fi
    cores=$(nproc)
    memory=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
    quota=max period=1
    if [[ -r /sys/fs/cgroup/cpu.max ]]; then
        read -r quota period </sys/fs/cgroup/cpu.max
    elif [[ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]]; then
        quota=$(</sys/fs/cgroup/cpu/cpu.cfs_quota_us) period=$(</sys/fs/cgroup/cpu/cpu.cfs_period_us)
    fi
    if [[ $quota != max ]] && ((quota > 0 && quota / period < cores)); then cores=$((quota / period)); fi
    for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        if [[ -r $limit ]] && limit=$(<"$limit") && [[ $limit != max ]] && ((limit / 1024 < memory)); then
            memory=$((limit / 1024))
        fi
    done
    if ((memory / 4194304 < cores)); then cores=$((memory / 4194304)); fi
    echo $((cores > 1 ? cores : 1))
}

# targets: the compute capabilities of CCA. The compiler is asked now, instead of failing after hours.
targets() {
    local target known list=()
    read -r -a list <<<"${TORCH_CUDA_ARCH_LIST//;/ }"
    if [[ ${list[0]:-} == auto ]]; then list=("${list[@]:1}"); fi
    ((${#list[@]})) || fail "CCA in .env names no compute capability, such as 8.6+PTX." "./template.sh env --refresh CCA"
    if known=$(nvcc --list-gpu-code 2>/dev/null); then
        for target in "${list[@]}"; do
            target=${target%+PTX}
            # The list does not have 9.0a and the like, so try them.
            if ! nvcc -arch="sm_${target//./}" --dryrun -x cu -c /dev/null -o /dev/null >/dev/null 2>&1; then
                fail "nvcc of this CUDA cannot compile for $target of CCA in .env; it can for ${known//$'\n'/ }." \
                    "./template.sh env --refresh CCA"
            fi
        done
    fi
    printf '%s\n' "${list[@]}"
}

# A tag v2.15.0 is version 2.15.0; for anything else the sources choose a version.
version() { if [[ $1 =~ ^v?([0-9]+(\.[0-9]+)+(rc[0-9]+)?)$ ]]; then echo "${BASH_REMATCH[1]}"; fi; }

prepare() { # SOURCE
    cd "/opt/src/$1"
    mkdir -p "$wheels"
    MAX_JOBS=$(compilers)
    # A log of this build alone, because others may use the same cache meanwhile.
    export MAX_JOBS CCACHE_DIR=/var/cache/ccache CCACHE_STATSLOG=/tmp/ccache.log
    if [[ ${USE_CUDA:-0} == 1 ]]; then
        TORCH_CUDA_ARCH_LIST=$(targets | paste -sd ';')
        export TORCH_CUDA_ARCH_LIST
        say "$1 for compute capabilities $TORCH_CUDA_ARCH_LIST"
    fi
    # So that the same source makes the same wheel, byte by byte, as far as its build allows:
    # https://reproducible-builds.org/docs/source-date-epoch/
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat --format %Y .)
    export SOURCE_DATE_EPOCH
    say "$1: $MAX_JOBS compilers at once (MAX_JOBS)"
}

launchers() { export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache; }

show_hits() {
    ccache --show-log-stats
    rm -f "$CCACHE_STATSLOG"
}

wheel() {
    uv build --wheel --no-build-isolation --python "$VIRTUAL_ENV/bin/python" --out-dir "$wheels" .
    rm -f "$wheels/.gitignore"
    show_hits
}

cmd_magma() {
    local target sm=() home=/opt/magma
    prepare magma
    launchers
    for target in ${TORCH_CUDA_ARCH_LIST//;/ }; do
        target=${target%+PTX}
        sm+=("sm_${target//./}")
    done
    # PyTorch links the static library, and with it the BLAS that PyTorch has anyway.
    cmake -S . -B /tmp/magma -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF \
        -DMAGMA_ENABLE_CUDA=ON -DUSE_FORTRAN=OFF -DLAPACK_LIBRARIES="-l$([[ $BLAS == MKL ]] && echo mkl_core || echo openblas)" \
        -DGPU_TARGET="${sm[*]}"
    cmake --build /tmp/magma --target magma --parallel "$MAX_JOBS"
    mkdir -p "$home/include" "$home/lib"
    cp include/*.h /tmp/magma/include/*.h "$home/include"
    cp /tmp/magma/lib/libmagma.a "$home/lib"
    rm -rf /tmp/magma
    show_hits
}

cmd_pytorch() {
    set_up_git
    prepare pytorch
    launchers
    PYTORCH_BUILD_VERSION=$(version "$1")
    if [[ -n $PYTORCH_BUILD_VERSION ]]; then export PYTORCH_BUILD_VERSION PYTORCH_BUILD_NUMBER=0; fi
    # NVIDIA's images have NCCL; to compile another one takes a quarter of an hour.
    if [[ -f /usr/include/nccl.h ]]; then export USE_SYSTEM_NCCL=1; fi
    wheel
    uv pip install --no-deps "$wheels"/torch-*.whl
    cd / && python -c 'import torch; print(torch.__version__, torch.__config__.show())'
}

cmd_torchvision() {
    prepare torchvision
    BUILD_VERSION=$(version "$1")
    if [[ -n $BUILD_VERSION ]]; then export BUILD_VERSION; fi
    # torchvision builds with torch.utils.cpp_extension, not CMake, so ccache has to be part of the compilers' names. That
    # module's check of the compiler does not know ccache.
    export CC='ccache gcc' CXX='ccache g++' PYTORCH_NVCC='ccache nvcc' TORCH_DONT_CHECK_COMPILER_ABI=1
    export FORCE_CUDA=${USE_CUDA:-0}
    wheel
}

case ${1:-} in
    git | archive | magma | pytorch | torchvision) "cmd_$1" "${@:2}" ;;
    jobs) compilers ;;
    *) fail "say one of: git, archive, magma, pytorch, torchvision, jobs" ;;
esac
