package objstore_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// s3blob would first look for the object, which costs a second request.
func TestS3DeleteIsOneRequest(t *testing.T) {
	server := &smallS3{}
	b := server.open(t, "")
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if got := server.requests(); got != http.MethodDelete {
		t.Errorf("asked: %s", got)
	}
}

// deleteRequest is the body of a DeleteObjects.
type deleteRequest struct {
	Objects []struct{ Key string } `xml:"Object"`
}

func TestS3DeletesInBatches(t *testing.T) {
	var sizes []int
	server := &smallS3{post: func(_ http.ResponseWriter, r *http.Request) []byte {
		var in deleteRequest
		if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		sizes = append(sizes, len(in.Objects))
		var out strings.Builder
		out.WriteString("<DeleteResult>")
		for _, o := range in.Objects {
			if code := map[string]string{"some/k7": "AccessDenied", "some/k8": "InternalError", "some/k9": "NoSuchKey"}[o.Key]; code != "" {
				fmt.Fprintf(&out, "<Error><Key>%s</Key><Code>%s</Code><Message>told so</Message></Error>", o.Key, code)
			}
		}
		return []byte(out.String() + "</DeleteResult>")
	}}
	b := server.open(t, "&prefix=some")
	keys := make([]string, 2100)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
	}
	err := b.DeleteAll(t.Context(), keys)
	left, ok := errors.AsType[*objstore.DeleteError](err)
	if !ok || len(left.Failed) != 2 {
		t.Fatalf("DeleteAll: %v", err)
	}
	if denied := left.Failed["k7"]; denied == nil || errors.Is(denied, objstore.ErrUnavailable) || !strings.Contains(denied.Error(), "delete k7") {
		t.Errorf("k7: %v", denied)
	}
	if broken := left.Failed["k8"]; !errors.Is(broken, objstore.ErrUnavailable) {
		t.Errorf("k8: %v", broken)
	}
	if fmt.Sprint(sizes) != "[1000 1000 100]" {
		t.Errorf("batches of %v", sizes)
	}
}

// A server without DeleteObjects must be asked for it once, and from then on for single keys.
func TestS3DeletesOneByOneWhereItMust(t *testing.T) {
	server := &smallS3{}
	b := server.open(t, "")
	for range 2 {
		if err := b.DeleteAll(t.Context(), []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.requests(); got != "POST DELETE DELETE DELETE DELETE" {
		t.Errorf("asked: %s", got)
	}
}

// An outage must not be taken for a server without DeleteObjects.
func TestS3DeletesInBatchesAfterAnOutage(t *testing.T) {
	for status, code := range map[int]string{503: "SlowDown", 403: "AccessDenied", 404: "NoSuchBucket"} {
		server := &smallS3{refuse: refusing(http.MethodPost, status, code), post: func(http.ResponseWriter, *http.Request) []byte {
			return []byte("<DeleteResult/>")
		}}
		b := server.open(t, "")
		err := b.DeleteAll(t.Context(), []string{"a", "b"})
		left, ok := errors.AsType[*objstore.DeleteError](err)
		if !ok || len(left.Failed) != 2 || errors.Is(err, objstore.ErrUnavailable) != (status == 503) || errors.Is(err, objstore.ErrNoBucket) != (status == 404) {
			t.Errorf("%d: %v", status, err)
		}
		server.mu.Lock()
		server.refuse = nil
		server.mu.Unlock()
		if err = b.DeleteAll(t.Context(), []string{"a", "b"}); err != nil {
			t.Error(err)
		}
		if got := server.requests(); strings.Contains(got, "DELETE") {
			t.Errorf("%d: asked: %s", status, got)
		}
	}
}

func TestDeleteErrorNamesTheFirst(t *testing.T) {
	e := &objstore.DeleteError{Failed: map[string]error{"b": errors.New("b is locked"), "a": errors.New("a is locked")}}
	if got := e.Error(); got != "2 objects are not deleted, the first because of: a is locked" {
		t.Errorf("%q", got)
	}
	delete(e.Failed, "a")
	if got := e.Error(); got != "b is locked" {
		t.Errorf("%q", got)
	}
}
