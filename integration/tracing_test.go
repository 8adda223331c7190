package integration

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is an OTLP collector.
type spans struct {
	mu     sync.Mutex
	byID   map[string]*tracepb.Span
	byName map[string][]*tracepb.Span
}

// ServeHTTP receives the data of an exporter.
func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	data, err := io.ReadAll(body)
	var request collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(data, &request) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				s.byID[string(span.GetSpanId())] = span
				s.byName[span.GetName()] = append(s.byName[span.GetName()], span)
			}
		}
	}
}

// child reports whether a span with a name exists whose parent has the other name.
func (s *spans) child(name, parent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.byName[name] {
		if p := s.byID[string(span.GetParentSpanId())]; p.GetName() == parent {
			return true
		}
	}
	return false
}

func (s *spans) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byName[name])
}

// TestTraces has a broker send its traces to a collector: every request, and the transfers to and
// from the bucket as children of their cause. Without the collector the broker must serve, and end
// in order.
func TestTraces(t *testing.T) {
	sideBySide(t)
	got := &spans{byID: map[string]*tracepb.Span{}, byName: map[string][]*tracepb.Span{}}
	server := httptest.NewServer(got)
	defer server.Close()
	broker := startBroker(t, "--trace", server.URL, "--trace-ratio", "1")
	createTopic(t, newAdmin(t, broker.bootstrap), "traced", 1, "segment.bytes", "1048576", "local.retention.bytes", "1")
	client := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("traced"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 30 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, "%0200000d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, "the beginning is only in the bucket", func() bool { return broker.tier(t, "traced")[0].LocalStart > 0 })
	reader := newClient(t, broker.bootstrap, kgo.ConsumeTopics("traced"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	consume(t, reader, 30, time.Minute, func(*kgo.Record) {})
	eventually(t, time.Minute, "traces are there", func() bool {
		return got.count("Produce") == 30 && got.count("Fetch") > 0 && got.child("objstore put", "upload segment") && got.child("objstore get", "read remote tier")
	})

	server.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("nobody hears of it")}).FirstErr(); err != nil {
		t.Error(err)
	}
}
