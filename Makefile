GOLANGCI_LINT_VERSION = v2.15.0
GOTESTSUM_VERSION     = v1.13.0

export PATH := $(PATH):/usr/local/go/bin
# or whatever has the race detector waits for a second at its end, as each labctl that tests run
export GORACE := atexit_sleep_ms=20
SHELL       := /bin/bash

GO       = go
LINT     = .tools/golangci-lint-$(GOLANGCI_LINT_VERSION)
TESTSUM  = .tools/gotestsum-$(GOTESTSUM_VERSION)
VERSION  = $(shell git -c safe.directory='*' describe --tags --always --dirty 2> /dev/null || echo devel)
RESULTS ?= bin/results
FUZZTIME ?= 30s
BENCH ?= .
BENCHTIME ?= 3x

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build up test e2e e2e-rooms e2e-images test-crashes kill-matrix images cloud-image chromium ovs alpine-iso alpine-packages nested test-passthrough lint check bench bench-image fuzz fmt clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: ## install and start what labctl needs; says what it changes (root)
	@scripts/setup

build: ## bin/labctl
	$(GO) build -buildvcs=false -ldflags '-X $(shell $(GO) list -m)/lab.version=$(VERSION)' -o bin/labctl ./cmd/labctl

up: setup build ## the built-in lab, from nothing (root)
	bin/labctl image build debian
	bin/labctl up

images: build ## the base images that labs stand on, unless they are there (root)
	bin/labctl image build debian debian-slim

test: $(TESTSUM) ## all that needs no root and no virtual machine: seconds
	$(GO) vet ./...
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format pkgname --jsonfile $(RESULTS)/test.json -- -race ./...

e2e: images cloud-image ovs $(TESTSUM) ## whole labs on real kernels, libvirt and machines, each test on a private host (root)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format testname --jsonfile $(RESULTS)/e2e.json -- -race -tags e2e -count 1 -timeout 240m ./e2e

e2e-rooms: images cloud-image chromium ovs $(TESTSUM) ## the other packages on the same, but for images (root)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format testname --jsonfile $(RESULTS)/rooms.json -- -race -tags e2e -count 1 -p 1 -timeout 40m $$($(GO) list -tags e2e ./... | grep -vE '/(e2e|images)$$')

e2e-images: images cloud-image alpine-iso alpine-packages $(TESTSUM) ## base images, really built and booted (root, a package mirror)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format testname --jsonfile $(RESULTS)/images.json -- -tags e2e -count 1 -timeout 60m ./images

cloud-image: ## ready images as distributions ship them, for tests, unless they are there (root, a package mirror)
	host/hosttest/cloud-image build

chromium: ## the browser that tests open reports with, unpacked and not installed, unless it is there (root, a package mirror)
	flows/report/testdata/chromium build

ovs: ## the Open vSwitch that tests run on private hosts, unpacked and not installed, unless it is there (root, a package mirror)
	host/hosttest/ovs build

alpine-iso: ## the stand-in for Alpine's ISO that tests install, unless it is there (root, a package mirror)
	images/testdata/alpine-iso/build

alpine-packages: ## what stands in for Alpine's packages in tests, unless it is there (root, a package mirror)
	@images/testdata/alpine-stand-in/fetch

nested: ## the nested host that passthrough tests run on, unless it is there (root, a package mirror)
	host/hosttest/nested-host build

test-passthrough: images nested $(TESTSUM) ## labctl in a nested host with a virtual IOMMU, which passes real NICs through, and with netem (root)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format testname --jsonfile $(RESULTS)/passthrough.json -- -tags passthrough -count 1 -p 1 -timeout 80m ./host/hosttest ./e2e

CRASHES  = -crash.share 0.02 -crash.late 0.006 -crash.boots 1 -crash.times 5
test-crashes: images cloud-image ovs $(TESTSUM) ## a part of the kill matrix, chosen by chance; SEED=N for that of another time (root)
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format testname --jsonfile $(RESULTS)/crashes.json -- -tags crash -count 1 -timeout 900m ./e2e -args $(CRASHES) $(addprefix -crash.seed ,$(SEED))

kill-matrix: CRASHES =
kill-matrix: test-crashes ## labctl killed and interrupted at every boundary between two changes to the host: hours (root)

lint: $(LINT) ## what reviewers need not say
	$(LINT) run

# What tests on real machines stand on: all of it comes from a package mirror.
STANDS = images cloud-image chromium ovs alpine-iso alpine-packages nested

# Two lanes each time, one beside the other, whose output comes after: what is looked at without a machine beside what
# machines are made of; then whole labs beside images, the machine in a machine, the rooms and what is killed.
check: setup build $(LINT) $(TESTSUM) ## all of the above, and a short fuzz: what CI runs (root)
	@aside=$$(mktemp); trap 'rm -f "$$aside"' EXIT; \
	$(MAKE) $(STANDS) > "$$aside" 2>&1 & \
	$(MAKE) --keep-going lint test fuzz FUZZTIME=10s; fast=$$?; \
	wait $$!; stands=$$?; cat "$$aside"; [ $$stands = 0 ] || exit $$stands; \
	$(MAKE) --keep-going e2e-images test-passthrough e2e-rooms test-crashes > "$$aside" 2>&1 & \
	$(MAKE) --keep-going e2e; labs=$$?; \
	wait $$!; images=$$?; cat "$$aside"; exit $$((fast | labs | images))

bench: setup images ## labctl's times beside QEMU's started by hand, BENCH=Up BENCHTIME=3x (root)
	host/hosttest/private-host $(GO) test -tags bench -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -timeout 90m ./e2e

bench-image: setup build ## how long each base image takes to build, and its size (root, a package mirror)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && TIMEFORMAT='%R s' && \
	for recipe in debian debian-slim; do time bin/labctl --dir "$$dir" image build $$recipe || exit; done

fuzz: ## search for files that break the reader or what derives from them, FUZZTIME=30s
	$(GO) test -run '^$$' -fuzz FuzzLoad -fuzztime $(FUZZTIME) -fuzzminimizetime 0 ./topology
	$(GO) test -run '^$$' -fuzz FuzzLoadFlows -fuzztime $(FUZZTIME) -fuzzminimizetime 0 ./flows
	$(GO) test -run '^$$' -fuzz FuzzInjection -fuzztime $(FUZZTIME) -fuzzminimizetime 0 ./cmd/labctl

fmt: $(LINT) ## gofumpt, as lint wants it
	$(LINT) fmt

clean: ## remove what make made
	rm -rf bin .tools

$(LINT):
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .tools/golangci-lint $@

$(TESTSUM):
	GOBIN=$(CURDIR)/.tools $(GO) install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	mv .tools/gotestsum $@
