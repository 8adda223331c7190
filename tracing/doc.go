// Package tracing sends traces of what a broker does to a collector, by
// OpenTelemetry's protocol over HTTP (OTLP). It is off unless an endpoint is
// given.
//
// It owns the provider of tracers, the sampling and the export. What is traced
// is the business of the packages that are handed a [trace.Tracer]: requests of
// clients (broker), uploads and reads of the remote tier (tiering), and each
// attempt of a request to the object store (objstore). Without an endpoint they
// are handed nil, and trace nothing.
//
// What holds: spans that cannot be sent are dropped, never waited for; what
// waits to be sent is bounded.
package tracing
