# Two targets do everything on a fresh Debian machine: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tests, lint and images share what is compiled: the flags are those of go_build in hack/lib.sh. The race detector needs C.
export GOFLAGS := -trimpath -gcflags=all=-dwarf=false
export CGO_ENABLED := $(if $(SOAK),1,0)

CACHE := $(or $(ASSETPLATFORM_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/assetplatform)
TOOLS := $(CACHE)/tools
VERSION ?= dev

# Each tool lives in a folder that carries its version: a new version is a new tool.
CONTROLLER_GEN := $(TOOLS)/controller-tools-v0.23.0/controller-gen
SQLC := $(TOOLS)/sqlc-v1.31.1/sqlc
GOLANGCI_LINT := $(TOOLS)/golangci-lint-v2.15.0/golangci-lint

# All that is generated and committed; `make verify` fails where it drifts from its source.
GENERATED := api/v1alpha1/zz_generated.deepcopy.go config/crd/bases config/rbac/role.yaml internal/store/sqlc docs/configuration.md config/monitoring/operator-dashboard.json

include hack/cluster.mk # demo, demo-down, cluster-*, images

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

##@ Build

.PHONY: build
build: ## The binary, in bin/
	CGO_ENABLED=0 go build -ldflags "-s -w -X main.version=$(VERSION)" -o bin/assetplatform ./cmd/assetplatform

.PHONY: generate
generate: $(CONTROLLER_GEN) $(SQLC) ## Write everything that is generated
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt crd rbac:roleName=operator paths=./api/... paths=./controllers/... \
		output:crd:dir=config/crd/bases output:rbac:dir=config/rbac
	$(SQLC) generate
	go run ./hack/docs > docs/configuration.md.tmp && mv docs/configuration.md.tmp docs/configuration.md
	go run ./hack/docs dashboard > config/monitoring/operator-dashboard.json.tmp && mv config/monitoring/operator-dashboard.json.tmp config/monitoring/operator-dashboard.json

$(CONTROLLER_GEN):
	GOBIN=$(@D) go install sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0
$(SQLC):
	GOBIN=$(@D) go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
$(GOLANGCI_LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

##@ Check

.PHONY: test
test: ## Everything that is tested, with its real services (this is what CI runs)
	@hack/test

.PHONY: verify
verify: ## Fail where generated files or go.mod drift from their source
	@before=$$(find $(GENERATED) -type f -exec sha256sum {} + | sort -k2); \
	$(MAKE) --no-print-directory generate >/dev/null; \
	after=$$(find $(GENERATED) -type f -exec sha256sum {} + | sort -k2); \
	diff <(echo "$$before") <(echo "$$after") || { echo "generated files were out of date; they are written now: commit them" >&2; exit 1; }
	@go mod tidy -diff

.PHONY: lint
lint: $(GOLANGCI_LINT) ## go vet and golangci-lint, with the import rules of the architecture; shellcheck
	$(GOLANGCI_LINT) run ./...
	@hack/deps lint
	shellcheck -x -P SCRIPTDIR $$(grep -rlE '^#!/bin/(ba)?sh' .ci hack)

.PHONY: test-go
test-go: ## Unit, manifests, controllers, store and server tests (real apiserver, PostgreSQL, Redis, S3 server)
	@hack/deps tests
	@hack/clients
	@hack/cluster/binaries api node peers >/dev/null # here, where it shows its progress and no test's time runs
	VERSITYGW=$$(hack/images/build s3-binary) go test $(if $(SOAK),-race -timeout 120m,-timeout 20m) ./...

.PHONY: test-e2e
test-e2e: ## End to end on a real node of its own (E2E_CLUSTER, default e2e)
	@hack/e2e

.PHONY: soak
soak: ## The proofs with their full counts, the race detector and fuzzing; takes long
	SOAK=1 $(MAKE) test-go test-e2e
	$(MAKE) fuzz

.PHONY: fuzz
fuzz: ## Every fuzz target of the asset half for a minute
	@hack/deps tests
	@hack/fuzz 1m internal

.PHONY: bench
bench: ## Benchmarks, as ratios to limits and peers of the same run
	@hack/deps tests bench
	@hack/cluster/binaries api peers pocketbase tusd s5cmd rclone >/dev/null # here, where it shows its progress
	VERSITYGW=$$(hack/images/build s3-binary) go test -run '^$$' -bench . -benchtime 1x -timeout 90m ./bench/...

.PHONY: bench-faults
bench-faults: ## Write docs/backup-faults.md: what faults leave of a backup, with others' programs and with ours
	@hack/deps tests bench
	@hack/cluster/binaries s5cmd rclone >/dev/null
	UPDATE_FAULTS=1 VERSITYGW=$$(hack/images/build s3-binary) go test -run '^$$' -bench BackupFaults -benchtime 1x ./bench
