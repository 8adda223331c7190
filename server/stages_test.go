package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
)

func TestStagesStopInReverse(t *testing.T) {
	s := newStages(slog.New(slog.DiscardHandler))
	var order []string
	s.add("first", func() error { order = append(order, "first"); return nil })
	s.run(t.Context(), "second", func(ctx context.Context) error {
		<-ctx.Done()
		order = append(order, "second")
		return nil
	})
	s.add("third", func() error { order = append(order, "third"); return errors.New("stuck") })
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "stop third: stuck") {
		t.Errorf("stop: %v", err)
	}
	if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
		t.Errorf("stopped %v, want %v", order, want)
	}
}

func TestStagesReportThePartThatFails(t *testing.T) {
	s := newStages(slog.New(slog.DiscardHandler))
	broken := errors.New("broken")
	s.run(t.Context(), "part", func(context.Context) error { return broken })
	if err := <-s.failed; !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "part: ") {
		t.Errorf("failed: %v", err)
	}
	if err := s.stop(); !errors.Is(err, broken) {
		t.Errorf("stop: %v", err)
	}
}

func TestDeletedTopicsAreThoseThatAreGone(t *testing.T) {
	b := newTestBroker(t)
	b.create("a", 1)
	topic := func(name string, id metadata.TopicID) kv.Op {
		return kv.Put("topics/"+name, fmt.Appendf(nil, `{"v":1,"id":%q,"partitions":0}`, id))
	}
	old := metadata.NewTopicID()
	before := b.write(topic("b", metadata.NewTopicID()), topic("replaced", old), topic("kept", metadata.NewTopicID()))
	if gone := deletedTopics(before, before); len(gone) != 0 {
		t.Fatalf("gone %v", gone)
	}
	between := b.write(kv.Delete("topics/b"), kv.Delete("topics/replaced"))
	after := b.write(topic("replaced", metadata.NewTopicID()), topic("new", metadata.NewTopicID()), kv.Delete("topics/a"))
	if gone := deletedTopics(before, after); !slices.Equal(gone, []string{"a", "b", "replaced"}) {
		t.Errorf("gone %v", gone)
	}
	if gone := deletedTopics(between, after); !slices.Equal(gone, []string{"a"}) {
		t.Errorf("gone %v since the image between", gone)
	}
}

// TestNothingIsDeletedWhileMetadataCannotBeRead: the offsets and objects of a topic that is missing
// in an incomplete image are not deleted.
func TestNothingIsDeletedWhileMetadataCannotBeRead(t *testing.T) {
	b := newTestBroker(t)
	b.create("a", 1)
	id := metadata.NewTopicID()
	known := b.write(kv.Put("topics/gone", fmt.Appendf(nil, `{"v":1,"id":%q,"partitions":0}`, id)))
	s := &server{loader: b.loader}
	image := b.write(kv.Delete("topics/gone"), kv.Put("topics/damaged", []byte("{")))
	if gone := deletedTopics(known, image); len(gone) != 0 || !s.topicLives(id, 1) {
		t.Errorf("gone %v, lives %t", gone, s.topicLives(id, 1))
	}
	image = b.write(kv.Put("topics/damaged", []byte(`{"v":1,"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":0}`)))
	if gone := deletedTopics(known, image); !slices.Equal(gone, []string{"gone"}) || s.topicLives(id, 1) {
		t.Errorf("gone %v, lives %t", gone, s.topicLives(id, 1))
	}
}
