# The image with an engine; `make image` builds it without one. The labels are the same:
#   docker build --build-arg REVISION=$(git rev-parse HEAD) -t keywright:0.1.0 .
# The digest, for a tag can be moved. What the tag has now:
#   docker buildx imagetools inspect rust:1.95.0-bookworm --format '{{.Manifest.Digest}}'
FROM docker.io/library/rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
# The toolchain of the base, without the components that rust-toolchain.toml asks for and no build needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /build
COPY . .
RUN install -D --mode=0555 "$(image/binary)" /out/keywright

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="keywright" \
      org.opencontainers.image.description="API keys as Kubernetes resources: an operator that mints them and a verifier that stops accepting them the moment they are disabled" \
      org.opencontainers.image.source="https://keywright.dev" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/keywright /keywright
USER 65532:65532
ENTRYPOINT ["/keywright"]
