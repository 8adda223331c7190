// Package tracing sends traces of a broker's work to a collector, by OpenTelemetry's protocol over
// HTTP (OTLP). It is off unless an endpoint is given.
//
// It owns the provider of tracers, the sampling and the export. The packages that get a
// [trace.Tracer] decide what is traced: requests of clients (broker), uploads and reads of the
// remote tier (tiering), and each attempt of a request to the object store (objstore). Without an
// endpoint they get nil, and trace nothing.
//
// What holds: spans that cannot be sent are dropped, never waited for; the queue of spans is
// bounded.
package tracing
