package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// moveTo asks broker 1 to move the topic's partitions, as kafka-reassign-partitions does.
func moveTo(t *testing.T, client *kgo.Client, dir, topic string, partitions ...int32) error {
	t.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{
		Dir: dir, Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: topic, Partitions: partitions}},
	}}
	answer, err := client.Broker(1).RetriableRequest(t.Context(), req)
	if err != nil {
		return err
	}
	for _, p := range answer.(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions {
		if err = kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("partition %d: %w", p.Partition, err)
		}
	}
	return nil
}

// movedTo reports what --verify checks: whether all partitions are in the directory and no copy is
// anywhere else.
func movedTo(t *testing.T, admin *kadm.Client, dir, topic string, partitions int) bool {
	t.Helper()
	described, err := admin.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		return false // the broker is starting
	}
	there, elsewhere := 0, 0
	described.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			switch {
			case p.Topic != topic:
			case d.Dir == dir && !p.IsFuture:
				there++
			default:
				elsewhere++
			}
		})
	})
	return there == partitions && elsewhere == 0
}

// Partitions under load move from disk to disk and back, with kill -9 in between. Nothing may be
// lost, duplicated or out of order, and a move that a kill has interrupted must continue.
func TestPartitionsMoveBetweenLogDirsUnderLoad(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 20
	}
	const partitions = 2
	data := t.TempDir()
	dirs := []string{filepath.Join(data, "disk-a"), filepath.Join(data, "disk-b")}
	broker := startBroker(t, "--set", "log.dirs="+strings.Join(dirs, ","))
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "moves", partitions, "flush.messages", "1", "segment.bytes", "1048576", "file.delete.delay.ms", "1000")
	numbers := startNumbers(t, broker.bootstrap, "moves", partitions, 2000)
	for round := range rounds {
		for _, dir := range []string{dirs[1], dirs[0]} {
			client := newClient(t, broker.bootstrap)
			before, _ := numbers.count()
			eventually(t, time.Minute, "some thousand records are acknowledged", func() bool { all, _ := numbers.count(); return all > before+2000 })
			eventually(t, time.Minute, "the move is accepted", func() bool { return moveTo(t, client, dir, "moves", 0, 1) == nil })
			if round > 0 {
				broker.kill9(t)
				broker.start(t)
			}
			eventually(t, time.Minute, "all have moved to "+dir, func() bool { return movedTo(t, admin, dir, "moves", partitions) })
		}
	}
	numbers.stop()
	numbers.check()
	eventually(t, time.Minute, "the old files are gone", func() bool {
		left, err := os.ReadDir(dirs[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			if strings.HasPrefix(e.Name(), "moves-") {
				return false
			}
		}
		return true
	})
}

// The throttle must delay a move, and a rate of 0 must stop it. DescribeLogDirs must show the copy
// in the meantime.
func TestThrottledMoveBetweenLogDirs(t *testing.T) {
	data := t.TempDir()
	dirs := []string{filepath.Join(data, "disk-a"), filepath.Join(data, "disk-b")}
	broker := startBroker(t, "--set", "log.dirs="+strings.Join(dirs, ","))
	admin := newAdmin(t, broker.bootstrap)
	createTopic(t, admin, "slow", 1)
	client := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("slow"))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, 1000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	throttle := func(rate string) {
		t.Helper()
		name := "replica.alter.log.dirs.io.max.bytes.per.second"
		answers, err := admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &rate}}, 1)
		if err == nil {
			_, err = answers.On("1", func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	throttle("0")
	from, to := dirs[0], dirs[1]
	if movedTo(t, admin, to, "slow", 1) {
		from, to = to, from
	}
	eventually(t, time.Minute, "the throttle is in force", func() bool {
		if err := moveTo(t, client, to, "slow", 0); err != nil {
			t.Fatal(err)
		}
		described, err := admin.DescribeAllLogDirs(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		here, there := described[1][from].Topics["slow"], described[1][to].Topics["slow"]
		if len(here) == 1 && len(there) == 1 && !here[0].IsFuture && there[0].IsFuture && there[0].Size == 0 && there[0].OffsetLag == 1 {
			return true
		}
		from, to = to, from // the other direction
		return false
	})
	throttle("1000000")
	eventually(t, time.Minute, "the partition has moved", func() bool { return movedTo(t, admin, to, "slow", 1) })
	if err := moveTo(t, client, filepath.Join(data, "disk-c"), "slow", 0); !errors.Is(err, kerr.LogDirNotFound) {
		t.Errorf("to an unknown directory: %v", err)
	}
}
