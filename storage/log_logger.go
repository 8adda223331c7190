package storage

import "log/slog"

// logLogger logs for one log. It creates the logger with the partition's name only when it is used:
// thousands of quiet logs have none.
type logLogger struct{ log *Log }

func (l logLogger) with() *slog.Logger {
	return l.log.env.logger.With(slog.String("partition", l.log.key.String()))
}

func (l logLogger) Debug(msg string, attrs ...any) { l.with().Debug(msg, attrs...) } //nolint:sloglint // callers pass constants
func (l logLogger) Info(msg string, attrs ...any)  { l.with().Info(msg, attrs...) }  //nolint:sloglint // callers pass constants
func (l logLogger) Warn(msg string, attrs ...any)  { l.with().Warn(msg, attrs...) }  //nolint:sloglint // callers pass constants
func (l logLogger) Error(msg string, attrs ...any) { l.with().Error(msg, attrs...) } //nolint:sloglint // callers pass constants
