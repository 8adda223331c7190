package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/varvelog/varve/metadata"
)

// TestStartGoesOnWithoutPartitionsThatCannotBeServed: a partition that cannot be served does not
// keep a broker from starting. The end of the start's context does.
func TestStartGoesOnWithoutPartitionsThatCannotBeServed(t *testing.T) {
	s := &server{log: slog.New(slog.DiscardHandler)}
	topics := []metadata.TopicID{{1}}
	var asked []metadata.TopicID
	unserved := errors.New("a-0 cannot be served")
	await := func(_ context.Context, ids []metadata.TopicID) error {
		asked = ids
		return unserved
	}
	if err := s.awaitServed(t.Context(), await, topics); err != nil || len(asked) != 1 {
		t.Errorf("the start waited for %v and ended: %v", asked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.awaitServed(ctx, await, topics); !errors.Is(err, unserved) {
		t.Errorf("a start that was given up goes on: %v", err)
	}
}
