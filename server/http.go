package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// operations is the HTTP side for operators: /metrics for Prometheus, /healthz while the process
// works, /readyz while it serves, and /debug/pprof if enabled.
type operations struct {
	registry *prometheus.Registry
	log      *slog.Logger
	pprof    bool
	// waits is what the broker waits for before it serves and while it stops; nil: it serves.
	waits atomic.Pointer[string]
	// alive returns an error if a part is stuck; nil: there is no such part yet.
	alive atomic.Pointer[func(ctx context.Context) error]
	// bucketAway is why the object store cannot be used; nil: it can, or has not been asked yet.
	bucketAway atomic.Pointer[string]
	// unread names metadata that cannot be read, "" if all can; nil: there is no metadata yet.
	unread atomic.Pointer[func() string]
}

// Bounds of the HTTP side; only monitoring uses it.
const (
	httpHeaderTimeout = 5 * time.Second
	httpWriteTimeout  = 40 * time.Second // a CPU profile takes 30 s
	httpStopTimeout   = 5 * time.Second
	scrapesAtATime    = 4
	aliveTimeout      = 5 * time.Second
)

// waitFor stores what the broker waits for; "" means that it serves.
func (o *operations) waitFor(what string) {
	if what == "" {
		o.waits.Store(nil)
		return
	}
	o.waits.Store(&what)
}

func (o *operations) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{
		Registry: o.registry, MaxRequestsInFlight: scrapesAtATime, ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", o.healthz)
	mux.HandleFunc("GET /readyz", o.readyz)
	if o.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// healthz fails when a loop of the process is stuck: then only a restart helps. A slow or
// unreachable disk, bucket or etcd does not make it fail.
func (o *operations) healthz(w http.ResponseWriter, r *http.Request) {
	if alive := o.alive.Load(); alive != nil {
		ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
		defer cancel()
		if err := (*alive)(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// readyz fails until the broker serves and again once it stops, and says what the broker waits for.
// A broker that cannot read some of the metadata serves the rest and names the keys. A broker whose
// object store is unreachable serves too and says so.
func (o *operations) readyz(w http.ResponseWriter, _ *http.Request) {
	if what := o.waits.Load(); what != nil {
		http.Error(w, "not serving: "+*what, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
	if why := o.bucketAway.Load(); why != nil {
		fmt.Fprintln(w, "without the object store: "+*why)
	}
	if unread := o.unread.Load(); unread != nil {
		if keys := (*unread)(); keys != "" {
			fmt.Fprintln(w, "metadata that cannot be read: "+keys)
		}
	}
}

// serve answers on ln until ctx ends. It closes ln.
func (o *operations) serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{Handler: o.handler(), ReadHeaderTimeout: httpHeaderTimeout, WriteTimeout: httpWriteTimeout}
	// Errors of clients, for example failed TLS handshakes, are not news.
	server.ErrorLog = slog.NewLogLogger(o.log.Handler(), slog.LevelDebug)
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
		return fmt.Errorf("serve HTTP: %w", err) // Serve ended before ctx
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
