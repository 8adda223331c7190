package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics counts the requests that are sent to the store. Each attempt counts separately.
type metrics struct {
	requests *prometheus.CounterVec   // by op and outcome
	seconds  *prometheus.HistogramVec // by op
	bytes    *prometheus.CounterVec   // by direction
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_objstore_requests_total",
			Help: "Requests to the object store, attempts counted one by one, by operation and outcome.",
		}, []string{"op", "outcome"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "varve_objstore_request_seconds",
			Help:    "How long requests to the object store took, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9), // 1 ms to 65 s
		}, []string{"op"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "varve_objstore_transferred_bytes_total",
			Help: "Bytes of objects written to and read from the object store, by direction (up, down).",
		}, []string{"direction"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "varve_objstore_requests_in_flight",
			Help: "Requests to the object store that are under way.",
		}),
	}
	for _, op := range []string{"put", "get", "stat", "list", "delete", "delete_all"} {
		m.seconds.WithLabelValues(op)
		for _, outcome := range []string{"ok", "unavailable", "timeout", "error"} {
			m.requests.WithLabelValues(op, outcome)
		}
	}
	for _, direction := range []string{"up", "down"} {
		m.bytes.WithLabelValues(direction)
	}
	return m
}

// Metrics returns a Bucket that counts and times its requests. reg may be nil.
func Metrics(b Bucket, reg prometheus.Registerer) Bucket { return &metricsBucket{b, newMetrics(reg)} }

type metricsBucket struct {
	Bucket
	m *metrics
}

func (b *metricsBucket) begin() time.Time {
	b.m.inFlight.Inc()
	return time.Now()
}

func (b *metricsBucket) end(op string, begin time.Time, err error) {
	b.m.inFlight.Dec()
	b.m.seconds.WithLabelValues(op).Observe(time.Since(begin).Seconds())
	b.m.requests.WithLabelValues(op, outcome(err)).Inc()
}

func outcome(err error) string {
	switch {
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF): // the object ends: an answer
		return "ok"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrExists):
		return "exists"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	default:
		return "error"
	}
}

// Put implements [Bucket].
func (b *metricsBucket) Put(ctx context.Context, key string, r io.ReadSeeker, opts PutOptions) error {
	begin := b.begin()
	body, err := newBody(r)
	if err == nil {
		err = b.Bucket.Put(ctx, key, r, opts)
	}
	b.end("put", begin, err)
	if err == nil {
		b.m.bytes.WithLabelValues("up").Add(float64(body.size))
	}
	return err
}

// GetRange implements [Bucket].
func (b *metricsBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	begin := b.begin()
	n, err := b.Bucket.GetRange(ctx, key, off, p)
	b.end("get", begin, err)
	b.m.bytes.WithLabelValues("down").Add(float64(n))
	return n, err
}

// Stat implements [Bucket].
func (b *metricsBucket) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	begin := b.begin()
	info, err := b.Bucket.Stat(ctx, key)
	b.end("stat", begin, err)
	return info, err
}

// List implements [Bucket]. A listing counts once, and its time includes that of the caller.
func (b *metricsBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		var failed error
		begin := b.begin()
		defer func() { b.end("list", begin, failed) }()
		for info, err := range b.Bucket.List(ctx, prefix) {
			failed = err
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete implements [Bucket].
func (b *metricsBucket) Delete(ctx context.Context, key string) error {
	begin := b.begin()
	err := b.Bucket.Delete(ctx, key)
	b.end("delete", begin, err)
	return err
}

// DeleteAll implements [Bucket]. It counts once, whatever happens to the single objects.
func (b *metricsBucket) DeleteAll(ctx context.Context, keys []string) error {
	begin := b.begin()
	err := b.Bucket.DeleteAll(ctx, keys)
	b.end("delete_all", begin, err)
	return err
}
