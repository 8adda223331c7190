package coordinator

import (
	"context"
	"time"
)

// Machine is the state of one partition. Its methods are called by the shard's
// goroutine alone.
type Machine[M any] interface {
	// Apply changes the durable state by one record of the log, and is the only
	// thing that does. It keeps no part of the record. An error means that the
	// record makes no sense to it; the record is logged and skipped.
	Apply(Record) error
	// Loaded is called when the whole log has been applied, before any operation,
	// and returns the timers to start with.
	Loaded(now time.Time) []Timer[M]
	// Unloaded is called when the machine will not be used again.
	Unloaded()
}

// Access says which operations on the same key may be decided while another's
// records are on their way to the log.
type Access int8

const (
	// Exclusive operations wait for all that came before and hold up all that follow.
	Exclusive Access = iota
	// Shared operations do not wait for one another: none of them decides by what
	// another one writes.
	Shared
	// Read operations write nothing, look at committed state and never wait.
	Read
)

// Op is one event.
type Op[M any] struct {
	// Key names what the operation reads and changes, such as a group.
	Key string
	// Access is how.
	Access Access
	// Decide looks at the machine and says what is to be done. It changes nothing
	// and does not keep m. w is who waits for the answer (nil for a timer); a
	// decision either replies to it or puts it into the soft state, for a later
	// decision to reply to.
	Decide func(m M, now time.Time, w *Waiter) Decision[M]
}

// Decision is what an operation does once it is committed. The zero value does
// nothing.
type Decision[M any] struct {
	// Records are written together, in order. What does not fit one batch is
	// written in several: if a later one is refused, the earlier stay applied.
	Records []Record
	// Then changes the soft state, after the records were applied.
	Then func(m M)

	timers  []timerChange[M]
	replies []reply
}

type reply struct {
	to    *Waiter
	value any
}

// Reply answers w when the decision is committed. A nil w is ignored.
func (d *Decision[M]) Reply(w *Waiter, value any) {
	if w != nil {
		d.replies = append(d.replies, reply{to: w, value: value})
	}
}

// SetTimer starts or restarts the timer of that key when the decision is
// committed; it then runs for t.After.
func (d *Decision[M]) SetTimer(t Timer[M]) {
	d.timers = append(d.timers, timerChange[M]{Timer: t})
}

// CancelTimer stops the timer of that key when the decision is committed.
func (d *Decision[M]) CancelTimer(key TimerKey) {
	d.timers = append(d.timers, timerChange[M]{Timer: Timer[M]{Key: key}, cancel: true})
}

// Waiter is somebody who waits for the answer to an operation.
type Waiter struct {
	done  chan struct{} // closed by the shard when value and err are set
	value any
	err   error
}

// Wait returns the answer. When ctx ends first it returns its cause; the
// operation goes on all the same.
func (w *Waiter) Wait(ctx context.Context) (any, error) {
	select {
	case <-w.done:
		return w.value, w.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
