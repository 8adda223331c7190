package integration

import (
	"debug/buildinfo"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/varvelog/varve/invariants"
)

// TestBrokerAsserts checks that the broker under test has the assertions of package invariants
// exactly if the tests have them.
func TestBrokerAsserts(t *testing.T) {
	info, err := buildinfo.ReadFile(varveBinary)
	if err != nil {
		t.Fatal(err)
	}
	asserts := slices.Contains(info.Settings, debug.BuildSetting{Key: "-tags", Value: "invariants"})
	if asserts != invariants.Enabled {
		t.Errorf("the broker asserts: %t, the tests: %t", asserts, invariants.Enabled)
	}
}
