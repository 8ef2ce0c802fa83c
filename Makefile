# Every verb of this repository. The line behind `##` is what `make help` shows.
# Arguments: ARGS="--shards 4" for run, run-one and bench, SECONDS_EACH=600 for fuzz, ROUNDS=10 for long (ROUNDS=0: no rounds).
# TEST_CRASH_IMAGES, TEST_BIT_FLIPS, TEST_KILL_CYCLES, TEST_CLUSTER_CYCLES and its kin (e2e/tests/three_nodes.rs), TEST_SEED (numbers),
# TEST_CONFORMANCE=all and TEST_MODEL=all make the same tests do more.
# model takes ARGS, too: ARGS="--scope 'shrink, 3 epochs'", ARGS="--plant all".

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run run-one test check bench fuzz sim long model docs deny setup
STEP := scripts/step
ARGS ?=
SECONDS_EACH ?= 60
ROUNDS ?= 1000
LONG_SEEDS ?= 1000
SEEDS ?= 100
FROM ?= 1
SEED ?=
# Where scripts/setup puts a Node.js of its own when the system's is too old.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

help: ## lists these verbs
	@echo "Thalweg: durable streams. Verbs:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

run: ## builds and starts three nodes with a driver, clients on 127.0.0.1:4437 to 4439, data in ./data (ARGS="--nodes 5", ARGS="--help")
	@scripts/setup build
	cargo build --release --package thalweg-node --bin node
	cargo run --release --package thalweg-e2e --bin e2e -- cluster $(ARGS)

run-one: ## builds and starts a single node on 127.0.0.1:4437, data in ./data (ARGS="--shards 4 …")
	@scripts/setup build
	cargo run --release --package thalweg-node --bin node -- $(ARGS)

test: ## every test a developer runs: units, crash images, conformance 338, kill -9, a quick benchmark (within 12 min)
	@scripts/setup test
	@$(STEP) "build" cargo build --workspace --all-targets
	@$(STEP) "unit, property, crash and architecture tests, fuzz corpora" cargo test --workspace --exclude thalweg-e2e
	@$(STEP) "processes: conformance suite, official client, kill -9" cargo test --package thalweg-e2e -- --nocapture --test-threads=1
	@$(STEP) "benchmark, quick" cargo run --release --package thalweg-e2e --bin bench -- --quick

check: ## format, lints, documentation and architecture, without the long tests
	@scripts/setup build
	@$(STEP) "format" cargo fmt --all --check
	@$(STEP) "lints" cargo clippy --workspace --all-targets -- -D warnings
	@$(STEP) "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	@$(STEP) "architecture" cargo test --package thalweg-node --test architecture

bench: ## measures the node (ARGS="--vs official,acid,memory" runs other servers beside it, "--write FILE" keeps the page)
	@scripts/setup build
	cargo run --release --package thalweg-e2e --bin bench -- $(ARGS)

fuzz: ## fuzzes each parser for SECONDS_EACH=60 seconds (installs a nightly toolchain and cargo-fuzz)
	@scripts/setup fuzz
	@scripts/fuzz $(SECONDS_EACH)

sim: ## simulates replicated shards: SEEDS=100 worlds from FROM=1, or SEED=x with an event log (ARGS="--plant all")
	@scripts/setup build
	cargo run --release --package thalweg-e2e --bin e2e -- sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM)) $(ARGS)

long: ## the long tier: simulated worlds (LONG_SEEDS=1000), then 10^8 states of the model, planted bugs in fresh seeds, and hours of crash images and kills in rounds (ROUNDS=1000); goes on where it was interrupted
	@scripts/setup test
	cargo run --release --package thalweg-e2e --bin e2e -- long --seeds $(LONG_SEEDS) $(ARGS)
	@scripts/long $(ROUNDS)

model: ## walks every state of the model of epochs within its large scopes: about 5 minutes (ARGS="--plant all")
	@scripts/setup build
	cargo run --release --package thalweg-e2e --bin e2e -- model $(or $(ARGS),--scope large)

docs: ## writes the generated pages anew (docs/configuration.md)
	UPDATE_DOCS=1 cargo test --package thalweg-node --lib -- the_documentation_page_is_current

deny: ## licences, advisories and sources of all dependencies (needs cargo-deny)
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --workspace check

setup: ## installs the tools that the tests need
	@scripts/setup test
