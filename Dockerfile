# syntax=docker/dockerfile:1
# The image of AssetPlatform: operator, server, migrate and plan are subcommands of one binary.
# Where there is no Docker, hack/images/build makes the same image with the same steps: change both together.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 GOFLAGS='-trimpath -gcflags=all=-dwarf=false' go build -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /assetplatform ./cmd/assetplatform

FROM debian:bookworm-slim
ARG VERSION=dev
LABEL org.opencontainers.image.title="assetplatform" \
      org.opencontainers.image.description="Kubernetes operator and asset API" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://github.com/assetplatform/assetplatform" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini ca-certificates \
 && groupadd --gid 1001 assetplatform \
 && useradd --uid 1001 --gid 1001 --home-dir /app --no-create-home --shell /usr/sbin/nologin assetplatform \
 && mkdir /app \
 && rm -rf /var/lib/apt/lists/*
RUN apt-get update \
 && apt-get install -y --no-install-recommends postgresql-client-15 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /assetplatform /usr/local/bin/assetplatform
# Debian's /usr/bin/psql is a wrapper in Perl: the real programs come first.
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /app
USER 1001:1001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini", "--", "assetplatform"]
