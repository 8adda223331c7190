package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDeletedRecordsStayDeleted deletes records and moves the leadership to another replica as soon
// as the answer arrives. Under every leader the log must start at the promised offset or later, and
// a read at its start must succeed. Nothing is written in between: a follower then learns nothing
// for as long as its fetch may wait.
func TestDeletedRecordsStayDeleted(t *testing.T) {
	const step = 3
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin, replicas := kadm.NewClient(client), spread(3)
	createInSync(t, client, "shorter", replicas)
	l := startLoad(t, "shorter", int32(len(replicas)), 1, 0, 500, 100, everywhere...)
	l.pipelines(brokers, 5*time.Millisecond)
	rounds := testRounds(20, 200)
	eventually(t, time.Minute, "there is something to delete", func() bool { _, fewest := l.history.acknowledged(); return fewest > step*rounds })
	l.stop()
	allInSync(t, admin, "shorter", 3)
	d := deletions{t: t, client: client, admin: admin, topic: "shorter", promised: map[int32]int64{}}
	for turn := 1; turn <= rounds; turn++ {
		for number, on := range replicas {
			d.round(int32(number), int64(step*turn), rotated(on, turn))
		}
	}
	for turn := range 3 { // at the end, check each of the replicas
		for number, on := range replicas {
			if err := d.lead(int32(number), rotated(on, turn)); err != nil {
				t.Fatal(err)
			}
			d.look(int32(number))
		}
	}
	t.Logf("%d deletions, %d times records were back, %d times an offset was refused", d.done, d.undone, d.refused)
	if d.done < rounds || d.undone > 0 || d.refused > 0 {
		t.Errorf("of %d deletions %d were undone, and %d times a reader was refused the offset that the log was said to begin at", d.done, d.undone, d.refused)
	}
}

// deletions deletes records of a topic and remembers the promised log start offsets.
type deletions struct {
	t                     *testing.T
	client                *kgo.Client
	admin                 *kadm.Client
	topic                 string
	promised              map[int32]int64 // least log start offset by partition
	done, undone, refused int
}

// round deletes a partition's records below an offset, makes the first of the replicas the leader,
// and checks its log.
func (d *deletions) round(partition int32, below int64, replicas []int32) {
	d.t.Helper()
	low, err := deleteBelow(d.t.Context(), d.client, d.topic, partition, below)
	if err == nil {
		d.done++
		d.promised[partition] = low
	}
	if err = d.lead(partition, replicas); err != nil {
		d.t.Fatal(err)
	}
	d.look(partition)
}

func (d *deletions) lead(partition int32, replicas []int32) error {
	if err := reassign(d.t.Context(), d.client, d.topic, partition, replicas); err != nil {
		return err
	}
	_, err := electPreferred(d.t.Context(), d.client)
	return err
}

// look checks that the partition's leader keeps the promise.
func (d *deletions) look(partition int32) {
	d.t.Helper()
	promised := d.promised[partition]
	var start int64
	eventually(d.t, time.Minute, "the leader says where the log begins", func() bool {
		listed, err := d.admin.ListStartOffsets(d.t.Context(), d.topic)
		if err != nil {
			return false
		}
		o, ok := listed.Lookup(d.topic, partition)
		start = o.Offset
		return ok && o.Err == nil
	})
	if start < promised {
		d.undone++
		if d.undone <= 5 {
			d.t.Logf("partition %d began at %d and begins at %d", partition, promised, start)
		}
	}
	err := fetchAt(d.t.Context(), d.client, d.topic, partition, promised)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		d.refused++
	}
}

// deleteBelow deletes a partition's records below an offset and returns the resulting log start
// offset.
func deleteBelow(ctx context.Context, client *kgo.Client, topic string, partition int32, offset int64) (low int64, err error) {
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 10_000
	named := kmsg.NewDeleteRecordsRequestTopic()
	named.Topic = topic
	one := kmsg.NewDeleteRecordsRequestTopicPartition()
	one.Partition, one.Offset = partition, offset
	named.Partitions = append(named.Partitions, one)
	request.Topics = append(request.Topics, named)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return -1, err
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return -1, fmt.Errorf("delete records of %s:%d: %w", topic, partition, errNoAnswer)
	}
	answer := response.Topics[0].Partitions[0]
	return answer.LowWatermark, kerr.ErrorForCode(answer.ErrorCode)
}

// fetchAt returns the error with which a partition's leader answers a fetch at an offset. The fetch
// does not wait for records.
func fetchAt(ctx context.Context, client *kgo.Client, topic string, partition int32, offset int64) error {
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID, request.MaxBytes = -1, 1<<20
	request.Topics = make([]kmsg.FetchRequestTopic, 1)
	named := &request.Topics[0]
	named.Default()
	named.Topic, named.TopicID = topic, topics[topic].ID
	one := kmsg.NewFetchRequestTopicPartition()
	one.Partition, one.FetchOffset, one.PartitionMaxBytes = partition, offset, 1<<20
	named.Partitions = append(named.Partitions, one)
	raw, err := client.Broker(int(topics[topic].Partitions[partition].Leader)).Request(ctx, request)
	if err != nil {
		return err
	}
	response := raw.(*kmsg.FetchResponse)
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return errors.Join(kerr.ErrorForCode(response.ErrorCode), errNoAnswer)
	}
	return kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
}
