package server

import (
	"log/slog"
	"testing"
)

func TestConnectionsLeaveDescriptorsForTheLog(t *testing.T) {
	for _, tc := range []struct {
		configured int64
		mayOpen    int
		want       int
	}{
		{10_000, 1 << 20, 10_000},
		{10_000, 4096, 1536},
		{100, 1024, 100},
	} {
		if got := connectionLimit(slog.New(slog.DiscardHandler), tc.configured, tc.mayOpen); got != tc.want {
			t.Errorf("max.connections=%d with %d descriptors: %d, want %d", tc.configured, tc.mayOpen, got, tc.want)
		}
	}
}
