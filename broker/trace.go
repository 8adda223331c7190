package broker

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// traced begins the span of a request whose header has been read, if requests are traced.
// [exchange.done] ends it. Kafka's requests carry no trace context, so each request begins a trace.
func (c *connection) traced(ctx context.Context, x *exchange) context.Context {
	if c.broker.tracer == nil {
		return ctx
	}
	ctx, x.span = c.broker.tracer.Start(ctx, x.api.name(), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(x.times.read), trace.WithAttributes(
		attribute.Int("kafka.api.version", int(x.req.Version)), attribute.String("kafka.client.id", x.req.ClientID),
		attribute.String("kafka.listener", c.listener.name), attribute.String("network.peer.address", c.host), attribute.Int("kafka.request.bytes", len(x.frame.Bytes())),
	))
	return ctx
}

func spanFailed(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
}
