package tracing

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSampling: requests of clients are sampled by the ratio, with everything that they cause. The
// broker's own work is always sampled.
func TestSampling(t *testing.T) {
	for ratio, requests := range map[float64]int{0: 0, 1: 100} {
		spans := tracetest.NewInMemoryExporter()
		p := newProvider(sdk.NewSimpleSpanProcessor(spans), Options{Ratio: ratio})
		for range 100 {
			ctx, request := p.Tracer().Start(t.Context(), "Fetch", trace.WithSpanKind(trace.SpanKindServer))
			_, part := p.Tracer().Start(ctx, "part")
			part.End()
			request.End()
			_, own := p.Tracer().Start(t.Context(), "upload")
			own.End()
		}
		count := map[string]int{}
		for _, s := range spans.GetSpans() {
			count[s.Name]++
		}
		if count["Fetch"] != requests || count["part"] != requests || count["upload"] != 100 {
			t.Errorf("ratio %v: %v", ratio, count)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestComplainsOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	c := &complaints{log: slog.New(slog.NewTextHandler(&out, nil)), endpoint: "http://here", now: func() time.Time { return now }}
	for _, step := range []time.Duration{0, 30 * time.Second, 29 * time.Second, time.Second, time.Second} {
		now = now.Add(step)
		c.Handle(errors.New("refused"))
	}
	if n := strings.Count(out.String(), "http://here"); n != 2 {
		t.Errorf("%d lines: %s", n, &out)
	}
}
