package objstore

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// RequestTimeout is how long a caller should wait for a request that moves next
// to nothing, attempts and the waits between them together: longer than an
// attempt, which otherwise would be the only one.
const RequestTimeout = 30 * time.Second

// HardenOptions are the parameters of [Harden]'s decorators.
type HardenOptions struct {
	AttemptTimeout time.Duration // of one attempt, without the time for what it moves; below RequestTimeout
	MaxRequests    int           // under way at a time
	Retry          RetryOptions
	Registerer     prometheus.Registerer // nil is allowed; one bucket for each registerer
	Tracer         trace.Tracer          // nil: nothing is traced
}

// DefaultHardenOptions are for a store across a network.
func DefaultHardenOptions() HardenOptions {
	return HardenOptions{AttemptTimeout: 5 * time.Second, MaxRequests: 128, Retry: DefaultRetryOptions()}
}

// Harden returns the Bucket with all decorators around it. Each attempt of a
// retried request waits for its own turn, so that one that waits to be repeated
// is in nobody's way; its deadline begins when it has its turn.
func Harden(b Bucket, o HardenOptions) Bucket {
	limited := Limit(Deadline(Trace(Metrics(b, o.Registerer), o.Tracer), o.AttemptTimeout), o.MaxRequests)
	return Retry(Hedge(limited, o.Registerer), o.Retry)
}
