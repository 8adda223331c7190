package config

import (
	"errors"
	"net/url"
	"strconv"
)

// Tracing says where traces are sent.
type Tracing struct {
	Endpoint string  // URL of an OTLP collector; empty: tracing is off
	Ratio    float64 // of client requests, from 0 to 1
}

func tracingSettings() []setting {
	return []setting{
		{name: "trace", value: "URL", doc: "collector that traces are sent to, by OTLP over HTTP, such as http://127.0.0.1:4318 (default: none are made)", apply: func(b *Broker, text string) error {
			b.Tracing.Endpoint = text
			if text == "" {
				return nil
			}
			if u, err := url.Parse(text); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
				return errors.New("must be a URL such as http://HOST:4318; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
			}
			return nil
		}},
		{name: "trace-ratio", value: "R", def: "0.01", doc: "part of client requests that is traced with --trace, from 0 to 1; uploads and reads of the remote tier always are", apply: func(b *Broker, text string) (err error) {
			b.Tracing.Ratio, err = strconv.ParseFloat(text, 64)
			if err != nil || !(b.Tracing.Ratio >= 0 && b.Tracing.Ratio <= 1) { // also rejects NaN
				return errors.New("must be a number from 0 to 1")
			}
			return nil
		}},
	}
}
