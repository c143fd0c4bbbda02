# The image of a workspace: layers on the dev image of the project, with what the folder workspaces/NAME lists.
# ./template.sh build --workspace NAME passes the arguments. The context is that folder, `image` the one beside this file, and
# `lists` has copies of its lists of packages, with those that they name in folders.
ARG ENVIRONMENT=none

# COPY fails on a missing file, but not on a pattern without a match, so brackets make each file optional:
# https://github.com/moby/moby/issues/26332. A stage for each step, so that an edit runs only that step and later ones.
FROM scratch AS pre-install
COPY --chmod=0755 pre-instal[l].sh pre-instal[l] /
FROM scratch AS apt
COPY ap[t].txt /
FROM scratch AS packages
COPY --chmod=0755 --from=lists . /
FROM scratch AS post-install
COPY --chmod=0755 post-instal[l].sh post-instal[l] /

FROM ${ENVIRONMENT}
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
# install-hook.sh gives root up, unless a hook asks for it.
USER 0
# The caches have the name of the workspace, because whatever its code runs in a build may write into them.
ARG WORKSPACE APT_MIRROR UV_DEFAULT_INDEX
RUN --mount=type=bind,from=pre-install,target=/mnt/pre-install --mount=type=bind,from=image,target=/mnt/image \
    --mount=type=secret,id=ca,mode=0444 --mount=type=secret,id=netrc,mode=0444 \
    --mount=type=cache,id=${WORKSPACE}-hooks,target=/var/cache/hooks,sharing=locked \
    --mount=type=cache,id=${WORKSPACE}-archives,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=${WORKSPACE}-lists,target=/var/lib/apt/lists,sharing=locked \
    HOOKS_OF=workspaces/${WORKSPACE#*/} bash /mnt/image/install-hook.sh pre-install
RUN --mount=type=bind,from=apt,target=/mnt/apt --mount=type=bind,from=image,target=/mnt/image \
    --mount=type=secret,id=ca \
    --mount=type=cache,id=${WORKSPACE}-archives,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=${WORKSPACE}-lists,target=/var/lib/apt/lists,sharing=locked \
    [ ! -f /mnt/apt/apt.txt ] || bash /mnt/image/apt-install.sh /mnt/apt/apt.txt
# Without a lock, the time: what the same lists got before is no answer then.
ARG LOCKED=yes
RUN --mount=type=bind,from=packages,target=/mnt/packages --mount=type=bind,from=image,target=/mnt/image \
    --mount=type=secret,id=ca,mode=0444 --mount=type=secret,id=netrc,mode=0444 \
    --mount=type=cache,id=${WORKSPACE}-hooks,target=/var/cache/hooks,sharing=locked \
    HOOKS_OF=workspaces/${WORKSPACE#*/} bash /mnt/image/install-hook.sh packages
RUN --mount=type=bind,from=post-install,target=/mnt/post-install --mount=type=bind,from=image,target=/mnt/image \
    --mount=type=secret,id=ca,mode=0444 --mount=type=secret,id=netrc,mode=0444 \
    --mount=type=cache,id=${WORKSPACE}-hooks,target=/var/cache/hooks,sharing=locked \
    --mount=type=cache,id=${WORKSPACE}-archives,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=${WORKSPACE}-lists,target=/var/lib/apt/lists,sharing=locked \
    HOOKS_OF=workspaces/${WORKSPACE#*/} bash /mnt/image/install-hook.sh post-install
# The entrypoint runs it after that of the project.
COPY --chmod=0755 pre-ru[n].sh /opt/container/workspace/
ARG USRID=1000
ENV PROMPT_NAME=${WORKSPACE}
USER $USRID
