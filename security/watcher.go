package security

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// defaultInterval is how often files are read again.
const defaultInterval = 3 * time.Second

// WatcherOptions are the parameters of a Watcher.
type WatcherOptions struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	Interval   time.Duration         // 3 s if zero
}

// Watcher loads material and keeps it up to date while it runs.
type Watcher struct {
	log      *slog.Logger
	interval time.Duration
	expiry   *prometheus.GaugeVec
	failures *prometheus.CounterVec

	mu struct {
		sync.Mutex
		uses []watched
	}
}

type watched struct {
	use string
	tls *TLS
}

// NewWatcher returns a Watcher without material. It starts nothing.
func NewWatcher(o WatcherOptions) *Watcher {
	f := promauto.With(o.Registerer)
	w := &Watcher{log: o.Logger, interval: o.Interval}
	if w.interval == 0 {
		w.interval = defaultInterval
	}
	w.expiry = f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "varve_tls_certificate_expiry_seconds", Help: "When the certificate in use expires, as Unix time, by use: a listener, http, control, etcd, nats.",
	}, []string{"use"})
	w.failures = f.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_tls_reload_failures_total", Help: "Changes of TLS files that could not be used, so that the old material stays, by use.",
	}, []string{"use"})
	return w
}

// Load reads the material of a use. While the Watcher runs, it is read again whenever its files
// change. After each change the Watcher calls changed, which may be nil.
func (w *Watcher) Load(use string, m Material, changed func()) (*TLS, error) {
	t, err := Load(m)
	if err != nil {
		return nil, err
	}
	t.changed = changed
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.uses = append(w.mu.uses, watched{use, t})
	w.failures.WithLabelValues(use)
	w.show(use, t)
	return t, nil
}

func (w *Watcher) show(use string, t *TLS) {
	if at := t.NotAfter(); !at.IsZero() {
		w.expiry.WithLabelValues(use).Set(float64(at.Unix()))
	}
}

// Run reads the files every few seconds until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		w.mu.Lock()
		uses := w.mu.uses
		w.mu.Unlock()
		for _, u := range uses {
			w.poll(ctx, u.use, u.tls)
		}
	}
}

// poll reads the files of one use once. A certificate and its key are replaced in two steps. So
// unusable files are reported only if they are still unusable at the next poll.
func (w *Watcher) poll(ctx context.Context, use string, t *TLS) {
	changed, err := t.reload()
	switch {
	case err != nil && err.Error() != t.unusable:
		t.unusable, t.told = err.Error(), false
	case err != nil && !t.told:
		t.told = true
		w.failures.WithLabelValues(use).Inc()
		w.log.LogAttrs(ctx, slog.LevelWarn, "new TLS files cannot be used; the old ones stay in use", slog.String("use", use), slog.Any("error", err))
	case err == nil:
		t.unusable = ""
	}
	if !changed {
		return
	}
	w.show(use, t)
	w.log.LogAttrs(ctx, slog.LevelInfo, "TLS files are taken into use", slog.String("use", use), slog.Time("not_after", t.NotAfter()))
	if t.changed != nil {
		t.changed()
	}
}
