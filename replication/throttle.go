package replication

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
)

// Throttling configures the replication throttles (KIP-73).
type Throttling struct {
	// Rates returns the rates under an image. It is called again when this broker's settings
	// change. nil: no throttles.
	Rates func(image *metadata.Image) ThrottleRates
	// Windows is how many windows of in-sync replicas' traffic the throttle remembers
	// (replication.quota.window.num). Default 11.
	Windows int
	// Window is how long an unused rate accumulates (replication.quota.window.size.seconds).
	// Default 1 s.
	Window time.Duration
}

// ThrottleRates are in bytes per second, for all throttled replicas together. Unthrottled means no
// limit.
type ThrottleRates struct {
	Leader   int64 // sent by this broker as a leader (leader.replication.throttled.rate)
	Follower int64 // fetched by this broker (follower.replication.throttled.rate)
}

// Unthrottled is the rate that delays nothing.
const Unthrottled = math.MaxInt64

// ThrottledReplicas names the partitions of a topic that have a throttled replica on one broker.
// The zero value names none.
type ThrottledReplicas string // "*", or partition numbers, each between commas

const allReplicas = "*"

// ThrottledOn extracts one broker's part of a list of PARTITION:BROKER items, or of * alone. The
// list was validated when it was set.
func ThrottledOn(broker int32, list []string) ThrottledReplicas {
	if strings.Join(list, "") == allReplicas {
		return allReplicas
	}
	var b strings.Builder
	for _, item := range list {
		partition, at, _ := strings.Cut(item, ":")
		number, err := strconv.ParseInt(partition, 10, 32)
		if id, idErr := strconv.ParseInt(at, 10, 32); err != nil || idErr != nil || int32(id) != broker {
			continue
		}
		if b.Len() == 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(number)))
		b.WriteByte(',')
	}
	return ThrottledReplicas(b.String())
}

func (t ThrottledReplicas) has(partition int32) bool {
	if t == "" || t == allReplicas {
		return t != ""
	}
	return strings.Contains(string(t), ","+strconv.Itoa(int(partition))+",")
}

// throttles holds this broker's two throttles.
type throttles struct {
	leader, follower *throttle
	now              func() time.Time
}

func newThrottles(o Throttling, m *metrics, now func() time.Time) *throttles {
	window := cmp.Or(o.Window, time.Second)
	side := func(name string) *throttle {
		t := &throttle{
			window: window.Seconds(), memory: window.Seconds() * float64(cmp.Or(o.Windows, 11)),
			bytes: m.throttledBytes.WithLabelValues(name), held: m.throttleHeld.WithLabelValues(name),
		}
		t.mu.rate = math.Inf(1)
		return t
	}
	return &throttles{leader: side("leader"), follower: side("follower"), now: now}
}

func (t *throttles) setRates(r ThrottleRates) {
	now := t.now()
	t.leader.setRate(r.Leader, now)
	t.follower.setRate(r.Follower, now)
}

// throttle limits the traffic of throttled replicas to a rate. It has a balance of bytes, which
// grows with time up to one window's worth, and delays replicas while the balance is negative. The
// bytes of a replica that may be delayed are always paid back in full, no matter how far one fetch
// exceeded the rate. Traffic to in-sync replicas is never delayed but is charged too. That debt is
// capped at what the configured number of windows pays back, so one busy hour does not stall the
// other replicas for another hour.
type throttle struct {
	window, memory float64 // seconds
	bytes, held    prometheus.Counter

	mu struct {
		sync.Mutex
		rate    float64   // bytes per second; +Inf: no limit
		balance float64   // bytes, as of at
		at      time.Time // never goes back
		until   time.Time // end of the time for which held was already increased
	}
}

// The bounds of the time until a delayed replica is checked again: it notices a changed rate soon,
// and it is never checked at once.
const (
	throttleLookMin = time.Millisecond
	throttleLookMax = time.Second
)

// setRate sets the rate in bytes per second. A debt is paid back at the new rate. A first rate
// begins with a window's worth.
func (t *throttle) setRate(rate int64, now time.Time) {
	next := float64(rate)
	if rate == Unthrottled {
		next = math.Inf(1)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if next == t.mu.rate {
		return
	}
	t.settleLocked(now)
	if math.IsInf(t.mu.rate, 1) {
		t.mu.balance, t.mu.at = math.MaxFloat64, now
	}
	t.mu.rate = next
	t.mu.balance = min(t.mu.balance, next*t.window)
}

// settleLocked updates the balance to a time.
func (t *throttle) settleLocked(now time.Time) {
	passed := now.Sub(t.mu.at).Seconds()
	if math.IsInf(t.mu.rate, 1) || passed <= 0 {
		return
	}
	t.mu.at = now
	t.mu.balance = min(t.mu.balance+t.mu.rate*passed, t.mu.rate*t.window)
}

// pass charges n bytes that are being sent. A negative n refunds bytes that were not sent.
func (t *throttle) pass(n int, inSync bool, now time.Time) {
	if n > 0 {
		t.bytes.Add(float64(n))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if math.IsInf(t.mu.rate, 1) {
		return
	}
	t.settleLocked(now)
	next := t.mu.balance - float64(n)
	if inSync && n > 0 {
		next = max(next, min(t.mu.balance, -t.mu.rate*t.memory))
	}
	t.mu.balance = min(next, t.mu.rate*t.window)
}

// wait returns after which time a delayed replica has to check again; 0: nothing is delayed.
func (t *throttle) wait(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settleLocked(now)
	if math.IsInf(t.mu.rate, 1) || t.mu.balance >= 0 && t.mu.rate > 0 {
		return 0
	}
	left := throttleLookMax
	if seconds := -t.mu.balance / t.mu.rate; seconds < throttleLookMax.Seconds() {
		left = max(time.Duration(math.Ceil(seconds*float64(time.Second))), throttleLookMin)
	}
	from, until := t.mu.until, now.Add(left)
	if from.Before(now) {
		from = now
	}
	if until.After(from) {
		t.held.Add(until.Sub(from).Seconds())
		t.mu.until = until
	}
	return left
}

// leaderHeld reports whether the throttle withholds records from a follower now. An in-sync replica
// is never delayed, so that the throttle does not drop it from the ISR.
func (p *Partition) leaderHeld(r *role.State, replica *metadata.Member) bool {
	return replica != nil && p.config.Load().LeaderThrottled.has(p.tp.Partition) && !slices.Contains(r.ISR, *replica) &&
		p.throttles.leader.wait(p.throttles.now()) > 0
}

// sent charges n bytes that a follower is sent of the partition; a negative n refunds them. It
// ignores consumers.
func (p *Partition) sent(replica *metadata.Member, n int) {
	if n != 0 && replica != nil && p.config.Load().LeaderThrottled.has(p.tp.Partition) {
		p.throttles.leader.pass(n, slices.Contains(p.role.Load().ISR, *replica), p.throttles.now())
	}
}

// recheck returns when a waiting fetch has to look at what the throttle withheld, at most d from
// now.
func (f *delayedFetch) recheck(d time.Duration) time.Duration {
	if f.params.Replica == nil {
		return d
	}
	for i := range f.results {
		if p := f.partitions[i].Partition; p != nil && f.results[i].held {
			return min(d, p.throttles.leader.wait(p.throttles.now()))
		}
	}
	return d
}

// readHeld reads the partitions again that the throttle withheld. If the data turns out to be in
// the bucket, it is left to the next fetch, which requests it as usual.
func (f *delayedFetch) readHeld(ctx context.Context) {
	for i := range f.results {
		if f.partitions[i].Partition != nil && f.results[i].held {
			f.read(ctx, i)
			f.stop = f.stop || f.results[i].cold
		}
	}
}
