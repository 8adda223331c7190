package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func ask(t *testing.T, o *operations, path string) (status int, body string) {
	t.Helper()
	if o.registry == nil {
		o.registry = prometheus.NewRegistry()
	}
	w := httptest.NewRecorder()
	o.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadinessSaysWhatItWaitsFor(t *testing.T) {
	var o operations
	o.waitFor("it waits for etcd")
	if status, body := ask(t, &o, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "it waits for etcd") {
		t.Errorf("%d %q", status, body)
	}
	o.waitFor("")
	if status, body := ask(t, &o, "/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %q", status, body)
	}
	away := "use bucket s3://b: object store unavailable"
	o.bucketAway.Store(&away)
	if status, body := ask(t, &o, "/readyz"); status != http.StatusOK || body != "ready\nwithout the object store: "+away+"\n" {
		t.Errorf("%d %q", status, body)
	}
	o.bucketAway.Store(nil)
	keys := ""
	unread := func() string { return keys }
	o.unread.Store(&unread)
	if _, body := ask(t, &o, "/readyz"); body != "ready\n" {
		t.Errorf("all can be read: %q", body)
	}
	keys = "topics/a"
	if status, body := ask(t, &o, "/readyz"); status != http.StatusOK || !strings.HasSuffix(body, ": topics/a\n") {
		t.Errorf("%d %q", status, body)
	}
}

func TestHealthIsThatOfTheLoops(t *testing.T) {
	var o operations
	o.waitFor("it waits for etcd") // not a reason for a restart
	if status, _ := ask(t, &o, "/healthz"); status != http.StatusOK {
		t.Errorf("before there is anything to ask: %d", status)
	}
	stuck := func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the check may take for ever")
		}
		return errors.New("shard 7 is stuck")
	}
	o.alive.Store(&stuck)
	if status, body := ask(t, &o, "/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "shard 7") {
		t.Errorf("%d %q", status, body)
	}
}

func TestProfilesAreOffByDefault(t *testing.T) {
	for pprof, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
			if status, _ := ask(t, &operations{pprof: pprof}, path); status != want {
				t.Errorf("pprof %t, %s: %d", pprof, path, status)
			}
		}
	}
}

func TestRunningBrokerTellsOfItself(t *testing.T) {
	b := startBroker(t, "--pprof")
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ready", "/debug/pprof/": "goroutine",
		"/metrics": "\nkafka_server_replicamanager_partitioncount 0\n",
	} {
		if status, body := b.get(t, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, without %q", path, status, want)
		}
	}
}
