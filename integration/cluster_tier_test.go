package integration

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TestFollowersOfATieredTopic writes to a tiered topic all the time. The follower must delete from
// its disk what its leader has uploaded. A replica that is added later must copy only what is not
// in the bucket. Then it leads the partition alone: all records must be there from the beginning,
// and the idempotent producer must have continued without a gap.
func TestFollowersOfATieredTopic(t *testing.T) {
	brokers := startCluster(t, "--set", "log.retention.check.interval.ms=500")
	opts := clusterClient(brokers)
	admin := kadm.NewClient(newClient(t, brokers[0].bootstrap, opts...))
	configs := map[string]*string{"segment.bytes": new("1048576"), "local.retention.bytes": new("1"), "retention.ms": new("-1")}
	if _, err := admin.CreateTopic(t.Context(), 1, 2, configs, "tiered"); err != nil {
		t.Fatal(err)
	}
	state := func() kadm.PartitionDetail {
		topics, err := admin.ListTopics(t.Context(), "tiered")
		if err != nil {
			return kadm.PartitionDetail{}
		}
		return topics["tiered"].Partitions[0]
	}
	numbers := startNumbers(t, brokers[0].bootstrap, "tiered", 1, 500, opts...)
	replicas := state().Replicas
	if len(replicas) != 2 {
		t.Fatalf("replicas %v", replicas)
	}
	for _, id := range replicas {
		eventually(t, time.Minute, "both replicas delete what is in the bucket", func() bool { return localStart(t, brokers[id-1], "tiered-0") > 10_000 })
	}
	added := 6 - replicas[0] - replicas[1]
	reassign := func(to ...int32) {
		t.Helper()
		var req kadm.AlterPartitionAssignmentsReq
		req.Assign("tiered", 0, to)
		if _, err := admin.AlterPartitionAssignments(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "the partition is where it was moved to", func() bool {
			p := state()
			slices.Sort(p.ISR)
			return slices.Equal(p.Replicas, to) && slices.Equal(p.ISR, slices.Sorted(slices.Values(to))) && slices.Contains(to, p.Leader)
		})
	}
	reassign(replicas[0], replicas[1], added)
	if restores, _ := scrape(t, brokers[added-1:added]).sum(`varve_replication_restores_total{outcome="restored"}`); restores == 0 {
		t.Error("the added replica has copied the history")
	}
	if localStart(t, brokers[added-1], "tiered-0") < 10_000 {
		t.Errorf("the added replica has everything from offset %d on", localStart(t, brokers[added-1], "tiered-0"))
	}
	reassign(added)
	_, before := numbers.count()
	eventually(t, time.Minute, "the added replica takes records", func() bool { _, n := numbers.count(); return n > before+1000 })
	numbers.stop()
	numbers.check()
}

// localStart is the first offset of a partition on a broker's disk, or -1 if there is none.
func localStart(t *testing.T, p *process, partition string) int64 {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dataDir, "*", partition, "*.log"))
	if err != nil || len(files) == 0 {
		return -1
	}
	slices.Sort(files)
	base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(files[0]), ".log"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return base
}
