package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/etcd"
)

// TestStartIsRefused: a broker that must not run in its cluster says why, and touches no log.
func TestStartIsRefused(t *testing.T) {
	const id = `{"v":1,"id":"AQIDBAUGBwgJCgsMDQ4PEA"}`
	for name, c := range map[string]struct {
		features string // the key's value; "": there is none
		want     error
		text     string
	}{
		"written before formats were fixed": {"", metadata.ErrUnreleasedFormat, "start with an empty control plane and bucket"},
		"upgraded beyond this version": {
			`{"v":1,"epoch":1,"levels":{"varve.version":1000}}`, metadata.ErrUnsupportedFeature, "varve.version has level 1000, this version of Varve supports 1 to",
		},
		"with features that this version does not know": {
			`{"v":1,"epoch":1,"levels":{"varve.version":1,"later.version":1}}`, metadata.ErrUnsupportedFeature, "later.version has level 1",
		},
		"a newer format of the levels": {`{"v":2}`, metadata.ErrValueTooNew, "features at revision"},
	} {
		t.Run(name, func(t *testing.T) {
			dataDir := filepath.Join(t.TempDir(), "data")
			cfg := brokerConfig(t, dataDir)
			values := map[string]string{"cluster-id": id}
			if c.features != "" {
				values["features"] = c.features
			}
			storeValues(t, cfg, values)
			s := newServer(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler), Version: "test"})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := s.run(ctx, time.Now())
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the start ended with %v", err)
			}
			if _, err = os.Stat(filepath.Join(dataDir, "logs")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the logs were opened: %v", err)
			}
		})
	}
}

// brokerConfig is the configuration of a broker with everything embedded.
func brokerConfig(t *testing.T, dataDir string) config.Broker {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := config.BindBroker(set)
	if err := set.Parse([]string{"--data-dir", dataDir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// storeValues puts keys into the etcd that a broker will find.
func storeValues(t *testing.T, cfg config.Broker, values map[string]string) {
	t.Helper()
	store, err := etcd.OpenEmbedded(t.Context(), etcd.EmbeddedOptions{
		Dir: filepath.Join(cfg.DataDir, "etcd"), Cluster: cfg.Cluster, NodeID: cfg.NodeID, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	var ops []kv.Op
	for key, value := range values {
		ops = append(ops, kv.Put(key, []byte(value)))
	}
	_, err = store.Txn(t.Context(), nil, ops...)
	if err = errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
}
