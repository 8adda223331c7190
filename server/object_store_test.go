package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/catalogue"
)

// awayStore is an S3 server that returns only errors until there is set. Then it implements as much
// as a check and a marker need.
type awayStore struct {
	there atomic.Bool

	mu      sync.Mutex
	objects map[string][]byte
}

// ServeHTTP implements [http.Handler].
func (a *awayStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	content, found := a.objects[r.URL.Path]
	switch key := strings.Trim(r.URL.Path, "/"); {
	case !a.there.Load():
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPut && found && r.Header.Get("If-None-Match") != "":
		w.WriteHeader(http.StatusPreconditionFailed)
	case r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if a.objects == nil {
			a.objects = map[string][]byte{}
		}
		a.objects[r.URL.Path] = body
	case r.Method == http.MethodDelete:
		delete(a.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case !strings.Contains(key, "/"): // the bucket
	case !found:
		w.WriteHeader(http.StatusNotFound)
	default:
		http.ServeContent(w, r, "", time.Now(), bytes.NewReader(content))
	}
}

// put stores an object, or deletes it if content is nil.
func (a *awayStore) put(path string, content []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects == nil {
		a.objects = map[string][]byte{}
	}
	if a.objects[path] = content; content == nil {
		delete(a.objects, path)
	}
}

func (a *awayStore) url(t *testing.T) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return "s3://bucket?path_style=true&endpoint=" + url.QueryEscape(server.URL)
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestStartsWithoutItsObjectStore: a broker whose object store is unreachable serves what it has,
// says so, and finds the store when it is back.
func TestStartsWithoutItsObjectStore(t *testing.T) {
	store := &awayStore{}
	b := startBroker(t, "--object-store", store.url(t))
	useBroker(t, b.Kafka)
	status, body := b.get(t, "/readyz")
	if status != http.StatusOK || !strings.Contains(body, "\nwithout the object store: use bucket s3://bucket") || gauge(t, b.registry, "varve_objstore_usable") != 0 {
		t.Errorf("%d %q", status, body)
	}
	store.there.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for gauge(t, b.registry, "varve_objstore_usable") != 1 {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("the store is there, and the broker has not noticed for a minute")
		}
	}
	if status, body = b.get(t, "/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %q", status, body)
	}
}

// TestStartEndsWithAStoreThatCannotBeUsed: a permanent error ends a start. The same error from a
// store that comes back later does not end a broker that serves.
func TestStartEndsWithAStoreThatCannotBeUsed(t *testing.T) {
	faults := func(t *testing.T) (*server, *objstoretest.Faults) {
		t.Helper()
		bucket, err := objstore.Open(t.Context(), "mem://")
		if err != nil {
			t.Fatal(err)
		}
		f := objstoretest.NewFaults(bucket)
		s := newServer(Options{Logger: slog.New(slog.DiscardHandler), Config: config.Broker{}})
		s.bucket, s.gate = f, catalogue.NewGate(f)
		t.Cleanup(func() {
			if stopErr := errors.Join(s.parts.stop(), f.Close()); stopErr != nil {
				t.Error(stopErr)
			}
		})
		return s, f
	}
	denied := errors.New("access denied")
	s, f := faults(t)
	f.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.CheckOp, Err: denied})
	if err := s.checkBucket(t.Context()); !errors.Is(err, denied) {
		t.Errorf("denied at the start: %v", err)
	}
	s, f = faults(t)
	f.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.CheckOp, Times: 1})
	f.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.CheckOp, Skip: 1, Times: 1, Err: denied})
	if err := s.checkBucket(t.Context()); err != nil {
		t.Fatalf("away at the start: %v", err)
	}
	var verified atomic.Int64
	s.awaitBucket(t.Context(), func(context.Context) error {
		if verified.Add(1) == 1 {
			return catalogue.ErrRefused
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for s.ops.bucketAway.Load() != nil {
		select {
		case err := <-s.parts.failed:
			t.Fatalf("denied later: %v", err)
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("the store can be used, and the broker has not noticed for a minute")
		}
	}
	if f.Calls(objstoretest.CheckOp) != 4 || verified.Load() != 2 {
		t.Errorf("%d checks, compared %d times", f.Calls(objstoretest.CheckOp), verified.Load())
	}
	<-s.gate.Opened()
}

// TestUploadsOfLargeSegmentsAreWaitedFor: the tier waits for an upload as long as the object
// store's own deadline for an attempt of the largest segment.
func TestUploadsOfLargeSegmentsAreWaitedFor(t *testing.T) {
	const largest = 1<<31 - 1 // segment.bytes
	if got := uploadTimeout(); got < objstore.DefaultHardenOptions().AttemptTimeout+objstore.TransferTime(largest) {
		t.Errorf("%v", got)
	}
}
