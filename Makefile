# Varve: every target is what CI runs; see CONTRIBUTING.md.
GO     ?= go
BIN    := bin/varve
TOOLS  := .bin
export CGO_CFLAGS ?= -O2
# Tests run with the assertions of package invariants. Released binaries are built without it.
TAGS := -tags invariants
# Otherwise every test binary with the race detector sleeps for a second before it ends well.
export GORACE ?= atexit_sleep_ms=0

NEMESIS_TIME ?= 4m

# Virtual time passes several hundred times as fast.
SIMULATION_TIME ?= 2m
# One commit has the same seeds wherever it is tested, and each commit has others.
SIMULATION_FROM ?= $(shell git rev-list --count HEAD 2>/dev/null || echo 0)0000

# The CPU time after which a planted fault has survived.
MUTANTS_LIMIT ?= 10m

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/varvelog/varve/server.Version=$(VERSION)

COMPOSE ?= docker compose

# The certificates that the image trusts; set it to a bundle of yours where this machine has none.
CA_BUNDLE ?= $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem) no-CA_BUNDLE)

.PHONY: build run test test-long test-clients unit integration simulation faults containers nemesis fuzz mutants mutants-check check lint gen hooks bench bench-peer bench-check shape monitoring-check image release release-check localstack-minio localstack-localstack localstack-down clean

build: ## the one binary, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/varve

run: build ## one broker with everything embedded on 127.0.0.1:9092
	$(BIN) broker start

test: check lint unit ## what a pull request must pass: needs only Go, make and git
	$(MAKE) -j2 integration simulation
	$(MAKE) fuzz

unit: $(TOOLS)/versitygw.stamp $(TOOLS)/fake-gcs-server.stamp $(TOOLS)/azurite.stamp ## packages by themselves, with the race detector
	$(GO) test -race $(TAGS) -timeout 10m $$($(GO) list ./... | grep -v /integration)

# Tests of half a minute each, which replay schedules that once lost acknowledged records.
FAULTS := ^(TestAnswersWhileOneReplicaHangs|TestSettingsWhileFollowersJoin|TestWholeReplicaIsWaitedFor|TestEtcdIsRestored|TestDeletedRecordsStayDeleted)$$

integration: build $(TOOLS)/versitygw.stamp ## the built binary with a real S3 server and franz-go
	$(GO) test -race $(TAGS) -timeout 25m -skip '$(FAULTS)' ./integration/...

simulation: ## clusters in virtual time, for SIMULATION_TIME, from seeds that no commit before has had
	VARVE_SIMULATION_TIME=$(SIMULATION_TIME) VARVE_SIMULATION_FROM=$(SIMULATION_FROM) \
		$(GO) test $(TAGS) -count=1 -timeout 24h -run '^TestSimulation$$' -v ./replication

faults: build ## schedules that once lost acknowledged records, on three brokers
	$(GO) test -race $(TAGS) -count=1 -timeout 25m -run '$(FAULTS)' -v ./integration

test-clients: build ## librdkafka, Java and franz-go clients; installs what the machine lacks
	integration/clients/run

containers: ## three brokers, etcd, NATS and S3 as containers; skipped where no Docker engine answers
	$(GO) -C integration/containers mod tidy -diff
	cd integration/containers && $(GO) vet . && $(GO) test -race -count=1 -timeout 25m -v .

nemesis: build ## does all harm to brokers for NEMESIS_TIME under producers, readers and changes
	VARVE_NEMESIS_TIME=$(NEMESIS_TIME) $(GO) test -race $(TAGS) -count=1 -timeout 24h -run '^TestNemesis$$' -v ./integration

test-long: ## the same checks, for longer
	VARVE_LONG=1 $(GO) test -race $(TAGS) -timeout 120m ./...
	$(MAKE) simulation SIMULATION_TIME=60m SIMULATION_FROM=$$(date +%s)000

fuzz: ## some seconds for every decoder
	tools/fuzz 20000x

mutants: $(TOOLS)/mutants ## plants faults, one at a time, and runs the tests that should find them; MUTANTS names some of them
	$(TOOLS)/mutants -limit $(MUTANTS_LIMIT) run $(MUTANTS)

mutants-check: $(TOOLS)/mutants ## every planted fault still has its place, compiles, and has its tests
	$(TOOLS)/mutants check

check: monitoring-check mutants-check bench-check ## the fast gate
	@test -z "$$(gofmt -s -l $$(git ls-files '*.go'))" || { gofmt -s -l $$(git ls-files '*.go'); echo 'run gofmt -s -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) vet $(TAGS) ./...
	$(GO) vet -tags varve_next $(NEXT)
	$(GO) fix -diff ./...
	$(GO) fix -diff $(TAGS) ./...
	$(GO) mod tidy -diff
	$(GO) test $(TAGS) .

monitoring-check: $(TOOLS)/monitoring ## dashboards and alerts: every metric in them is in docs/metrics.md
	$(TOOLS)/monitoring .

# The packages of the later version that tests run beside this one, see docs/testing.md.
NEXT := ./metadata ./tiering/format

# The packages that have files for the tag.
TAGGED = $$(grep -rlE '^//go:build !?invariants$$' --include='*.go' . | xargs -n1 dirname | sort -u)

lint: $(TOOLS)/golangci-lint ## the linters of .golangci.yml
	$(TOOLS)/golangci-lint run ./...
	$(TOOLS)/golangci-lint run --build-tags invariants $(TAGGED)
	$(TOOLS)/golangci-lint run --build-tags varve_next $(NEXT)
	cd integration/containers && ../../$(TOOLS)/golangci-lint run ./...
	cd tools/bench && ../../$(TOOLS)/golangci-lint run ./...

hooks: ## installs the hook that checks commit messages, in this clone
	git config core.hooksPath tools/hooks

gen: ## generated documents
	$(GO) test ./broker ./config ./server -run 'TestGenerated|APIDocument' -update

shape: $(TOOLS)/shape ## figures of the code's shape: sizes, comments, references against the order of files
	$(TOOLS)/shape .

bench: ## micro benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./record ./storage ./broker ./tiering

# The systems of bench-peer, and its flags; tools/bench/README.md has them all.
BENCH ?= -system varve=$(BIN) -system kafka=4.4.0

bench-peer: build $(TOOLS)/bench ## Varve beside Kafka; needs java and mvn; BENCH names other systems and legs
	$(TOOLS)/bench $(BENCH) run

bench-check: $(TOOLS)/bench ## the tool of bench-peer compiles and its tests pass
	$(GO) -C tools/bench mod tidy -diff
	$(GO) -C tools/bench vet .

# The servers that tests run against; the test harness builds them where they are missing.
$(TOOLS)/versitygw.stamp: tools/versitygw/go.mod tools/versitygw/go.sum
	$(GO) test -count=1 -timeout 30m ./objstore/bucketadmin
	@touch $@

$(TOOLS)/fake-gcs-server.stamp: tools/fake-gcs-server/go.mod tools/fake-gcs-server/go.sum
	$(GO) test -count=1 -timeout 30m -run '^TestGCS$$' ./objstore
	@touch $@

$(TOOLS)/azurite.stamp: tools/azurite/package.json tools/azurite/package-lock.json
	$(GO) test -count=1 -timeout 30m -run '^TestAzure$$' ./objstore
	@touch $@

image: ## the container image varve:$(VERSION) and varve:latest, without a network
	mkdir -p bin/image/data
	CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/image/varve ./cmd/varve
	cp $(CA_BUNDLE) bin/image/ca-certificates.crt
	chmod 755 bin/image/varve bin/image/data && chmod 644 bin/image/ca-certificates.crt
	docker build --network none --build-arg VERSION=$(VERSION) -t varve:$(VERSION) -t varve:latest .

release: ## archives for linux and darwin on amd64 and arm64 with SBOMs and SHA256SUMS, in dist/
	tools/release dist

release-check: ## two builds of a release in different directories are the same bytes
	tools/release-check

localstack-minio: image ## three brokers in containers with MinIO; see localstack/README.md
	$(COMPOSE) -f localstack/compose.minio.yaml up -d

localstack-localstack: image ## the same with LocalStack
	$(COMPOSE) -f localstack/compose.localstack.yaml up -d

localstack-down: ## end either and remove their data
	$(COMPOSE) -f localstack/compose.minio.yaml down --volumes --remove-orphans

clean:
	rm -rf bin $(TOOLS)

$(TOOLS)/golangci-lint: tools/go.mod tools/go.sum
	$(GO) build -C tools -trimpath -o ../$(TOOLS)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(TOOLS)/shape: $(wildcard tools/shape/*.go) tools/shape/go.mod
	$(GO) test -C tools/shape .
	$(GO) build -C tools/shape -trimpath -o ../../$(TOOLS)/shape .

$(TOOLS)/mutants: $(wildcard tools/mutants/*.go) tools/mutants/go.mod
	$(GO) test -C tools/mutants .
	$(GO) build -C tools/mutants -trimpath -o ../../$(TOOLS)/mutants .

$(TOOLS)/monitoring: $(wildcard tools/monitoring/*.go) tools/monitoring/go.mod tools/monitoring/go.sum
	$(GO) test -C tools/monitoring .
	$(GO) build -C tools/monitoring -trimpath -o ../../$(TOOLS)/monitoring .

$(TOOLS)/bench: $(wildcard tools/bench/*.go) tools/bench/README.md tools/bench/go.mod tools/bench/go.sum
	$(GO) test -C tools/bench .
	$(GO) build -C tools/bench -trimpath -o ../../$(TOOLS)/bench .

.PHONY: terraform-check terraform-moto terraform-local
terraform-check: build ## the Terraform module and the systemd unit, as far as that goes without a cloud; VARVE_TERRAFORM=optional skips what the machine lacks
	terraform/test/check

terraform-moto: ## applies the examples to a simulation of AWS
	terraform/test/moto

terraform-local: build $(TOOLS)/versitygw.stamp ## applies examples/local: three brokers in containers of this machine
	terraform/test/local
