package storage

import "log/slog"

func errorAttr(err error) slog.Attr     { return slog.Any("error", err) }
func segmentAttr(s *segment) slog.Attr  { return slog.Int64("segment", s.base) }
func offsetAttr(offset int64) slog.Attr { return slog.Int64("offset", offset) }
