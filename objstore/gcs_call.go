package objstore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// gcsCall is one request to Google Cloud Storage, shared by the transport and its caller. It
// enforces two rules that Google's client breaks. A request is sent once: the client would continue
// to read an object whose connection broke, without a pause. An upload with an unreadable body is
// aborted: the client would end it in order, as a shorter object.
type gcsCall struct {
	upload *body // body of a Put; nil for other requests
	mu     struct {
		sync.Mutex
		sent   bool
		broken error // why the body of the answer could not be read
	}
}

type gcsCallKey struct{}

func withCall(ctx context.Context, c *gcsCall) context.Context {
	return context.WithValue(ctx, gcsCallKey{}, c)
}

var errSentTwice = errors.New("request is sent a second time")

// send records that the request is sent. It returns an error if it must not be.
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
			_ = req.Body.Close() // the other error matters
		}
		return nil, err
	}
	if call.upload != nil && req.Body != nil {
		req = req.WithContext(req.Context()) // a copy: a transport must not change its request
		req.Body = guardedBody{req.Body, call.upload}
	}
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = followedBody{resp.Body, call}
	}
	return resp, err
}

// guardedBody is the body of a request that contains an upload. Nothing more is sent after reading
// the upload's body has failed: the server would take it for the regular end of the request.
type guardedBody struct {
	io.ReadCloser
	upload *body
}

// Read returns the next bytes, or the error of the upload's body once it has failed.
func (g guardedBody) Read(p []byte) (int, error) {
	n, err := g.ReadCloser.Read(p)
	if failed := g.upload.failure(); failed != nil {
		return 0, failed
	}
	return n, err
}

// followedBody is the body of an answer.
type followedBody struct {
	io.ReadCloser
	call *gcsCall
}

// Read returns the next bytes and records an error in the call.
func (f followedBody) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.call.mu.Lock()
		defer f.call.mu.Unlock()
		f.call.mu.broken = err
	}
	return n, err
}
