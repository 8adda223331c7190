package tiering

import "context"

// Reader is on whose behalf the remote tier is read. A context carries it, see ReadBy; without one
// the reader has no name and waits.
type Reader struct {
	// Client is the client id: clients share the object store's bandwidth evenly.
	Client string
	// Cached has a read return ErrNotCached where it would have to wait.
	Cached bool
}

type readerKey struct{}

// ReadBy is a context for calls on behalf of a reader.
func ReadBy(ctx context.Context, r Reader) context.Context {
	return context.WithValue(ctx, readerKey{}, r)
}

// ReaderOf is the reader on whose behalf a call is made.
func ReaderOf(ctx context.Context) Reader {
	r, _ := ctx.Value(readerKey{}).(Reader)
	return r
}
