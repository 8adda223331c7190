package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// operations is the HTTP side for those who run the broker: /metrics for
// Prometheus, /healthz while the process works, /readyz while it serves.
type operations struct {
	registry *prometheus.Registry
	log      *slog.Logger
	ready    atomic.Bool
}

// Bounds of the HTTP side; nobody but monitoring uses it.
const (
	httpHeaderTimeout = 5 * time.Second
	httpWriteTimeout  = 30 * time.Second
	httpStopTimeout   = 5 * time.Second
)

func (o *operations) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{Registry: o.registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !o.ready.Load() {
			http.Error(w, "not serving", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}

// serve answers on ln until ctx ends. It closes ln.
func (o *operations) serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{Handler: o.handler(), ReadHeaderTimeout: httpHeaderTimeout, WriteTimeout: httpWriteTimeout}
	server.ErrorLog = slog.NewLogLogger(o.log.Handler(), slog.LevelDebug) // what clients do, failed TLS handshakes among it, is not news
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStopTimeout)
		defer cancel()
		if server.Shutdown(stop) != nil {
			_ = server.Close() // a scrape that hangs is not waited for
		}
	})
	err := server.Serve(ln)
	if unhook() {
		return fmt.Errorf("serve HTTP: %w", err) // it ended by itself
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
