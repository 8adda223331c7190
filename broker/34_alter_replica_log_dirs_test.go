package broker

import (
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

// moveTo requests the move of one partition and returns the code.
func (c *dataCluster) moveTo(version int16, dir, topic string, partition int32) protocol.ErrorCode {
	c.t.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Version = version
	req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{
		Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: []int32{partition}}},
	}}
	resp := c.exchange(&Request{}, req).(*kmsg.AlterReplicaLogDirsResponse)
	if len(resp.Topics) != 1 || resp.Topics[0].Topic != topic || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].Partition != partition {
		c.t.Fatalf("answer %+v", resp)
	}
	return protocol.ErrorCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// whereIs returns the directory of a partition and, while it moves, the target directory.
func (c *dataCluster) whereIs(topic string, partition int32) (dir, future string) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.SetVersion(5)
	resp := c.exchange(&Request{}, req).(*kmsg.DescribeLogDirsResponse)
	for _, d := range resp.Dirs {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				switch {
				case t.Topic != topic || p.Partition != partition:
				case p.IsFuture:
					future = d.Dir
				default:
					dir = d.Dir
				}
			}
		}
	}
	return dir, future
}

func (c *dataCluster) untilIn(dir, topic string, partition int32) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		at, future := c.whereIs(topic, partition)
		if at == dir && future == "" {
			return
		}
		select {
		case <-tick.C:
		case <-c.t.Context().Done():
			c.t.Fatalf("%s-%d is in %s", topic, partition, at)
		}
	}
}

func TestReplicasMoveBetweenLogDirs(t *testing.T) {
	c := newDataClusterIn(t, 2, vfs.NewMem(), "/a", "/b")
	c.topic("t", 1)
	c.produce("t", 0, "one")
	for version, dir := range map[int16]string{1: "/b", 2: "/a/"} {
		if code := c.moveTo(version, dir, "t", 0); code != protocol.None {
			t.Fatalf("v%d: %s", version, code)
		}
		c.untilIn(dir[:2], "t", 0)
		c.produce("t", 0, "more")
	}
}

func TestReplicasThatCannotMove(t *testing.T) {
	fs := vfs.NewFaulty(vfs.NewMem())
	c := newDataClusterIn(t, 2, fs, "/a", "/b")
	c.topic("t", 1)
	c.produce("t", 0, "one")
	c.assigned("elsewhere", []int32{2, 1})
	at, _ := c.whereIs("t", 0)
	for name, tc := range map[string]struct {
		dir, topic string
		partition  int32
		want       protocol.ErrorCode
	}{
		"no such directory": {"/c", "t", 0, protocol.LogDirNotFound},
		"no such topic":     {"/b", "nope", 0, protocol.UnknownTopicOrPartition},
		"no such partition": {"/b", "t", 7, protocol.UnknownTopicOrPartition},
		"not here":          {"/b", "elsewhere", 0, protocol.ReplicaNotAvailable},
		"where it is":       {at, "t", 0, protocol.None},
	} {
		if code := c.moveTo(2, tc.dir, tc.topic, tc.partition); code != tc.want {
			t.Errorf("%s: %s, want %s", name, code, tc.want)
		}
	}
	fs.Inject(vfs.Fault{Op: vfs.OpSync, Name: at, Err: syscall.EIO})
	log, _ := c.storage.Log("t", 0)
	if err := log.Flush(t.Context(), log.EndOffset()); err == nil {
		t.Fatal("the disk has not failed")
	}
	for _, dir := range []string{"/a", "/b"} {
		if code := c.moveTo(2, dir, "t", 0); code != protocol.KafkaStorageError {
			t.Errorf("to %s with %s offline: %s", dir, at, code)
		}
	}
}

// TestRebuildOfTiers: the two names that are not directories are requests for the remote tier and
// move nothing.
func TestRebuildOfTiers(t *testing.T) {
	c := newDataClusterIn(t, 2, vfs.NewMem(), "/a", "/b")
	c.topic("t", 1)
	c.topic("tiered", 1, "remote.storage.enable", "true")
	c.assigned("elsewhere", []int32{2, 1})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, attached := c.hosted("tiered", 0).TierStatus(); !attached; _, attached = c.hosted("tiered", 0).TierStatus() {
		<-tick.C // a leader does not wait for its tier
	}
	for _, dir := range []string{"remote:rebuild", "remote:rebuild?dry-run"} {
		for topic, want := range map[string]protocol.ErrorCode{
			"tiered": protocol.ResourceNotFound, "t": protocol.NotLeaderOrFollower, "elsewhere": protocol.NotLeaderOrFollower,
			"nope": protocol.UnknownTopicOrPartition,
		} {
			if code := c.moveTo(1, dir, topic, 0); code != want {
				t.Errorf("%s of %s: %s, want %s", dir, topic, code, want)
			}
			req := kmsg.NewPtrAlterReplicaLogDirsRequest()
			req.Version = 2
			req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{
				Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: []int32{0}}},
			}}
			p := c.exchange(&Request{}, req).(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions[0]
			if told, ok := protocol.ReadTierRebuild(&p.UnknownTags); !ok || told.Error == "" || told.Changed || protocol.ErrorCode(p.ErrorCode) != want {
				t.Errorf("%s of %s: %+v", dir, topic, told)
			}
		}
	}
}
