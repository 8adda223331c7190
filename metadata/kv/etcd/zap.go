package etcd

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns a logger for etcd that writes to logger. It passes only warnings and worse,
// because etcd logs much about itself. An entry that etcd calls fatal panics instead of ending the
// process, so that a data directory that cannot be read becomes an error. ending is set when a
// server is asked to stop; nil for a server that is not stopped, and for clients.
func newZap(logger *slog.Logger, ending *atomic.Bool) *zap.Logger {
	core := &slogCore{logger: logger.With(slog.String("component", "etcd")), ending: ending}
	return zap.New(core, zap.WithFatalHook(zapcore.WriteThenPanic))
}

// slogCore is a zapcore.Core over log/slog.
type slogCore struct {
	logger *slog.Logger
	ending *atomic.Bool // nil: never
}

// quiet are reports that need no action: settings that were chosen on purpose, steps of a start
// that etcd retries by itself, and rejected requests, whose errors the callers get.
var quiet = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
	"failed to update cluster version":                                                     true,
	"failed to apply request":                                                              true,
	"retrying of unary invoker failed":                                                     true,
	"check file permission":                                                                true,
}

// quietAtTheEnd are reports of listeners that end, which need no action while the server is
// stopping.
var quietAtTheEnd = map[string]bool{
	"setting up serving from embedded etcd failed.": true,
	"stopping insecure grpc server due to error":    true,
	"stopped insecure grpc server due to error":     true,
}

// tooEarly is the end of the report of a member that was asked to stand for election before it can:
// see campaign.
const tooEarly = "since there are still pending configuration changes to apply"

func (c *slogCore) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{logger: slog.New(c.logger.Handler().WithAttrs(attrs(fields))), ending: c.ending}
}

func (c *slogCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if quietAtTheEnd[entry.Message] && c.ending != nil && c.ending.Load() {
		return checked
	}
	if c.Enabled(entry.Level) && !quiet[entry.Message] && !strings.HasSuffix(entry.Message, tooEarly) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *slogCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	values := append([]slog.Attr{slog.String("message", entry.Message)}, attrs(fields)...)
	c.logger.LogAttrs(context.Background(), level, "etcd reports", values...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		out = append(out, slog.Any(f.Key, enc.Fields[f.Key]))
	}
	return out
}
