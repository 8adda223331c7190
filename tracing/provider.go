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

// Options say where traces go, and from whom.
type Options struct {
	Endpoint   string  // URL of a collector, such as http://127.0.0.1:4318; spans go to /v1/traces there unless it has a path
	Ratio      float64 // of client requests that are traced, from 0 to 1
	Version    string
	InstanceID string // of this broker, unique in the cluster
	Logger     *slog.Logger
}

// exportTimeout bounds one attempt to send spans.
const exportTimeout = 10 * time.Second

// Provider sends spans. Stop it when what makes them has ended.
type Provider struct{ sdk *sdk.TracerProvider }

// Start returns a provider, which connects when it has something to send: that
// no collector is there is no error, but logged, once a minute at most.
// OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, …_CERTIFICATE, and
// so on) are honoured.
func Start(ctx context.Context, o Options) (*Provider, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces" // as OTEL_EXPORTER_OTLP_ENDPOINT is read
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

// Tracer is what spans are made with.
func (p *Provider) Tracer() trace.Tracer { return p.sdk.Tracer("github.com/varvelog/varve") }

// Stop sends what has been traced until ctx ends, and drops the rest.
func (p *Provider) Stop(ctx context.Context) error {
	if err := p.sdk.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// sampler takes some of the requests of clients, and all else that begins a
// trace: what the broker does by itself is rare, and what one looks for.
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

// complaintPause is how long after one complaint about the export there is no other.
const complaintPause = time.Minute

// complaints logs that spans cannot be sent: every batch of them would say so.
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
