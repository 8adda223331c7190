package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

func TestErrorCodes(t *testing.T) {
	for want, err := range map[protocol.ErrorCode]error{
		protocol.None:               nil,
		protocol.TopicAlreadyExists: fmt.Errorf("create topic: %w", metadata.ErrTopicExists),
		// narrow before wide
		protocol.InvalidRequest:  fmt.Errorf("%w: %w", errInvalidConfig, config.ErrReadOnly),
		protocol.RequestTimedOut: fmt.Errorf("wait: %w", context.DeadlineExceeded),
		protocol.UnknownTopicID:  metadata.ErrUnknownTopicID,
	} {
		if got, known := errorCode(err); got != want || !known {
			t.Errorf("%v: %s", err, got)
		}
	}
}

func TestEveryTableEntryIsReachable(t *testing.T) {
	for _, e := range errorCodes {
		if got, _ := errorCode(fmt.Errorf("wrapped: %w", e.err)); got != e.code {
			t.Errorf("%v: %s, but its own line says %s", e.err, got, e.code)
		}
	}
}

func TestErrorsWithoutACodeAreLogged(t *testing.T) {
	b, logs := newPlainBroker(t, nil)
	code, text := b.codeAndMessage(t.Context(), errors.New("never seen before"))
	if code != int16(protocol.UnknownServerError) || shown(text) != "never seen before" {
		t.Errorf("%d, %s", code, shown(text))
	}
	expectLogged(t, logs, "never seen before", 1)
	if code, text = b.codeAndMessage(t.Context(), nil); code != 0 || text != nil {
		t.Errorf("no error: %d, %s", code, shown(text))
	}
	expectLogged(t, logs, "level", 1)
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(io.EOF)
	if code, _ = b.codeAndMessage(gone, fmt.Errorf("wait: %w", context.Cause(gone))); code != int16(protocol.UnknownServerError) {
		t.Errorf("a client that has gone: %d", code)
	}
	expectLogged(t, logs, "level", 1)
}
