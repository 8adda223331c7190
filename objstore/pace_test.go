package objstore_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// The time that the caller makes a Put wait must not count as the store's.
func TestPausesDoNotCountAgainstTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		b := objstore.Deadline(faults, time.Second)
		content := strings.Repeat("x", 1<<20)
		pauses := objstore.PutOptions{Pace: func(context.Context, int) error { time.Sleep(time.Minute); return nil }}
		if err := b.Put(t.Context(), "slow", strings.NewReader(content), pauses); err != nil {
			t.Fatal(err)
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Latency: time.Hour})
		began := time.Now()
		err := b.Put(t.Context(), "hangs", strings.NewReader(content), pauses)
		if took := time.Since(began); !errors.Is(err, objstore.ErrUnavailable) || took != 2*time.Second {
			t.Errorf("a store that hangs was waited for %v: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err = b.Put(ctx, "ends", strings.NewReader(content), pauses); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("under a deadline of the caller's: %v", err)
		}
	})
}

// Each byte must be paced once, even if a driver reads the body for a checksum first. If Pace
// fails, nothing more may be sent.
func TestPaceIsOfWhatIsSent(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	content := strings.Repeat("x", 1<<20+1)
	for _, url := range []string{"mem://", "file://" + t.TempDir() + "/b", "s3://bucket?region=r&path_style=true&endpoint=" + server.URL} {
		b := open(t, url)
		paced := 0
		count := objstore.PutOptions{Pace: func(_ context.Context, n int) error { paced += n; return nil }}
		if err := b.Put(t.Context(), "k", strings.NewReader(content), count); err != nil || paced != len(content) {
			t.Errorf("%s: %d of %d bytes were paced, %v", url, paced, len(content), err)
		}
		stop := objstore.PutOptions{Pace: func(context.Context, int) error { return context.Canceled }}
		if err := b.Put(t.Context(), "k2", strings.NewReader(content), stop); err == nil {
			t.Errorf("%s: a Put went on that was to end", url)
		}
	}
}
