# The controller, and a gateway in one container.
#
#   docker build -t osvc-igw .                          the controller, beside an Envoy
#   docker build -t osvc-igw-gateway --target gateway . the controller and its Envoy
#
# The arguments of the janitor's container work unchanged: they are those of `osvc-igw run`.

FROM docker.io/library/rust:1.90-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY build build
COPY proto proto
COPY src src
COPY benches benches
COPY tests/setup.sh tests/setup.sh
COPY .ci/build .ci/root .ci/
RUN rustup component add llvm-tools
RUN .ci/build /osvc-igw
RUN .ci/root /image /osvc-igw

FROM docker.io/envoyproxy/envoy:v1.40.0 AS envoy

FROM build AS both
COPY --from=envoy /usr/local/bin/envoy /usr/local/bin/envoy
RUN .ci/root /both /osvc-igw /usr/local/bin/envoy

# `docker stop` sends SIGTERM: Envoy is drained for --drain-time, which is shorter than its patience.
FROM scratch AS gateway
COPY --from=both /both /
ENV OSVC_IGW_ENVOY=/usr/local/bin/envoy
USER 65532:65532
EXPOSE 80 443
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/osvc-igw", "health"]
ENTRYPOINT ["/osvc-igw"]

FROM scratch AS controller
COPY --from=build /image /
USER 65532:65532
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/osvc-igw", "health"]
ENTRYPOINT ["/osvc-igw"]
