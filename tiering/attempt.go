package tiering

import (
	"context"
	"fmt"
	"math"

	"github.com/varvelog/varve/stepped"
)

// newAttempt makes the part of a name that no other attempt has, of whichever leader, so that nobody
// can ever overwrite an object, or delete one that was written after it.
func newAttempt(ctx context.Context) string {
	return fmt.Sprintf("%08x%08x", stepped.Int64N(ctx, math.MaxUint32+1), stepped.Int64N(ctx, math.MaxUint32+1))
}
