package invariants

import (
	"os"
	"testing"
)

// TestEnabled fails if the tests run without their assertions, unless VARVE_INVARIANTS=off says
// that this is intended.
func TestEnabled(t *testing.T) {
	if !Enabled && os.Getenv("VARVE_INVARIANTS") != "off" {
		t.Error("these tests are built without -tags invariants, so that they assert less: add it, or set VARVE_INVARIANTS=off")
	}
}
