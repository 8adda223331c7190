package catalogue

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/objstore"
)

// Gate is a bucket whose objects cannot be read, written or deleted before the gate is opened.
// Until then requests fail with objstore.ErrUnavailable. Check and Close pass.
type Gate struct {
	objstore.Bucket

	once   sync.Once
	opened chan struct{}
	why    atomic.Pointer[string]
}

// NewGate returns a gate that is shut.
func NewGate(b objstore.Bucket) *Gate {
	g := &Gate{Bucket: b, opened: make(chan struct{})}
	g.Shut("it has not been compared with the metadata yet")
	return g
}

// Open lets all requests pass from now on. It may be called again.
func (g *Gate) Open() { g.once.Do(func() { close(g.opened) }) }

// Opened returns a channel that is closed when the gate is opened.
func (g *Gate) Opened() <-chan struct{} { return g.opened }

// Shut sets the reason why the gate is still shut. It does not shut an open gate.
func (g *Gate) Shut(why string) { g.why.Store(&why) }

// shut returns the error of a gate that is shut, nil once it is open.
func (g *Gate) shut() error {
	select {
	case <-g.opened:
		return nil
	default:
		return fmt.Errorf("%w: the bucket is not used: %s", objstore.ErrUnavailable, *g.why.Load())
	}
}

// Put implements objstore.Bucket.
func (g *Gate) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) error {
	if err := g.shut(); err != nil {
		return err
	}
	return g.Bucket.Put(ctx, key, body, opts)
}

// GetRange implements objstore.Bucket.
func (g *Gate) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	if err := g.shut(); err != nil {
		return 0, err
	}
	return g.Bucket.GetRange(ctx, key, off, p)
}

// Stat implements objstore.Bucket.
func (g *Gate) Stat(ctx context.Context, key string) (objstore.ObjectInfo, error) {
	if err := g.shut(); err != nil {
		return objstore.ObjectInfo{}, err
	}
	return g.Bucket.Stat(ctx, key)
}

// List implements objstore.Bucket.
func (g *Gate) List(ctx context.Context, prefix string) iter.Seq2[objstore.ObjectInfo, error] {
	return func(yield func(objstore.ObjectInfo, error) bool) {
		if err := g.shut(); err != nil {
			yield(objstore.ObjectInfo{}, err)
			return
		}
		g.Bucket.List(ctx, prefix)(yield)
	}
}

// Delete implements objstore.Bucket.
func (g *Gate) Delete(ctx context.Context, key string) error {
	if err := g.shut(); err != nil {
		return err
	}
	return g.Bucket.Delete(ctx, key)
}

// DeleteAll implements objstore.Bucket.
func (g *Gate) DeleteAll(ctx context.Context, keys []string) error {
	if err := g.shut(); err != nil {
		return err
	}
	return g.Bucket.DeleteAll(ctx, keys)
}
