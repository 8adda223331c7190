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

// Throttling are the options of replication throttles (KIP-73).
type Throttling struct {
	// Rates are the rates under an image. They are asked for again when this broker's settings
	// change. nil: there are none.
	Rates func(image *metadata.Image) ThrottleRates
	// Windows is for how many windows the traffic of replicas in sync counts
	// (replication.quota.window.num). Default 11.
	Windows int
	// Window is how long the rate that was not used is kept
	// (replication.quota.window.size.seconds). Default 1 s.
	Window time.Duration
}

// ThrottleRates are bytes a second of all throttled replicas together; Unthrottled is no rate.
type ThrottleRates struct {
	Leader   int64 // that this broker sends as the leader (leader.replication.throttled.rate)
	Follower int64 // that it fetches (follower.replication.throttled.rate)
}

// Unthrottled is the rate that holds nothing back.
const Unthrottled = math.MaxInt64

// ThrottledReplicas tells which partitions of a topic have a throttled replica on one broker. The
// zero value is none.
type ThrottledReplicas string // "*", or partition numbers, each between commas

const allReplicas = "*"

// ThrottledOn picks what a list of PARTITION:BROKER, or * alone, says of one broker. The list was
// checked when it was set.
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

// throttles are this broker's two rates.
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

// throttle keeps the traffic of throttled replicas to a rate. It has a balance of bytes, which
// grows with time up to one window's worth, and holds replicas back while the balance is negative.
// What went to a replica that may be held back is paid for in full, however much more than the rate
// one fetch brought. What went to one in sync, which is never held back, counts as well, but no
// longer than the windows that the settings say, so that a busy hour does not keep the others
// waiting for another.
type throttle struct {
	window, memory float64 // seconds
	bytes, held    prometheus.Counter

	mu struct {
		sync.Mutex
		rate    float64   // bytes a second; infinite: none
		balance float64   // bytes, as of at
		at      time.Time // never goes back
		until   time.Time // up to when it is known, and counted, that replicas are held back
	}
}

// The bounds of the time after which one that is held back looks again: soon after the rate has
// been changed, and never at once.
const (
	throttleLookMin = time.Millisecond
	throttleLookMax = time.Second
)

// setRate sets bytes a second. What is owed is paid at the new rate; a rate where there was none
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

// settleLocked brings the balance up to a time.
func (t *throttle) settleLocked(now time.Time) {
	passed := now.Sub(t.mu.at).Seconds()
	if math.IsInf(t.mu.rate, 1) || passed <= 0 {
		return
	}
	t.mu.at = now
	t.mu.balance = min(t.mu.balance+t.mu.rate*passed, t.mu.rate*t.window)
}

// pass notes n bytes that are on their way, or, where n is negative, have not left after all.
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

// wait tells when one that is held back has to look again; 0: nothing is held back.
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

// leaderHeld tells whether a follower gets nothing at the moment: it is not in sync, so that it is
// not thrown out for that, and its turn is not yet.
func (p *Partition) leaderHeld(r *role.State, replica *metadata.Member) bool {
	return replica != nil && p.config.Load().LeaderThrottled.has(p.tp.Partition) && !slices.Contains(r.ISR, *replica) &&
		p.throttles.leader.wait(p.throttles.now()) > 0
}

// sent notes what a follower, if it is one that asked, is sent of the partition; less than nothing
// is what it is not sent after all.
func (p *Partition) sent(replica *metadata.Member, n int) {
	if n != 0 && replica != nil && p.config.Load().LeaderThrottled.has(p.tp.Partition) {
		p.throttles.leader.pass(n, slices.Contains(p.role.Load().ISR, *replica), p.throttles.now())
	}
}

// recheck is when a fetch that waits has to look at what was held back, d at the latest.
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

// readHeld looks again at what was held back. What turns out to be in the bucket is left to the
// next fetch, which asks for it as usual.
func (f *delayedFetch) readHeld(ctx context.Context) {
	for i := range f.results {
		if f.partitions[i].Partition != nil && f.results[i].held {
			f.read(ctx, i)
			f.stop = f.stop || f.results[i].cold
		}
	}
}
