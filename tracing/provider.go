package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options say where traces are sent, and by which broker.
type Options struct {
	// Endpoint is the URL of a collector, such as http://127.0.0.1:4318. Spans are sent to
	// /v1/traces there unless it has a path.
	Endpoint   string
	Ratio      float64 // of client requests that are traced, from 0 to 1
	Version    string
	InstanceID string // of this broker, unique in the cluster
	Logger     *slog.Logger
}

// exportTimeout bounds one attempt to send spans.
const exportTimeout = 10 * time.Second

// Provider sends spans. Stop it after everything that makes spans has ended.
type Provider struct{ sdk *sdk.TracerProvider }

// Start returns a provider, which connects when it has spans to send. A missing collector is not an
// error: it is logged, at most once a minute. OpenTelemetry's own variables
// (OTEL_EXPORTER_OTLP_HEADERS, …_CERTIFICATE, and so on) are honored.
func Start(ctx context.Context, o Options) (*Provider, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces" // as for OTEL_EXPORTER_OTLP_ENDPOINT
	}
	exporter, err := otlptracehttp.New(context.WithoutCancel(ctx), otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithTimeout(exportTimeout))
	if err != nil {
		return nil, fmt.Errorf("export traces to %s: %w", o.Endpoint, err)
	}
	otel.SetErrorHandler(&complaints{log: o.Logger, endpoint: o.Endpoint, now: time.Now})
	return newProvider(sdk.NewBatchSpanProcessor(exporter), o), nil
}

func newProvider(p sdk.SpanProcessor, o Options) *Provider {
	return &Provider{sdk: sdk.NewTracerProvider(
		sdk.WithSpanProcessor(p),
		sdk.WithSampler(sdk.ParentBased(sampler{requests: sdk.TraceIDRatioBased(o.Ratio)})),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "varve"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.InstanceID),
		)),
	)}
}

// Tracer returns the tracer for all spans.
func (p *Provider) Tracer() trace.Tracer { return p.sdk.Tracer("github.com/varvelog/varve") }

// Stop sends the remaining spans until ctx ends, and drops the rest.
func (p *Provider) Stop(ctx context.Context) error {
	if err := p.sdk.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// sampler samples a share of client requests, and everything else that begins a trace: the broker's
// own work is rare, and is what one looks for.
type sampler struct{ requests sdk.Sampler }

// ShouldSample implements [sdk.Sampler].
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if p.Kind == trace.SpanKindServer {
		return s.requests.ShouldSample(p)
	}
	return sdk.AlwaysSample().ShouldSample(p)
}

// Description implements [sdk.Sampler].
func (s sampler) Description() string { return "Varve{requests:" + s.requests.Description() + "}" }

// complaintPause is the least time between two complaints about the export.
const complaintPause = time.Minute

// complaints logs that spans cannot be sent, at most once in complaintPause: every batch would
// report it.
type complaints struct {
	log      *slog.Logger
	endpoint string
	now      func() time.Time
	mu       struct {
		sync.Mutex
		next time.Time
	}
}

// Handle implements [otel.ErrorHandler].
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); !now.Before(c.mu.next) {
		c.mu.next = now.Add(complaintPause)
		c.log.Warn("traces are not sent and are dropped: check --trace and the collector", slog.String("endpoint", c.endpoint), slog.Any("error", err))
	}
}
