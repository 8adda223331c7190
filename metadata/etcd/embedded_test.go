package etcd

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func openEmbedded(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestEmbeddedConforms(t *testing.T) {
	metadatatest.Run(t, func(t *testing.T) metadatatest.Instance {
		t.Helper()
		start := time.Now()
		s := openEmbedded(t, t.TempDir())
		t.Logf("started in %v", time.Since(start))
		return metadatatest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			if _, err := s.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}}
	})
}
