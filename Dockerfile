# syntax=docker/dockerfile:1
# Two stages: the toolchain builds, the image holds the binary and the certificates of public authorities.

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
# The caches live outside the layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin spangate && cp target/release/spangate /spangate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/spangate --create-home --shell /usr/sbin/nologin spangate \
    && install --directory --owner spangate --group spangate /var/lib/spangate/data
COPY --from=build /spangate /usr/local/bin/spangate

USER spangate
WORKDIR /var/lib/spangate
# A container's loopback cannot be reached from outside. Clients bring their own key to the upstream; with SPANGATE_UPSTREAM_API_KEY set, this
# address is refused until SPANGATE_SERVER_CLIENT_KEYS is set too. The admin port stays on loopback, inside the container.
ENV SPANGATE_SERVER_LISTEN=0.0.0.0:8080 \
    SPANGATE_STORE_DIR=/var/lib/spangate/data
VOLUME /var/lib/spangate/data
EXPOSE 8080

# Asks the admin port, which never speaks TLS, with the shell's own sockets: the image has no curl. A SPANGATE_SERVER_ADMIN of another port
# needs a --health-cmd of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]

ENTRYPOINT ["spangate"]
CMD ["serve"]
