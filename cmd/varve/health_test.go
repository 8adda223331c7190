package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("so it is\n"))
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	_, port, _ := strings.Cut(address, ":")
	for _, args := range [][]string{{"--http", address}, {"--http", ":" + port}, {"--http", "0.0.0.0:" + port}, nil} {
		t.Setenv("VARVE_HTTP", address)
		if out, _, err := run(t, "", append([]string{"broker", "health"}, args...)...); err != nil || out != "so it is\n" {
			t.Errorf("%v: got %q, %v", args, out, err)
		}
	}
	status = http.StatusServiceUnavailable
	if out, _, err := run(t, "", "broker", "health", "--http", address); err == nil || !strings.Contains(err.Error(), "not ready: so it is (503") || out != "" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, _, err := run(t, "", "broker", "health", "--http", "nowhere"); err == nil || !strings.Contains(err.Error(), "--http nowhere: want HOST:PORT") {
		t.Errorf("got %v", err)
	}
	server.Close()
	if _, _, err := run(t, "", "broker", "health", "--http", address); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}
