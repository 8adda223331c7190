package server

import (
	"context"
	"errors"
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
	known := map[metadata.TopicID]string{}
	if gone := deletedTopics(known, b.loader.Image()); len(gone) != 0 || len(known) != 1 {
		t.Fatalf("gone %v, known %v", gone, known)
	}
	known[metadata.NewTopicID()] = "b"
	known[metadata.NewTopicID()] = "a" // an earlier topic of the same name
	if gone := deletedTopics(known, b.loader.Image()); !slices.Equal(gone, []string{"a", "b"}) || len(known) != 1 {
		t.Errorf("gone %v, known %v", gone, known)
	}
}

// TestNothingIsDeletedWhileMetadataCannotBeRead: neither offsets nor objects go with a topic that an
// incomplete image lacks.
func TestNothingIsDeletedWhileMetadataCannotBeRead(t *testing.T) {
	b := newTestBroker(t)
	b.create("a", 1)
	put := func(value string) *metadata.Image {
		t.Helper()
		revision, err := b.store.Txn(t.Context(), nil, kv.Put("topics/damaged", []byte(value)))
		if err != nil {
			t.Fatal(err)
		}
		image, err := b.loader.WaitRevision(t.Context(), revision)
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	id := metadata.NewTopicID()
	known := map[metadata.TopicID]string{id: "damaged"}
	s := &server{loader: b.loader}
	image := put("{")
	if gone := deletedTopics(known, image); len(gone) != 0 || known[id] == "" || !s.topicLives(id, 1) {
		t.Errorf("gone %v, known %v, lives %t", gone, known, s.topicLives(id, 1))
	}
	image = put(`{"v":1,"id":"AQIDBAUGBwgJCgsMDQ4PEA","partitions":0}`)
	if gone := deletedTopics(known, image); !slices.Equal(gone, []string{"damaged"}) || s.topicLives(id, 1) {
		t.Errorf("gone %v, lives %t", gone, s.topicLives(id, 1))
	}
}
