package etcd

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

func TestEtcdsLogGoesToOurs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	z := newZap(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), nil)
	z.Info("told too much")
	z.Warn("failed to apply request", zap.String("why", "the caller knows"))
	if out.Len() != 0 {
		t.Errorf("wrote %s", out.String())
	}
	z.With(zap.Int("term", 3)).Warn("slow fdatasync", zap.String("took", "2s"))
	z.Error("apply failed")
	for _, part := range []string{"level=WARN", `message="slow fdatasync"`, "term=3", "took=2s", "level=ERROR", `message="apply failed"`, "component=etcd"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q does not say %s", out.String(), part)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("what etcd calls fatal goes on")
		}
	}()
	z.Fatal("the process must not end here")
}

func TestListenersMayEndWhenTheyWereTold(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	var ending atomic.Bool
	logger := newZap(slog.New(slog.NewTextHandler(&b, nil)), &ending).With(zap.String("with", "fields"))
	const message = "setting up serving from embedded etcd failed."
	logger.Error(message)
	if !strings.Contains(b.String(), message) {
		t.Error("a listener that ends by itself is not told")
	}
	b.Reset()
	ending.Store(true)
	logger.Error(message)
	if b.Len() != 0 {
		t.Errorf("told: %s", b.String())
	}
}
