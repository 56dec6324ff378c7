# The one image of Weir: operator, CSI node service, engine, CLI. Node runs the TypeScript as it is.
#
# With Docker, from a checkout (everything is fetched and built inside):
#   docker build -t localhost/weir:dev .
#
# With buildah, without network, on a base that holds PACKAGES already (the build args are the same):
#   bash hack/run build release && bash hack/run image-tree TREE
#   buildah bud --target prebuilt --build-arg BASE=localhost/base -f Dockerfile -t localhost/weir:dev TREE
# `--target prebuilt` stops before the stages that need a network; its context is TREE, not the checkout.
#
# Build args:  BASE      Debian 12 or a system like it, with or without PACKAGES
#              PACKAGES  what the programs call: mkfs, mount, modprobe, and the addon's libraries
# The image:   /opt/weir, and /usr/local/bin/{node,weir,weir-csi-node,weir-operator}; nothing else is
#              written at run time except what the chart mounts. The operator runs as 65532, the
#              node's containers as root.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS base
ARG PACKAGES="ca-certificates e2fsprogs kmod libisal2 libstdc++6 libzstd1 mount util-linux xfsprogs"
RUN dpkg -s ${PACKAGES} >/dev/null 2>&1 || { apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ${PACKAGES} && \
    rm -rf /var/lib/apt/lists/*; }
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="Block volumes for Kubernetes that live in an S3 bucket" \
      org.opencontainers.image.licenses="Apache-2.0"
# What Node made of the sources at build time, for each user that runs them: a start costs a third.
ENV NODE_COMPILE_CACHE=/opt/weir/.compile-cache
CMD ["weir", "--help"]

FROM base AS prebuilt
COPY . /
RUN install -d -m 777 "$NODE_COMPILE_CACHE" && \
    weir-load && setpriv --reuid=65532 --clear-groups weir-load && chmod 755 "$NODE_COMPILE_CACHE"

FROM base AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
    --no-install-recommends npm cmake ninja-build g++ liburing-dev libzstd-dev libisal-dev libxxhash-dev \
    libgtest-dev
WORKDIR /src
COPY . .
RUN bash hack/run build release && bash hack/run image-tree /tree

FROM base
COPY --from=build /tree/ /
RUN install -d -m 777 "$NODE_COMPILE_CACHE" && \
    weir-load && setpriv --reuid=65532 --clear-groups weir-load && chmod 755 "$NODE_COMPILE_CACHE"
