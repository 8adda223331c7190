package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// badServer is an S3 bucket on a server that answers with answer.
func badServer(t *testing.T, answer http.HandlerFunc) objstore.Bucket {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && strings.Trim(r.URL.Path, "/") == "bucket" {
			return // asked when an object is not found
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	b := open(t, "s3://bucket?path_style=true&endpoint="+url.QueryEscape(server.URL))
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func fail(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>told so</Message></Error>", code)
	}
}

func TestS3ErrorsAreTold(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error // for GetRange; nil: none of the sentinels
	}{
		{404, "NoSuchKey", objstore.ErrNotFound},
		{404, "NoSuchBucket", objstore.ErrNoBucket},
		{403, "AccessDenied", nil},
		{400, "InvalidArgument", nil},
		{500, "InternalError", objstore.ErrUnavailable},
		{502, "", objstore.ErrUnavailable},
		{501, "NotImplemented", nil},
		{507, "XMinioStorageFull", objstore.ErrUnavailable},
		{503, "SlowDown", objstore.ErrUnavailable},
		{429, "TooManyRequests", objstore.ErrUnavailable},
		{400, "RequestTimeout", objstore.ErrUnavailable},
		{409, "ConditionalRequestConflict", objstore.ErrUnavailable},
		{412, "PreconditionFailed", objstore.ErrExists},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			b := badServer(t, fail(c.status, c.code))
			_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 10))
			if c.status == 412 { // only for a Put
				err = b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, sentinel := range []error{objstore.ErrNotFound, objstore.ErrNoBucket, objstore.ErrUnavailable, objstore.ErrExists} {
				if is := errors.Is(err, sentinel); is != errors.Is(c.want, sentinel) {
					t.Errorf("%v: is %v: %t", err, sentinel, is)
				}
			}
		})
	}
}

// The SDK must not repeat requests: for a conditional PUT whose answer is lost it would report its
// own success as a conflict.
func TestS3AsksOnce(t *testing.T) {
	var asked atomic.Int64
	b := badServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fail(503, "SlowDown")(w, r)
	})
	err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
	if !errors.Is(err, objstore.ErrUnavailable) || asked.Load() != 1 {
		t.Errorf("%d requests: %v", asked.Load(), err)
	}
}

// breakOff writes an answer unchanged and closes the connection.
func breakOff(t *testing.T, w http.ResponseWriter, answer string) {
	t.Helper()
	conn, _, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert // an HTTP/1 server's writer
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = conn.Write([]byte(answer)) // the client may be gone
	_ = conn.Close()
}

// The client reports a body that it cannot read as a request that it cannot send. That looks like a
// network failure, but must not be retried.
func TestS3BodyThatFailsIsNotTheStoresFault(t *testing.T) {
	b := badServer(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	err := b.Put(t.Context(), "k", &laterFailure{Reader: bytes.NewReader(make([]byte, 200<<10))}, objstore.PutOptions{})
	if !errors.Is(err, errLater) || errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Put: %v", err)
	}
}

// A connection that breaks in the middle of an object must not look like the end of the object.
func TestS3BrokenAnswerIsNotTheEnd(t *testing.T) {
	for name, answer := range map[string]string{
		"in the body":    "HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\r\nhello",
		"before it":      "HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\r\n",
		"in the headers": "HTTP/1.1 206 Partial Content\r\nContent-Le",
		"at once":        "",
	} {
		t.Run(name, func(t *testing.T) {
			b := badServer(t, func(w http.ResponseWriter, _ *http.Request) { breakOff(t, w, answer) })
			_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 100))
			if !errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The server reads the beginning of an upload and then stops. After Put has given up, nothing may
// read the body any more; the race detector checks that.
func TestS3PutLetsGoOfItsBody(t *testing.T) {
	release := make(chan struct{}) // closed below, before the server
	b := badServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 1<<10)) // the client may be gone
		<-release
	})
	defer close(release)
	content := make([]byte, 64<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := b.Put(ctx, "k", bytes.NewReader(content), objstore.PutOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
	for i := range content {
		content[i] = 1
	}
}

// This plays a whole outage of the object store on a real server: errors must report it, and
// afterward everything must work as before.
func TestS3Outage(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	b := open(t, s3.BucketURL(t, "outage"))
	defer b.Close()
	put := func(key string) error {
		return b.Put(t.Context(), key, strings.NewReader("content"), objstore.PutOptions{IfAbsent: true})
	}
	if err := put("before"); err != nil {
		t.Fatal(err)
	}
	s3.Stop(t)
	_, statErr := b.Stat(t.Context(), "before")
	_, getErr := b.GetRange(t.Context(), "before", 0, make([]byte, 7))
	var listErr error
	for _, err := range b.List(t.Context(), "") {
		listErr = err
	}
	for what, err := range map[string]error{"Put": put("during"), "Stat": statErr, "GetRange": getErr, "List": listErr, "Delete": b.Delete(t.Context(), "before")} {
		if !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s3.Start(t)
	if err := put("before"); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("Put of what was there before: %v", err)
	}
	if err := put("during"); err != nil {
		t.Errorf("Put: %v", err)
	}
}
