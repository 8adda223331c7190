package tiering

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/varvelog/varve/metadata"
)

// span begins a span for work on a partition from an offset on. The span is nil without a tracer.
func (m *Manager) span(ctx context.Context, name string, tp metadata.TopicPartition, offset int64) (context.Context, trace.Span) {
	if m.o.Tracer == nil {
		return ctx, nil
	}
	return m.o.Tracer.Start(ctx, name, trace.WithAttributes(
		attribute.String("varve.topic", tp.Topic), attribute.Int("varve.partition", int(tp.Partition)), attribute.Int64("varve.offset", offset),
	))
}

// inSpanOf makes a read of the object store, which a fetcher's worker runs, a part of the trace of
// the first caller that asked for it.
func inSpanOf(asker context.Context, read func(context.Context) int64) func(context.Context) int64 {
	span := trace.SpanContextFromContext(asker)
	if !span.IsValid() {
		return read
	}
	return func(ctx context.Context) int64 { return read(trace.ContextWithSpanContext(ctx, span)) }
}

func endSpan(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
