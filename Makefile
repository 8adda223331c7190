# Varve: every target is what CI runs; see CONTRIBUTING.md.
GO     ?= go
BIN    := bin/varve
TOOLS  := .bin
export CGO_CFLAGS ?= -O2

NEMESIS_TIME ?= 4m

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/varvelog/varve/server.Version=$(VERSION)

.PHONY: build run test test-long test-clients unit integration nemesis fuzz check lint gen bench clean

build: ## the one binary, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/varve

run: build ## one broker with everything embedded on 127.0.0.1:9092
	$(BIN) broker start

test: check lint unit integration fuzz ## what a pull request must pass: needs only Go, make and git

unit: $(TOOLS)/versitygw.stamp ## packages by themselves, with the race detector
	$(GO) test -race -timeout 10m $$($(GO) list ./... | grep -v /integration)

integration: build $(TOOLS)/versitygw.stamp ## the built binary with a real S3 server and franz-go
	$(GO) test -race -timeout 15m ./integration/...

test-clients: build ## librdkafka, Java and franz-go clients; installs what the machine lacks
	integration/clients/run

nemesis: build ## kills, freezes and cuts off brokers for NEMESIS_TIME under producers and readers
	VARVE_NEMESIS_TIME=$(NEMESIS_TIME) $(GO) test -race -count=1 -timeout 24h -run '^TestNemesis$$' -v ./integration

test-long: ## the same checks, for longer
	VARVE_LONG=1 $(GO) test -race -timeout 120m ./...

fuzz: ## some seconds for every decoder
	tools/fuzz 20000x

check: ## the fast gate
	@test -z "$$(gofmt -s -l $$(git ls-files '*.go'))" || { gofmt -s -l $$(git ls-files '*.go'); echo 'run gofmt -s -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) fix -diff ./...
	$(GO) mod tidy -diff
	$(GO) test .

lint: $(TOOLS)/golangci-lint ## the linters of .golangci.yml
	$(TOOLS)/golangci-lint run ./...

gen: ## generated documents
	$(GO) test ./broker ./config -run 'TestGenerated|APIDocument' -update

bench: ## micro benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./record ./storage ./broker ./tiering

# The S3 server that tests run against; the test harness builds it where it is missing.
$(TOOLS)/versitygw.stamp: tools/versitygw/go.mod tools/versitygw/go.sum
	$(GO) test -count=1 -timeout 30m ./objstore/bucketadmin
	@touch $@

clean:
	rm -rf bin $(TOOLS)

$(TOOLS)/golangci-lint: tools/go.mod tools/go.sum
	$(GO) build -C tools -trimpath -o ../$(TOOLS)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

.PHONY: terraform-check terraform-moto terraform-local
terraform-check: build ## the Terraform module and the systemd unit, as far as that goes without a cloud; VARVE_TERRAFORM=optional skips what the machine lacks
	terraform/test/check

terraform-moto: ## applies the examples to a simulation of AWS
	terraform/test/moto

terraform-local: build $(TOOLS)/versitygw.stamp ## applies examples/local: three brokers in containers of this machine
	terraform/test/local
