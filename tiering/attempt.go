package tiering

import (
	"context"
	"fmt"
	"math"

	"github.com/varvelog/varve/stepped"
)

// newAttempt returns the part of a name that is unique over all attempts and leaders. So no leader
// can ever overwrite an object, or delete an object that was written after the one it means.
func newAttempt(ctx context.Context) string {
	return fmt.Sprintf("%08x%08x", stepped.Int64N(ctx, math.MaxUint32+1), stepped.Int64N(ctx, math.MaxUint32+1))
}
