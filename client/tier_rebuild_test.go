package client

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// rebuilds answers for each directory in the request.
func rebuilds(answers map[string]func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition)) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.AlterReplicaLogDirsRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrAlterReplicaLogDirsResponse()
		for _, dir := range request.Dirs {
			topic := kmsg.NewAlterReplicaLogDirsResponseTopic()
			topic.Topic = dir.Topics[0].Topic
			p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
			p.Partition = dir.Topics[0].Partitions[0]
			answers[dir.Dir](&p)
			topic.Partitions = append(topic.Partitions, p)
			response.Topics = append(response.Topics, topic)
		}
		return response
	}
}

func TestRebuildTier(t *testing.T) {
	found := protocol.TierRebuild{Manifest: "m", Changed: true, EndOffset: 5, Segments: 1, Bytes: 2, Skipped: []protocol.TierSkipped{{Manifest: "n", Why: "gone"}}}
	refused := protocol.TierRebuild{Error: "there is nothing", Skipped: found.Skipped}
	f := newFakeBroker(t, map[string]int{"a": 2}, rebuilds(map[string]func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition){
		"remote:rebuild": func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition) { found.Tag(&p.UnknownTags) },
		"remote:rebuild?dry-run": func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition) {
			p.ErrorCode = kerr.ResourceNotFound.Code
			refused.Tag(&p.UnknownTags)
		},
	}))
	c, tp := connect(t, f.addr), TopicPartition{"a", 1}
	if got, err := c.RebuildTier(t.Context(), tp, false); err != nil || got.TopicPartition != tp || !reflect.DeepEqual(got.TierRebuild, found) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err := c.RebuildTier(t.Context(), tp, true)
	if !errors.Is(err, kerr.ResourceNotFound) || !strings.Contains(err.Error(), "a:1: there is nothing") || len(got.Skipped) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, nowhere := range []TopicPartition{{"a", 2}, {"b", 0}} {
		if _, err = c.RebuildTier(t.Context(), nowhere, false); !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("%s: %v", nowhere, err)
		}
	}
}

// TestRebuildTierOfOthers: a broker that takes the name for a directory rejects it. A broker
// without the tagged field has done nothing.
func TestRebuildTierOfOthers(t *testing.T) {
	code := kerr.LogDirNotFound.Code
	f := newFakeBroker(t, map[string]int{"a": 1}, rebuilds(map[string]func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition){
		"remote:rebuild": func(p *kmsg.AlterReplicaLogDirsResponseTopicPartition) { p.ErrorCode = code },
	}))
	c := connect(t, f.addr)
	if _, err := c.RebuildTier(t.Context(), TopicPartition{"a", 0}, false); !errors.Is(err, kerr.LogDirNotFound) {
		t.Errorf("an older broker: %v", err)
	}
	code = 0
	if _, err := c.RebuildTier(t.Context(), TopicPartition{"a", 0}, false); err == nil {
		t.Error("a broker that says nothing has rebuilt it")
	}
}
