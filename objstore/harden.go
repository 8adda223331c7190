package objstore

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// RequestTimeout is the time that a caller should allow for a request that moves almost no data,
// including all attempts and the waits between them. It is longer than the limit of one attempt, so
// there is time for a second one.
const RequestTimeout = 30 * time.Second

// HardenOptions are the parameters of [Harden]'s decorators.
type HardenOptions struct {
	// AttemptTimeout bounds one attempt, in addition to TransferTime. It must be below
	// RequestTimeout.
	AttemptTimeout time.Duration
	MaxRequests    int // in progress at a time
	Retry          RetryOptions
	Registerer     prometheus.Registerer // may be nil; a registerer takes only one bucket
	Tracer         trace.Tracer          // nil: no traces
}

// DefaultHardenOptions returns options for a store across a network.
func DefaultHardenOptions() HardenOptions {
	return HardenOptions{AttemptTimeout: 5 * time.Second, MaxRequests: 128, Retry: DefaultRetryOptions()}
}

// Harden returns the Bucket with all decorators around it. Each attempt of a retried request waits
// for its own turn, so a request that waits for its next attempt blocks no other. The deadline of
// an attempt starts with its turn.
func Harden(b Bucket, o HardenOptions) Bucket {
	limited := Limit(Deadline(Trace(Metrics(b, o.Registerer), o.Tracer), o.AttemptTimeout), o.MaxRequests)
	return Retry(Hedge(limited, o.Registerer), o.Retry)
}
