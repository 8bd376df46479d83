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
FUZZTIME ?= 2000x
BENCH ?= .
BENCHTIME ?= 3x
RUN ?= .
N ?= 10
HOGS ?= 2

# scripts/check runs tests and tells what each part took; make has begun before it, with set-up
CHECK   = $(GO) build -o bin/check ./scripts/check && CHECK_BEGUN=$(BEGUN) SEED=$(SEED) bin/check
BEGUN  := $(shell date +%s)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build up test test-race lint images nested cloud-image chromium ovs alpine-iso alpine-packages check check-changed check-all e2e soak kill-matrix bench bench-image fuzz fmt clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: ## install and start what labctl needs; says what it changes (root)
	@scripts/setup

build: ## bin/labctl
	$(GO) build -buildvcs=false -ldflags '-X $(shell $(GO) list -m)/lab.version=$(VERSION)' -o bin/labctl ./cmd/labctl

up: setup build ## the built-in lab, from nothing (root)
	bin/labctl image build debian
	bin/labctl up

test: $(TESTSUM) ## all that needs no root and no virtual machine
	@mkdir -p $(RESULTS)
	$(TESTSUM) --format pkgname --jsonfile $(RESULTS)/test.json -- ./...

test-race: $(TESTSUM) ## the same with the race detector; what fails once runs again, and is reported
	@mkdir -p $(RESULTS)
	@rm -f $(RESULTS)/test.rerun
	$(TESTSUM) --format pkgname --jsonfile $(RESULTS)/test.json --rerun-fails=1 --rerun-fails-max-failures=5 \
		--rerun-fails-report=$(RESULTS)/test.rerun --packages=./... -- -race -vet=off -timeout 20m

lint: $(LINT) ## what reviewers need not say
	$(LINT) run

# What tests on real machines stand on. All of it comes from a package mirror, is built once, and is checked before it is used.
images: build ## the base images that labs stand on, unless they are there (root)
	bin/labctl image build debian debian-slim

nested: ## the nested host that passthrough tests run on, unless it is there (root, a package mirror)
	scripts/cached host/hosttest/nested-host build

cloud-image: ## ready images as distributions ship them, for tests, unless they are there (root, a package mirror)
	scripts/cached host/hosttest/cloud-image build

chromium: ## the browser that tests open reports with, unpacked and not installed, unless it is there (root, a package mirror)
	scripts/cached flows/report/testdata/chromium build

ovs: ## the Open vSwitch that tests run on private hosts, unpacked and not installed, unless it is there (root, a package mirror)
	scripts/cached host/hosttest/ovs build

alpine-iso: ## the stand-in for Alpine's ISO that tests install, unless it is there (root, a package mirror)
	scripts/cached images/testdata/alpine-iso/build

alpine-packages: ## what stands in for Alpine's packages in tests, unless it is there (root, a package mirror)
	scripts/cached images/testdata/alpine-stand-in/fetch

check: setup build ## every promise once: lint, unit tests, a short fuzz, and tests on real machines (root)
	$(CHECK) check -results $(RESULTS)

check-changed: setup build ## beyond make check, the tests on real machines that a change touches: BASE=REV (root)
	$(CHECK) changed -results $(RESULTS) -base '$(BASE)' $(addprefix -within ,$(WITHIN))

check-all: setup build ## everything there is: hours; PART=3/8 for the third of eight parts (root)
	$(CHECK) all -results $(RESULTS) -part '$(PART)'

e2e: setup build ## tests on real machines whose names match: RUN='e2e.TestReset|networks' (root)
	$(CHECK) e2e -results $(RESULTS) -run '$(RUN)'

soak: setup build ## make check's tests on real machines N times, beside HOGS busy loops and a writer to the disk (root)
	$(CHECK) soak -results $(RESULTS) -n $(N) -hogs $(HOGS)

kill-matrix: images cloud-image ovs ## labctl killed and interrupted at every boundary between two changes to the host: hours (root)
	$(GO) test -tags e2e -count 1 -timeout 900m -run 'Killed|UpInterrupted|UndoInterrupted' -v ./e2e \
		-args -crash.share 1 -crash.late 1 -crash.boots 20 -crash.times 100 $(addprefix -crash.seed ,$(SEED))

bench: setup images ## labctl's times beside QEMU's started by hand, BENCH=Up BENCHTIME=3x (root)
	host/hosttest/private-host $(GO) test -tags bench -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -timeout 90m ./e2e

bench-image: setup build ## how long each base image takes to build, and its size (root, a package mirror)
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && TIMEFORMAT='%R s' && \
	for recipe in debian debian-slim; do time bin/labctl --dir "$$dir" image build $$recipe || exit; done

fuzz: ## search for files that break the reader or what derives from them: FUZZTIME=2000x, a count or a time
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
