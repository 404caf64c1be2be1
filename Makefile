# A thin index of the chores: `make` lists them. Each does all the set-up it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A fresh shell may not have read cargo's environment file, and su keeps a user's PATH.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/sbin:/sbin

bpf := cd ebpf/xdp && RUSTC_BOOTSTRAP=1 cargo

.PHONY: help setup setup-root setup-deb setup-vm build demo test test-vm bench lint deb clean-labs

help: ## list the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing here; silent when nothing is
	@vm-tests/setup

setup-root:
	@vm-tests/setup root

setup-deb:
	@vm-tests/setup deb

setup-vm:
	@vm-tests/setup vm

build: setup ## build the daemon and its packet path
	@cargo build --package tidegate

demo: setup-root ## a router peers, a VIP is announced, packets reach backends; KEEP=1 leaves it up
	@cargo build --quiet --package tidegate --package tidegate-vm-tests --bins
	@KEEP=$(KEEP) target/debug/demo

test: setup-root ## every test: unit, property, golden frames, labs with a real BIRD
	@vm-tests/test

test-vm: setup-vm ## the packet path on Debian's other kernels, in virtual machines; the package
	@vm-tests/test vm

deb: setup-deb ## the Debian package, in target/debian
	@packaging/deb

bench: setup-root ## what it costs, held against bars; PART=rings, datapath, control, bgp, health, changes, failover or api, UPDATE=true keeps it
	@UPDATE=$(or $(UPDATE),false) vm-tests/bench $(PART)

lint: setup ## formatting, clippy and documentation, warnings being errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items
	$(bpf) fmt --check
	$(bpf) clippy --release --target bpfel-unknown-none -Z build-std=core -- -D warnings

clean-labs: setup-root ## remove the labs that KEEP=1 left up, and what killed ones left behind
	@cargo run --quiet --package tidegate-vm-tests --bin lab-sweep -- --kept
