package integration

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/objstore/objstoretest"
)

// TestStoreAwayUnderLoad takes the object store away from three brokers with small disks under
// constant writes. Connections are refused for half of the time, and not answered for the other
// half. The disks fill up; then produce must be rejected while reads from the disks work. When the
// store returns, uploads, retention and produce must resume without intervention, no acknowledged
// record may be lost, and the replicas must be equal. The store stays away for some seconds after
// the disks are full, and in the long version for ten minutes in total.
func TestStoreAwayUnderLoad(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	bucket := s3.BucketURL(t, "small")
	proxy := startStoreProxy(t, s3.Endpoint)
	brokers := clusterOf(t, func(int) []string {
		return []string{
			"--object-store", through(t, bucket, proxy),
			"--set", "log.retention.check.interval.ms=300", "--set", "remote.log.manager.task.interval.ms=300",
		}
	})
	for _, b := range brokers {
		smallDisk(t, b.dataDir, 256<<20)
	}
	startTogether(t, brokers)
	everywhere := append(clusterClient(brokers), kgo.ProducerBatchCompression(kgo.NoCompression()))
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	createPlaced(t, client, "small", spread(3), "min.insync.replicas", "2", "remote.storage.enable", "true",
		"segment.bytes", "1048576", "local.retention.bytes", "4194304", "retention.ms", "-1", "file.delete.delay.ms", "1000")
	l := startLoad(t, "small", 3, 2, 1, testRounds(250, 100), 16_000, everywhere...)
	l.progress(time.Minute, "at the start")
	p := startProbe(t, client, everywhere)
	eventually(t, time.Minute, "every broker has something in the bucket only", func() bool {
		return !slices.ContainsFunc(brokers, func(b *process) bool { return localStart(t, b, "small-0") <= 0 })
	})

	proxy.refuse()
	away := time.Now()
	eventually(t, 5*time.Minute, "produce is refused, since the disks are full", func() bool {
		_, refused := p.since(away)
		return refused[kerr.KafkaStorageError.Message] > 0
	})
	full := time.Now()
	t.Logf("the disks are full after %v", full.Sub(away).Round(time.Second))
	waitFor(t, max(longAway(t)/2-time.Since(away), 5*time.Second))
	hotIsRead(t, brokers, admin, everywhere)

	proxy.swallow()
	swallowed := time.Now()
	waitFor(t, max(longAway(t)-time.Since(away), 5*time.Second))
	hotIsRead(t, brokers, admin, everywhere)
	accepted, refused := p.since(swallowed)
	if accepted > 0 || len(refused) == 0 {
		t.Errorf("while the store did not answer, %d records were accepted, these refused: %v", accepted, refused)
	}
	proxy.pass()
	back := time.Now()
	accepted, refused = p.since(full)
	t.Logf("the store was away for %v, the disks were full for %v: %d records were accepted, these refused: %v",
		back.Sub(away).Round(time.Second), back.Sub(full).Round(time.Second), accepted, refused)
	l.progress(2*time.Minute, "when the store is back")
	t.Logf("every partition takes records %v after the store is back", time.Since(back).Round(100*time.Millisecond))
	p.stop()
	allInSync(t, admin, "small", 3)
	t.Logf("all replicas are in sync %v after the store is back", time.Since(back).Round(100*time.Millisecond))
	l.stop()
	eventually(t, 2*time.Minute, "all closed segments are uploaded, and the disks have what they are to have", func() bool {
		for _, row := range brokers[0].tier(t, "small") {
			if row.LagBytes > 0 || row.LocalBytes > 8<<20 {
				return false
			}
		}
		return true
	})
	t.Logf("all is uploaded and the disks are tidy %v after the store is back", time.Since(back).Round(100*time.Millisecond))
	sameLogs(t, brokers, admin, "small")
	l.check(everywhere...)
}

// longAway is the total time without the store in the long version; 0 in the short one.
func longAway(t *testing.T) time.Duration {
	t.Helper()
	if long() {
		return 10 * time.Minute
	}
	return 0
}

// through returns the URL of a bucket behind the proxy.
func through(t *testing.T, bucket string, proxy *storeProxy) string {
	t.Helper()
	u, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("endpoint", "http://"+proxy.address)
	u.RawQuery = query.Encode()
	return u.String()
}

// smallDisk creates a directory with room for size bytes, until the test ends.
func smallDisk(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted, which root of Linux may: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// hotIsRead reads the local data of all partitions: from the start of the leader's local log to its
// end.
func hotIsRead(t *testing.T, brokers []*process, admin *kadm.Client, opts []kgo.Opt) {
	t.Helper()
	ends, err := admin.ListEndOffsets(t.Context(), "small")
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	hot := map[int32]kgo.Offset{}
	left, cold := 0, 0
	for _, row := range brokers[0].tier(t, "small") {
		end, _ := ends.Lookup("small", row.Partition)
		hot[row.Partition] = kgo.NewOffset().At(row.LocalStart)
		left += int(end.Offset - row.LocalStart)
		if row.LocalStart > 0 {
			cold++
		}
	}
	if left == 0 || cold != len(hot) {
		t.Fatalf("%d records are hot, %d partitions have cold ones", left, cold)
	}
	reader := newClient(t, "", append([]kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"small": hot})}, opts...)...)
	defer reader.Close()
	consume(t, reader, left, 2*time.Minute, func(*kgo.Record) {})
}

// probe writes a record at an interval, to one partition after another. A rejected record is not
// retried.
type probe struct {
	stop func() // and waits

	mu    sync.Mutex
	tries []try
}

// try is one record and its result.
type try struct {
	at  time.Time
	err error
}

// startProbe starts to write to a topic of its own.
func startProbe(t *testing.T, client *kgo.Client, opts []kgo.Opt) *probe {
	t.Helper()
	const partitions = 3
	createPlaced(t, client, "probe", spread(partitions), "min.insync.replicas", "2")
	producer := newClient(t, "", slices.Concat(opts, []kgo.Opt{
		kgo.DefaultProduceTopic("probe"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.RecordDeliveryTimeout(5 * time.Second),
	})...)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	p := &probe{stop: func() { cancel(); running.Wait() }}
	t.Cleanup(p.stop)
	running.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			at := time.Now()
			err := producer.ProduceSync(ctx, &kgo.Record{Partition: int32(n) % partitions, Value: make([]byte, 16_000)}).FirstErr()
			p.mu.Lock()
			p.tries = append(p.tries, try{at, err})
			p.mu.Unlock()
		}
	})
	return p
}

// since counts the accepted and the rejected records, the latter by error, among those written from
// a time on.
func (p *probe) since(then time.Time) (accepted int, refused map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refused = map[string]int{}
	for _, a := range p.tries {
		known, isKnown := errors.AsType[*kerr.Error](a.err)
		switch {
		case a.at.Before(then):
		case a.err == nil:
			accepted++
		case isKnown:
			refused[known.Message]++
		default:
			refused[a.err.Error()]++
		}
	}
	return accepted, refused
}
