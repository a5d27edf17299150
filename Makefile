# Two commands: `make up` starts everything and serves, `make test` runs every test.
.DEFAULT_GOAL := help
LOCAL := target/debug/examples/local
TOOLS := tests/controlplane/build
# With the examples, whose dependencies are the tests': otherwise features differ and half of everything is built twice.
BUILD := cargo build --locked --bins --examples

# Tests wait most of the time, so more of them than there are cores run at once.
export RUST_TEST_THREADS ?= 4

.PHONY: help up demo down test bench image e2e crds docs check

help: ## This text
	@awk -F':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## Build and start everything in the background, apply examples/, say what to type next
	@$(TOOLS) >/dev/null
	$(BUILD)
	@$(LOCAL) up

demo: ## Walk the life of a key, a line a step (after `make up`)
	@$(LOCAL) demo

down: ## Stop what `make up` started
	@$(LOCAL) down

test: ## Run every test, on a real API server and behind real gateways; goes on after a failure and lists all at the end
	@$(TOOLS) >/dev/null
	@tests/gateways/tools >/dev/null
	cargo test --locked --no-fail-fast

bench: ## Measure a decision and counting it, a disabled key's last moments, and the verifier beside servers that decide nothing (about 20 minutes)
	@$(TOOLS) >/dev/null
	@tests/gateways/tools >/dev/null
	cargo bench --locked --bench decide
	cargo bench --locked --bench activity
	cargo bench --locked --bench disable
	cargo bench --locked --bench serve

image: ## Build the image as target/image/keywright.tar, without an engine, and its SBOM beside it (minutes)
	@image/build

e2e: ## Try image and chart on the cluster that KUBECONFIG names; docs/IMAGE.md says what it needs
	@$(TOOLS) >/dev/null
	$(BUILD)
	@target/debug/examples/e2e

crds: ## Generate crds/, the chart's copies and docs/reference.md from the types
	$(BUILD)
	@target/debug/keywright crds --dir crds --templates charts/keywright/templates/crds --reference docs/reference.md

docs: ## Generate the chart's page of values and docs/rights.md from the chart, and what examples/gitops has of statuses and scripts
	KEYWRIGHT_UPDATE=1 cargo test --locked --test chart generated
	KEYWRIGHT_UPDATE=1 cargo test --locked --test gitops the_statuses
	KEYWRIGHT_UPDATE=1 cargo test --locked --test argocd

check: ## What CI checks besides the tests: formatting, clippy, generated CRDs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory crds
	git diff --exit-code -- crds charts/keywright/templates/crds docs/reference.md
