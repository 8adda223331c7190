package objstore

import (
	"context"
	"io"
	"iter"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Trace returns a Bucket that records a span for each of its requests. With a nil tracer it returns
// the bucket itself.
func Trace(b Bucket, tracer trace.Tracer) Bucket {
	if tracer == nil {
		return b
	}
	return &tracedBucket{b, tracer}
}

type tracedBucket struct {
	Bucket
	tracer trace.Tracer
}

func (b *tracedBucket) begin(ctx context.Context, op, key string) (context.Context, trace.Span) {
	return b.tracer.Start(ctx, "objstore "+op, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("varve.object", key)))
}

// end ends a span. It marks the span as failed if the error is one that a caller would not expect.
func end(span trace.Span, err error) {
	if o := outcome(err); o == "unavailable" || o == "timeout" || o == "error" {
		span.SetStatus(codes.Error, o)
		span.RecordError(err)
	}
	span.End()
}

// Put implements [Bucket].
func (b *tracedBucket) Put(ctx context.Context, key string, r io.ReadSeeker, opts PutOptions) error {
	ctx, span := b.begin(ctx, "put", key)
	err := b.Bucket.Put(ctx, key, r, opts)
	end(span, err)
	return err
}

// GetRange implements [Bucket].
func (b *tracedBucket) GetRange(ctx context.Context, key string, off int64, p []byte) (int, error) {
	ctx, span := b.begin(ctx, "get", key)
	n, err := b.Bucket.GetRange(ctx, key, off, p)
	span.SetAttributes(attribute.Int64("varve.position", off), attribute.Int("varve.bytes", n))
	end(span, err)
	return n, err
}

// Stat implements [Bucket].
func (b *tracedBucket) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	ctx, span := b.begin(ctx, "stat", key)
	info, err := b.Bucket.Stat(ctx, key)
	end(span, err)
	return info, err
}

// List implements [Bucket]. The span includes the time that the caller takes.
func (b *tracedBucket) List(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		traced, span := b.begin(ctx, "list", prefix)
		var failed error
		defer func() { end(span, failed) }()
		for info, err := range b.Bucket.List(traced, prefix) {
			if err != nil {
				failed = err
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// Delete implements [Bucket].
func (b *tracedBucket) Delete(ctx context.Context, key string) error {
	ctx, span := b.begin(ctx, "delete", key)
	err := b.Bucket.Delete(ctx, key)
	end(span, err)
	return err
}

// DeleteAll implements [Bucket].
func (b *tracedBucket) DeleteAll(ctx context.Context, keys []string) error {
	ctx, span := b.tracer.Start(ctx, "objstore delete_all", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.Int("varve.objects", len(keys))))
	err := b.Bucket.DeleteAll(ctx, keys)
	end(span, err)
	return err
}
