package server

import (
	"math"
	"testing"

	"github.com/varvelog/varve/config"
)

// TestBrokersSettingsCostNothing: an upload reads a setting for every 64 KiB that it sends. That
// must not evaluate all settings.
func TestBrokersSettingsCostNothing(t *testing.T) {
	s := newSettings(config.Broker{})
	var got int64
	if n := testing.AllocsPerRun(100, func() {
		got = s.Broker().Int64("remote.log.manager.copy.max.bytes.per.second")
	}); n != 0 || got != math.MaxInt64 {
		t.Errorf("it took %v allocations to find %d", n, got)
	}
}
