package objstore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// gcsCall is one request to Google Cloud Storage, which the client's transport
// and its caller follow. It holds what Google's client does not: a request is
// sent once, where the client would go on reading an object whose connection
// broke, without a pause; and an upload whose body could not be read breaks off,
// where the client would end it in order, as a shorter object.
type gcsCall struct {
	upload *body // of a Put; nil: something else
	mu     struct {
		sync.Mutex
		sent   bool
		broken error // why the answer's body could not be read
	}
}

type gcsCallKey struct{}

func withCall(ctx context.Context, c *gcsCall) context.Context {
	return context.WithValue(ctx, gcsCallKey{}, c)
}

var errSentTwice = errors.New("request is sent a second time")

// send notes that the request is sent, or says why it must not be.
func (c *gcsCall) send() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.broken != nil:
		return c.mu.broken
	case c.mu.sent:
		return errSentTwice
	}
	c.mu.sent = true
	return nil
}

// gcsTransport sends the requests of calls.
type gcsTransport struct{ http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t gcsTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	call, ok := req.Context().Value(gcsCallKey{}).(*gcsCall)
	if !ok {
		return t.RoundTripper.RoundTrip(req)
	}
	if err := call.send(); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // the error that matters is another
		}
		return nil, err
	}
	if call.upload != nil && req.Body != nil {
		req = req.WithContext(req.Context()) // a copy: a transport does not change its request
		req.Body = guardedBody{req.Body, call.upload}
	}
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = followedBody{resp.Body, call}
	}
	return resp, err
}

// guardedBody is a request's body that has an upload within. What comes after the
// upload's body has failed is not sent: it would be the request's end, in order.
type guardedBody struct {
	io.ReadCloser
	upload *body
}

// Read reads on, until the upload's body has failed.
func (g guardedBody) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if failed := g.upload.failure(); failed != nil {
		return 0, failed
	}
	return n, err
}

// followedBody is an answer's body.
type followedBody struct {
	io.ReadCloser
	call *gcsCall
}

// Read reads on.
func (f followedBody) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.call.mu.Lock()
		defer f.call.mu.Unlock()
		f.call.mu.broken = err
	}
	return n, err
}
