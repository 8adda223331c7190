package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// smallS3 is an S3 server with one bucket and a defect. Objects have keys and nothing else.
type smallS3 struct {
	unconditional bool // If-None-Match is ignored
	// refuse returns the error of a request, or 0 to accept it. nil accepts all.
	refuse func(r *http.Request) (status int, code string)
	// post answers DeleteObjects. nil: it is not implemented.
	post func(w http.ResponseWriter, r *http.Request) []byte

	mu struct {
		sync.Mutex
		objects map[string]bool
		asked   []*http.Request
	}
}

// open starts the server and returns its bucket. more are additional parameters of the URL, each
// after an ampersand.
func (s *smallS3) open(t *testing.T, more string) objstore.Bucket {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "")
	s.mu.objects = map[string]bool{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	b := open(t, "s3://bucket?path_style=true&endpoint="+url.QueryEscape(server.URL)+more)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// ServeHTTP implements [http.Handler].
func (s *smallS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.asked = append(s.mu.asked, r.Clone(r.Context()))
	if s.refuse != nil {
		if status, code := s.refuse(r); status != 0 {
			_, _ = io.Copy(io.Discard, r.Body)
			fail(status, code)(w, r)
			return
		}
	}
	key := r.URL.Path
	switch r.Method {
	case http.MethodPut:
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("If-None-Match") == "*" && s.mu.objects[key] && !s.unconditional {
			fail(http.StatusPreconditionFailed, "PreconditionFailed")(w, r)
			return
		}
		s.mu.objects[key] = true
	case http.MethodDelete:
		delete(s.mu.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPost:
		if s.post == nil {
			fail(http.StatusNotImplemented, "NotImplemented")(w, r)
			return
		}
		_, _ = w.Write(s.post(w, r)) // the client may be gone
	case http.MethodHead: // of the bucket
	default:
		fail(http.StatusMethodNotAllowed, "MethodNotAllowed")(w, r)
	}
}

// requests returns the methods of the requests, in order.
func (s *smallS3) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var methods []string
	for _, r := range s.mu.asked {
		methods = append(methods, r.Method)
	}
	return strings.Join(methods, " ")
}

func refusing(method string, status int, code string) func(*http.Request) (int, string) {
	return func(r *http.Request) (int, string) {
		if r.Method == method {
			return status, code
		}
		return 0, ""
	}
}

func refusingHeader(prefix string, status int, code string) func(*http.Request) (int, string) {
	return func(r *http.Request) (int, string) {
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), prefix) {
				return status, code
			}
		}
		return 0, ""
	}
}

func TestCheckTellsWhatAStoreLacks(t *testing.T) {
	for name, c := range map[string]struct {
		server *smallS3
		more   string
		want   string // "": it can be used
	}{
		"nothing":                      {server: &smallS3{}},
		"checksums it need not":        {server: &smallS3{refuse: refusingHeader("x-amz-checksum", 400, "InvalidArgument")}},
		"checksums that it must":       {&smallS3{refuse: refusingHeader("x-amz-checksum", 400, "InvalidArgument")}, "&checksum=when_supported", "needs checksum=when_required"},
		"conditions, which it ignores": {server: &smallS3{unconditional: true}, want: "has no conditional writes (PUT with If-None-Match: *): it has overwritten an object"},
		"conditions, which it refuses": {server: &smallS3{refuse: refusingHeader("if-none-match", 501, "NotImplemented")}, want: "has no conditional writes"},
		"a right to write":             {server: &smallS3{refuse: refusing(http.MethodPut, 403, "AccessDenied")}, want: "check that the credentials may write objects"},
		"a right to delete":            {server: &smallS3{refuse: refusing(http.MethodDelete, 403, "AccessDenied")}, want: "check that the credentials may delete objects"},
		"a right to ask":               {server: &smallS3{refuse: refusing(http.MethodHead, 403, "")}, want: "access to bucket bucket at http://"},
		"a storage class":              {&smallS3{refuse: refusingHeader("x-amz-storage-class", 400, "InvalidStorageClass")}, "&storage_class=COLD", "the parameters of the object store's URL"},
		"time":                         {server: &smallS3{refuse: refusing(http.MethodPut, 503, "SlowDown")}, want: "SlowDown"},
		"time for deletions":           {server: &smallS3{refuse: refusing(http.MethodDelete, 503, "SlowDown")}, want: "SlowDown"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.server.open(t, c.more)
			err := b.Check(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, not %q", err, c.want)
			}
			if passes := strings.HasPrefix(name, "time"); errors.Is(err, objstore.ErrUnavailable) != passes {
				t.Errorf("%v: may go away: %t", err, !passes)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 500) {
				t.Errorf("not one line: %v", err)
			}
			if len(c.server.mu.objects) != 0 && !strings.Contains(name, "delet") {
				t.Errorf("left: %v", c.server.mu.objects)
			}
		})
	}
}

// A broker that is stopped during its check must leave no object in the bucket.
func TestCheckThatIsCanceledLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &smallS3{}
	server.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut {
			cancel() // the object is stored nevertheless
		}
		return 0, ""
	}
	b := server.open(t, "")
	if err := b.Check(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.mu.objects) != 0 {
		t.Errorf("left: %v", server.mu.objects)
	}
}

func TestCheckOfARealServerIsNotListed(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	there := s3.BucketURL(t, "checked")
	if err := openAndCheck(t, there); err != nil {
		t.Error(err)
	}
	for info, err := range open(t, there).List(t.Context(), "") {
		t.Errorf("listed: %+v, %v", info, err)
	}
}

func TestS3SendsItsParameters(t *testing.T) {
	server := &smallS3{}
	b := server.open(t, "&sse=aws:kms&kms_key=some-key&storage_class=STANDARD_IA")
	if err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	h := server.mu.asked[0].Header
	got := fmt.Sprint(h.Get("X-Amz-Server-Side-Encryption"), " ", h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"), " ", h.Get("X-Amz-Storage-Class"))
	if got != "aws:kms some-key STANDARD_IA" {
		t.Errorf("sent %q", got)
	}
}

// By default the SDK adds checksums, and trailers to carry them, that servers other than AWS's
// reject.
func TestS3ChecksumsAreForAWS(t *testing.T) {
	for more, want := range map[string]bool{"": false, "&checksum=when_required": false, "&checksum=when_supported": true} {
		server := &smallS3{}
		b := server.open(t, more)
		if err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		sent := false
		for name := range server.mu.asked[0].Header {
			sent = sent || strings.HasPrefix(name, "X-Amz-Checksum") || name == "X-Amz-Trailer"
		}
		if sent != want {
			t.Errorf("%q: checksums sent: %t", more, sent)
		}
	}
}
