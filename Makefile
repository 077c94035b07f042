# Every target says what it does; `make help` prints them.
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# What only connectors/entra needs is large, and slow to build with the race
# detector; these packages hold the concurrency of Ambit and do without it.
RACE := ./access/... ./api/... ./audit/... ./connectors/file/... ./connectors/ldap/... ./directory/... ./document/... ./engine/... ./jit/... \
        ./mapping/... ./model/... ./scim/... ./secret/... ./store/... ./sync/... ./tenant/...

# Go leaves folders of this name out of ./...; these hold packages all the same.
TESTDATA := ./testdata/company ./testdata/histories ./testdata/loopback ./testdata/rig

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## build bin/ambit (the first build takes minutes: the Microsoft Graph SDK is large)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ambit ./cmd/ambit

.PHONY: demo
demo: build ## the main job on bundled directories: sync, check, elevate, audit
	bin/ambit demo

.PHONY: test
test: servers ## everything: real slapd and PostgreSQL, the demo, kills and bad input
	$(GO) vet ./... $(TESTDATA)
	$(GO) test -race -shuffle=on -timeout 20m $(RACE)
	$(GO) -C bench test . ./page ./bed ./freshness ./memory
	GOGC=400 AMBIT_RANDOM=2000000 $(GO) test -count=1 -run '^TestRule_EVAL_12_EngineAndReference' -v ./engine
	$(GO) test -shuffle=on -timeout 30m $(TESTDATA) $$($(GO) list ./... | grep -vxF -f <($(GO) list $(RACE)))

.PHONY: soak
soak: servers
soak: SOAK ?= 10m
soak: ## random questions to engine and reference, and then filters to both databases, each for SOAK (10m); a difference is kept under testdata/decisions/found; `make histories` is the same for directories
	GOGC=400 AMBIT_SOAK=$(SOAK) $(GO) test -count=1 -run '^TestRule_EVAL_12_EngineAndReference' -timeout 0 -v ./engine
	AMBIT_SOAK=$(SOAK) $(GO) test -count=1 -run '^TestRule_EVAL_7_BothDatabases' -timeout 0 -v ./engine/filtertest

.PHONY: histories
histories: servers
histories: HISTORIES ?= 10000
histories: ## random changes and faults of directories (10000 histories), each to end as an undisturbed read does
	set -o pipefail; AMBIT_HISTORIES=$(HISTORIES) $(GO) test -count=1 -run '^TestRule_REL_3_REL_4_SRC_3_histories$$' -parallel 4 -timeout 0 -v ./testdata/histories | grep -vE '^ *(=== |--- PASS)'

.PHONY: mutants
mutants: ## break each rule in the engine in turn, and tell which the tests notice
	$(GO) run ./engine/enginetest/mutants

.PHONY: quick
quick: ## the tests without the race detector
	$(GO) test ./... $(TESTDATA)

.PHONY: servers
servers: ## install Debian's slapd, samba, 389-ds-base, postgresql and systemd where they are missing
	@packaging/servers.sh

.PHONY: bench
bench: servers build ## measure, and write the figures to docs/benchmarks.md
	$(GO) -C bench build -o ../bin/bench .
	bin/bench

.PHONY: bench-peers
bench-peers: servers ## ask other engines and databases the same as Ambit, for docs/benchmarks.md (the first build takes minutes)
	$(GO) -C bench build -o ../bin/bench-peers ./peers
	bin/bench-peers

.PHONY: bench-freshness
bench-freshness: servers ## ten minutes of changes to each of slapd, Samba and a server as Graph's, and how soon answers change, for docs/benchmarks.md
	$(GO) -C bench build -o ../bin/bench-freshness ./freshness
	bin/bench-freshness
	bin/bench-freshness -source ad
	bin/bench-freshness -source graph

.PHONY: bench-memory
bench-memory: servers ## how much memory reading a directory takes, of 55,000 and of 550,000 entries, for docs/benchmarks.md (takes minutes, and 8 GB)
	$(GO) -C bench build -o ../bin/bench-memory ./memory
	bin/bench-memory

.PHONY: bench-scale
bench-scale: ## measure the engine with a million users, for docs/benchmarks.md (takes a quarter of an hour, 8 GB, and 5 GB of disk)
	$(GO) -C bench build -o ../bin/bench-scale ./scale
	bin/bench-scale

.PHONY: lint
lint: ## golangci-lint with the import rules (downloads the pinned tool)
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: vuln
vuln: ## known vulnerabilities in what is called (needs the network)
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

.PHONY: fuzz
fuzz: ## each fuzz test for 30 seconds
	@set -e; grep -rlE '^func Fuzz' --include=*_test.go . | xargs -n1 dirname | sort -u | while read -r dir; do \
	  grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$dir/*_test.go | sed 's/func //' | while read -r name; do \
	    echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime 30s -fuzzminimizetime 3x $$dir; done; done

.PHONY: cover
cover: servers ## coverage by package
	$(GO) test -coverprofile=coverage.out ./... && $(GO) tool cover -func=coverage.out | tail -1

.PHONY: golden
golden: ## write the golden files anew; review them as code
	$(GO) test ./... -run Golden -update

.PHONY: check
check: lint test ## all before a commit

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist coverage.out
