package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/notify"
	"github.com/varvelog/varve/porttest"
	"github.com/varvelog/varve/security/securitytest"
)

// freeControl returns an address whose port and the two after it are unused, also by other tests.
func freeControl(t *testing.T) string {
	t.Helper()
	return porttest.Address(t, 3)
}

// controlOnly is a broker that runs only its control plane.
func controlOnly(t *testing.T, b config.Broker, logger *slog.Logger) *server {
	t.Helper()
	b.Cluster = "test"
	if b.DataDir == "" {
		b.DataDir = filepath.Join(t.TempDir(), strconv.Itoa(int(b.NodeID)))
	}
	return &server{Options: Options{Config: b}, log: logger, parts: newStages(logger), registry: prometheus.NewRegistry()}
}

// TestControlPlaneOfSeveralBrokers starts three seeds and a broker that is not one at the same
// time. All brokers see every write, and receive every hint.
func TestControlPlaneOfSeveralBrokers(t *testing.T) {
	var seeds []config.Seed
	for i := range 3 {
		seeds = append(seeds, config.Seed{NodeID: int32(i + 1), Control: freeControl(t)})
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	var brokers []*server
	for id := int32(1); id <= 4; id++ {
		b := config.Broker{NodeID: id, Seeds: seeds}
		if id <= 3 {
			b.Control = seeds[id-1].Control
		}
		brokers = append(brokers, controlOnly(t, b, logger))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range brokers {
		all.Go(func() {
			if err := s.openControl(ctx); err != nil {
				t.Errorf("broker %d: %v", s.Config.NodeID, err)
			}
		})
	}
	all.Wait()
	defer func() {
		for _, s := range brokers {
			all.Go(func() {
				if err := s.parts.stop(); err != nil {
					t.Errorf("broker %d: %v", s.Config.NodeID, err)
				}
			})
		}
		all.Wait()
		// A connection between members that ends during a request stays for etcd's read timeout, 5
		// s.
		for deadline := time.Now().Add(time.Minute); goleak.Find() != nil; {
			if time.Now().After(deadline) {
				return // TestMain reports what is left
			}
		}
	}()
	if t.Failed() {
		t.FailNow()
	}
	for _, from := range brokers {
		revision, err := from.store.Txn(ctx, nil, kv.Put(fmt.Sprintf("test/%d", from.Config.NodeID), nil))
		if err != nil {
			t.Fatalf("write at broker %d: %v", from.Config.NodeID, err)
		}
		for _, to := range brokers {
			if _, err = to.loader.WaitRevision(ctx, revision); err != nil {
				t.Errorf("broker %d does not follow what broker %d writes: %v", to.Config.NodeID, from.Config.NodeID, err)
			}
		}
	}
	for _, to := range brokers {
		heard := make(chan struct{}, 1)
		stop, err := notify.Subscribe(to.bus, func(notify.SegmentTiered) {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		for got := false; !got; {
			select {
			case <-heard:
				got = true
			case <-tick.C: // repeatedly, until the servers have found each other
				notify.Publish(brokers[3].bus, notify.SegmentTiered{EndOffset: 1})
			case <-ctx.Done():
				t.Fatalf("broker %d does not hear what broker 4 tells", to.Config.NodeID)
			}
		}
		tick.Stop()
		stop()
	}
}

// TestLogsWithoutEtcdBeginNoCluster starts a broker with logs but without etcd's files.
func TestLogsWithoutEtcdBeginNoCluster(t *testing.T) {
	for name, put := range map[string]func(logs string) error{
		"meta.properties": func(logs string) error { return os.WriteFile(filepath.Join(logs, "meta.properties"), nil, 0o600) },
		"a log":           func(logs string) error { return os.Mkdir(filepath.Join(logs, "orders-0"), 0o750) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			logs := filepath.Join(dir, "logs")
			if err := errors.Join(os.Mkdir(logs, 0o750), put(logs)); err != nil {
				t.Fatal(err)
			}
			s := controlOnly(t, config.Broker{NodeID: 1, DataDir: dir}, slog.New(slog.DiscardHandler))
			err := s.openControl(t.Context())
			if err == nil || !strings.Contains(err.Error(), "no member of etcd, but logs") || !strings.Contains(err.Error(), logs) {
				t.Errorf("it starts: %v", err)
			}
			if err = s.parts.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAccessReachesTheStoreAndTheBus(t *testing.T) {
	ca := securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	s := controlOnly(t, config.Broker{
		NodeID: 1, Etcd: []string{"https://127.0.0.1:1"},
		EtcdAccess: config.EtcdAccess{CAFile: ca.File, CertFile: pair.CertFile, KeyFile: pair.KeyFile, User: "u", Password: "p"},
	}, slog.New(slog.DiscardHandler))
	if err := s.loadTLS(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := s.external()
	secure := o.TLS("127.0.0.1")
	shown, err := secure.GetClientCertificate(nil)
	if err != nil || shown.Leaf.SerialNumber.Cmp(pair.Serial) != 0 || secure.RootCAs == nil || secure.ServerName != "127.0.0.1" || o.User != "u" || o.Password != "p" || o.Endpoints[0] != "https://127.0.0.1:1" {
		t.Error("not what the settings say")
	}
	if err = s.parts.stop(); err != nil {
		t.Error(err)
	}
	s = controlOnly(t, config.Broker{
		NodeID: 1, NATS: []string{"nats://127.0.0.1:1"}, NATSAccess: config.NATSAccess{CredsFile: "absent.creds"},
	}, slog.New(slog.DiscardHandler))
	if err = s.openControl(t.Context()); err == nil || !strings.Contains(err.Error(), "absent.creds") {
		t.Errorf("credentials that are not there: %v", err)
	}
	if err = s.parts.stop(); err != nil {
		t.Error(err)
	}
}

func TestTwoSeedsAreWarnedOf(t *testing.T) {
	for n, warned := range map[int]bool{1: false, 2: true, 3: false} {
		b := config.Broker{NodeID: 9}
		for i := range n {
			b.Seeds = append(b.Seeds, config.Seed{NodeID: int32(i + 1), Control: freeControl(t)})
		}
		var log bytes.Buffer
		s := controlOnly(t, b, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.openStore(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%d seeds: %v", n, err)
		}
		if got := strings.Contains(log.String(), "two seeds"); got != warned {
			t.Errorf("%d seeds: warned %t: %s", n, got, log.String())
		}
	}
}
