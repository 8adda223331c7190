package tiering

import "context"

// Reader is the client on whose behalf the remote tier is read. A context carries it, see ReadBy.
// Without one the reader has no name and waits.
type Reader struct {
	// Client is the client id: clients share the object store's bandwidth evenly.
	Client string
	// Cached makes a read return ErrNotCached where it would have to wait.
	Cached bool
}

type readerKey struct{}

// ReadBy returns a context for calls on behalf of a reader.
func ReadBy(ctx context.Context, r Reader) context.Context {
	return context.WithValue(ctx, readerKey{}, r)
}

// ReaderOf returns the reader on whose behalf a call is made.
func ReaderOf(ctx context.Context) Reader {
	r, _ := ctx.Value(readerKey{}).(Reader)
	return r
}
