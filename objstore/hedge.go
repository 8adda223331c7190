package objstore

import (
	"context"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/varvelog/varve/stepped"
)

const (
	// hedgeSamples is the number of latest times that are kept for requests of about one size.
	// hedgeEnough of them are needed to know what is slow.
	hedgeSamples = 128
	hedgeEnough  = 32
	// hedgeEvery is the number of requests that allow one to be sent twice: 5 %. Up to hedgeSaved
	// such allowances are saved for a time when the store is slow.
	hedgeEvery = 20
	hedgeSaved = 8
	// hedgeLeast is the shortest wait before a request is sent again.
	hedgeLeast = 5 * time.Millisecond
)

// Hedge returns a Bucket that sends a GetRange again if it takes longer than 19 of 20 recent ones
// of about its size. The first answer wins, and the other request is canceled. In the long run at
// most one request in twenty is sent twice, so a store that is slow for all requests does not get
// many more of them.
//
// Hedge belongs around Limit and Deadline, so that each of the two requests has its own turn and
// deadline, and below Retry. reg may be nil.
func Hedge(b Bucket, reg prometheus.Registerer) Bucket {
	f := promauto.With(reg)
	h := &hedgeBucket{Bucket: b, hedges: f.NewCounterVec(prometheus.CounterOpts{
		Name: "varve_objstore_hedges_total",
		Help: "Reads of the object store that were sent twice because the first request was slow, by which of the two answered first.",
	}, []string{"first"})}
	for _, first := range []string{"first", "second"} {
		h.hedges.WithLabelValues(first)
	}
	return h
}

type hedgeBucket struct {
	Bucket
	hedges *prometheus.CounterVec

	mu struct {
		sync.Mutex
		times [bits.UintSize]times // by the number of bits of the size
		// saved is the number of requests that count toward the next allowance, at most
		// hedgeSaved*hedgeEvery.
		saved int
	}
}

// times holds the durations of the latest requests of one size.
type times struct {
	last []time.Duration // a ring
	next int
	slow time.Duration // 5/4 of the 95th percentile; 0: not known yet
}

func (t *times) add(d time.Duration) {
	if len(t.last) < hedgeSamples {
		t.last = append(t.last, d)
	} else {
		t.last[t.next] = d
	}
	t.next = (t.next + 1) % hedgeSamples
	if len(t.last) >= hedgeEnough && t.next%8 == 0 {
		sorted := slices.Clone(t.last)
		slices.Sort(sorted)
		// The margin keeps requests of equal duration from being slow.
		t.slow = max(hedgeLeast, sorted[len(sorted)*19/20]*5/4)
	}
}

// rangeAnswer is the result of one of the two requests.
type rangeAnswer struct {
	n      int
	err    error
	second bool
}

// GetRange implements [Bucket].
func (h *hedgeBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	size := bits.Len(uint(len(p)))
	patience := h.patience(size)
	if patience == 0 {
		return h.timed(ctx, size, key, off, p)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var requests sync.WaitGroup
	answers := make(chan rangeAnswer, 2)
	send := func(p []byte, second bool) {
		stepped.Go(ctx, &requests, func(ctx context.Context) {
			n, err := h.timed(ctx, size, key, off, p)
			answers <- rangeAnswer{n, err, second}
		})
	}
	send(p, false)
	first, ok := stepped.Receive(ctx, patience, answers)
	if ok || ctx.Err() != nil || !h.spend() {
		if !ok {
			first = h.last(ctx, answers)
		}
		return first.n, first.err
	}
	again := make([]byte, len(p))
	send(again, true)
	return h.race(ctx, cancel, answers, p, again)
}

// race returns the first answer, unless it failed and the other one succeeds.
func (h *hedgeBucket) race(ctx context.Context, cancel context.CancelFunc, answers <-chan rangeAnswer, p, again []byte) (int, error) {
	won := h.last(ctx, answers)
	if won.err != nil && ctx.Err() == nil {
		other := h.last(ctx, answers)
		if other.err == nil {
			won = other
		}
	} else {
		cancel()
		h.last(ctx, answers) // p may be reused only after the first request has ended
	}
	if !won.second {
		h.hedges.WithLabelValues("first").Inc()
		return won.n, won.err
	}
	h.hedges.WithLabelValues("second").Inc()
	return copy(p, again[:won.n]), won.err
}

// last waits for an answer even if the context has ended: the request then ends too.
func (h *hedgeBucket) last(ctx context.Context, answers <-chan rangeAnswer) rangeAnswer {
	a, _ := stepped.Receive(context.WithoutCancel(ctx), -1, answers)
	return a
}

// timed sends a request and records its duration if it succeeds.
func (h *hedgeBucket) timed(ctx context.Context, size int, key string, off int64, p []byte) (int, error) {
	began := time.Now()
	n, err := h.Bucket.GetRange(ctx, key, off, p)
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mu.times[size].add(time.Since(began))
	}
	return n, err
}

// patience returns how long a request of a size may take before it is sent again. 0 means that it
// is not sent again, because too little is known. It also counts the request toward the next
// allowance.
func (h *hedgeBucket) patience(size int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.saved = min(h.mu.saved+1, hedgeSaved*hedgeEvery)
	return h.mu.times[size].slow
}

// spend uses an allowance. It returns false if there is none.
func (h *hedgeBucket) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.saved < hedgeEvery {
		return false
	}
	h.mu.saved -= hedgeEvery
	return true
}
