package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/varvelog/varve/config"
)

// running is a broker in this process, with everything embedded.
type running struct {
	*server
	Ready
}

// configured is a broker that is not started yet.
func configured(t *testing.T, ready chan<- Ready, args ...string) *server {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := config.BindBroker(fs)
	args = append([]string{"--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, err := flags.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	return newServer(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler), Version: "test", Ready: func(r Ready) { ready <- r }})
}

// startBroker runs a broker until the test ends.
func startBroker(t *testing.T, args ...string) running {
	t.Helper()
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	s := configured(t, ready, args...)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- s.run(ctx, time.Now()) }()
	t.Cleanup(func() {
		cancel()
		if runErr := <-ended; runErr != nil {
			t.Error(runErr)
		}
	})
	select {
	case r := <-ready:
		return running{s, r}
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
		return running{}
	}
}

// get sends a request to the HTTP side.
func (r running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + r.HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
