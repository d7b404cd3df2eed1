# One image for every role: `docker build -t millrace .`, then `docker run millrace <role>`.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# The registry and the build folder are caches of the builder, not layers of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile dist --locked --bin millrace && cp target/dist/millrace /millrace
# New volumes take their owner from these folders, so that the unprivileged user may write.
RUN mkdir -p /volumes/data /volumes/keys

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /millrace /usr/local/bin/millrace
# distroless calls it nonroot; whoever has to know that it is not root reads the number.
COPY --from=build --chown=65532:65532 /volumes/ /
USER 65532:65532
# Of a role that is told where it listens, by MILLRACE_LISTEN or MILLRACE_HEALTH_LISTEN. For what says nothing of how
# it is (provision, the tools): docker run --no-healthcheck.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["/usr/local/bin/millrace", "health"]
ENTRYPOINT ["/usr/local/bin/millrace"]
