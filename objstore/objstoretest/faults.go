package objstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/objstore"
)

// ErrInjected is wrapped by every error of a [Fault], in addition to Fault.Err.
var ErrInjected = errors.New("injected")

// Op is the kind of a request.
type Op string

// The methods of objstore.Bucket. AnyOp matches all of them.
const (
	AnyOp  Op = ""
	PutOp  Op = "put"
	GetOp  Op = "get"
	StatOp Op = "stat"
	ListOp Op = "list"
	// DeleteOp stands for DeleteAll too, which counts as one request. Faults are matched against
	// each of its keys.
	DeleteOp Op = "delete"
	CheckOp  Op = "check"
)

// Kind is the way in which a request fails.
type Kind int

// The kinds of faults.
const (
	Fail        Kind = iota // the request does nothing and fails
	FailAfter               // the request succeeds but returns an error
	Slow                    // the request takes Fault.Latency longer
	PartialRead             // GetRange reads half of the range and fails
	StaleList               // List returns the objects of the time when the fault was added
)

// Fault selects requests and how they fail.
type Fault struct {
	Kind    Kind
	Op      Op            // AnyOp: all
	Key     string        // only keys that contain it; "" matches all
	Skip    int           // number of matching requests that succeed first
	Times   int           // number of requests that then fail; 0: all
	Latency time.Duration // for Slow
	Err     error         // wrapped by the error; nil: objstore.ErrUnavailable
}

func (f Fault) error(op Op, key string) error {
	kind := f.Err
	if kind == nil {
		kind = objstore.ErrUnavailable
	}
	return fmt.Errorf("%s %s: %w: %w", op, key, ErrInjected, kind)
}

// Faults is a Bucket that counts its requests and fails them as its faults say. Several faults may
// hit one request.
type Faults struct {
	inner objstore.Bucket
	mu    struct {
		sync.Mutex
		faults []*pending
		calls  map[Op]int
	}
}

// pending is an active Fault. Its Skip and Times count down; Times is -1 when the fault is spent.
type pending struct {
	Fault
	snapshot []objstore.ObjectInfo // for StaleList
}

var _ objstore.Bucket = (*Faults)(nil)

// NewFaults returns a Bucket over b without faults.
func NewFaults(b objstore.Bucket) *Faults {
	f := &Faults{inner: b}
	f.mu.calls = map[Op]int{}
	return f
}

// Add activates a fault and returns a function that removes it.
func (f *Faults) Add(fault Fault) (remove func()) {
	p := &pending{Fault: fault}
	if fault.Kind == StaleList {
		for info, err := range f.inner.List(context.Background(), "") {
			if err != nil {
				panic(fmt.Sprintf("objstoretest: list the bucket for a stale list: %v", err))
			}
			p.snapshot = append(p.snapshot, info)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = append(f.mu.faults, p)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		p.Times = -1
	}
}

// Calls is the number of requests of a kind so far, failed ones included.
func (f *Faults) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != AnyOp {
		return f.mu.calls[op]
	}
	total := 0
	for _, n := range f.mu.calls {
		total += n
	}
	return total
}

// hits are the faults that hit one request.
type hits struct {
	fail, failAfter, partial error
	latency                  time.Duration
	stale                    *pending
}

func (f *Faults) meet(op Op, key string) hits {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.calls[op]++
	return f.match(op, key)
}

// match is meet without the count. The caller must hold f.mu.
func (f *Faults) match(op Op, key string) hits {
	var h hits
	for _, p := range f.mu.faults {
		switch {
		case p.Times < 0, p.Op != AnyOp && p.Op != op, !strings.Contains(key, p.Key):
			continue
		case p.Kind == PartialRead && op != GetOp, p.Kind == StaleList && op != ListOp:
			continue
		case p.Skip > 0:
			p.Skip--
			continue
		case p.Times == 1:
			p.Times = -1
		case p.Times > 1:
			p.Times--
		}
		switch p.Kind {
		case Fail:
			h.fail = p.error(op, key)
		case FailAfter:
			h.failAfter = p.error(op, key)
		case Slow:
			h.latency += p.Latency
		case PartialRead:
			h.partial = p.error(op, key)
		case StaleList:
			h.stale = p
		}
	}
	return h
}

// before waits for the latency and returns the error of a Fail, if any. It runs before the request.
func (h hits) before(ctx context.Context) error {
	if h.latency > 0 {
		timer := time.NewTimer(h.latency)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	return h.fail
}

func (h hits) after(err error) error {
	if err == nil && h.failAfter != nil {
		return h.failAfter
	}
	return err
}

// Put implements objstore.Bucket.
func (f *Faults) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) error {
	h := f.meet(PutOp, key)
	if err := h.before(ctx); err != nil {
		return err
	}
	return h.after(f.inner.Put(ctx, key, body, opts))
}

// GetRange implements objstore.Bucket.
func (f *Faults) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	h := f.meet(GetOp, key)
	if err := h.before(ctx); err != nil {
		return 0, err
	}
	n, err := f.inner.GetRange(ctx, key, off, p)
	if h.partial != nil {
		half := min(n, len(p)/2)
		clear(p[half:])
		return half, h.partial
	}
	return n, h.after(err)
}

// Stat implements objstore.Bucket.
func (f *Faults) Stat(ctx context.Context, key string) (objstore.ObjectInfo, error) {
	h := f.meet(StatOp, key)
	if err := h.before(ctx); err != nil {
		return objstore.ObjectInfo{}, err
	}
	info, err := f.inner.Stat(ctx, key)
	return info, h.after(err)
}

// List implements objstore.Bucket. With FailAfter it yields half of the objects before the error.
func (f *Faults) List(ctx context.Context, prefix string) iter.Seq2[objstore.ObjectInfo, error] {
	return func(yield func(objstore.ObjectInfo, error) bool) {
		h := f.meet(ListOp, prefix)
		err := h.before(ctx)
		var all []objstore.ObjectInfo
		if err == nil && h.stale != nil {
			for _, info := range h.stale.snapshot {
				if strings.HasPrefix(info.Key, prefix) {
					all = append(all, info)
				}
			}
		} else if err == nil {
			for info, listErr := range f.inner.List(ctx, prefix) {
				if err = listErr; err != nil {
					break
				}
				all = append(all, info)
			}
		}
		if err == nil && h.failAfter != nil {
			all, err = all[:len(all)/2], h.failAfter
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(objstore.ObjectInfo{}, err)
		}
	}
}

// Delete implements objstore.Bucket.
func (f *Faults) Delete(ctx context.Context, key string) error {
	h := f.meet(DeleteOp, key)
	if err := h.before(ctx); err != nil {
		return err
	}
	return h.after(f.inner.Delete(ctx, key))
}

// DeleteAll implements objstore.Bucket.
func (f *Faults) DeleteAll(ctx context.Context, keys []string) error {
	failed := map[string]error{}
	after := map[string]error{}
	var slowest hits
	sent := make([]string, 0, len(keys))
	f.mu.Lock()
	f.mu.calls[DeleteOp]++
	for _, key := range keys {
		h := f.match(DeleteOp, key)
		slowest.latency = max(slowest.latency, h.latency)
		if h.fail != nil {
			failed[key] = h.fail
			continue
		}
		sent = append(sent, key)
		if h.failAfter != nil {
			after[key] = h.failAfter
		}
	}
	f.mu.Unlock()
	if err := slowest.before(ctx); err != nil {
		for _, key := range keys {
			failed[key] = err
		}
		return &objstore.DeleteError{Failed: failed}
	}
	err := f.inner.DeleteAll(ctx, sent)
	left, ok := errors.AsType[*objstore.DeleteError](err)
	switch {
	case ok:
		maps.Copy(after, left.Failed)
	case err != nil:
		return err
	}
	maps.Copy(failed, after)
	if len(failed) > 0 {
		return &objstore.DeleteError{Failed: failed}
	}
	return nil
}

// Check implements objstore.Bucket.
func (f *Faults) Check(ctx context.Context) error {
	h := f.meet(CheckOp, "")
	if err := h.before(ctx); err != nil {
		return err
	}
	return h.after(f.inner.Check(ctx))
}

// Close implements objstore.Bucket.
func (f *Faults) Close() error { return f.inner.Close() }
