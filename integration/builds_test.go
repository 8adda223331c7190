package integration

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// laterDocuments are topics in whose documents a later version of Varve (see nextBinary) names
// features that the present version does not know. Each has the expected behavior of a leader of
// the present version.
var laterDocuments = map[string]struct {
	state   string // of the remote tier, as in varve tier status
	feature string // named by a problem; "": no problem
	cold    bool   // uploads of the later version can be read
}{
	"next.manifest-write": {"read-only", "next-write", true},
	"next.pointer-write":  {"read-only", "next-write", true},
	"next.manifest-read":  {"attaching", "next-read", false},
	"next.pointer-read":   {"attaching", "next-read", false},
	"next.entry-read":     {"active", "", false},
	"next.object-read":    {"active", "", false},
	"plain":               {"active", "", true},
}

// builds is a cluster of brokers of two versions under load, with a topic for each of
// laterDocuments.
type builds struct {
	t       *testing.T
	brokers []*process
	bucket  string
	opts    []kgo.Opt
	client  *kgo.Client
	admin   *kadm.Client
	loads   map[string]*load
	ids     map[string]kadm.TopicID
}

// TestOlderBrokerMeetsALaterOne has brokers of two versions in a cluster under load. The later
// version leads first, and stores documents that the present one must not read or must not change.
// Then the present version leads. It must refuse those documents, name the missing feature and
// change none of them. It must accept and serve records, and everything else must work, even when
// it is killed. Then the later version takes over again, and in the end all brokers run it:
// everything must be uploaded and readable.
//
// A follower of the present version that falls behind cannot start where the tier ends before it is
// upgraded. It is thus killed only while another broker of its version leads. The test runs with
// VARVE_LONG=1: it builds a second broker and takes five minutes.
func TestOlderBrokerMeetsALaterOne(t *testing.T) {
	if !long() {
		t.Skip("VARVE_LONG=1 runs it")
	}
	for name, later := range map[string][]int32{"one is later": {3}, "two are later": {2, 3}} {
		t.Run(name, func(t *testing.T) {
			b := startBuilds(t, later)
			const present, newest = 1, 3
			b.lead(newest)
			b.eachUploads("under the later version")

			b.lead(present)
			for topic := range laterDocuments {
				b.isMet(topic, present)
			}
			if len(later) == 1 {
				b.killsTheLeader(present)
			}

			b.lead(newest)
			b.eachUploads("when the later version leads again")
			b.lead(present)
			b.upgrade()
			b.eachUploads("when all are of the later version")
			for topic, l := range b.loads {
				l.stop()
				l.check(b.opts...)
				sameLogs(t, b.brokers, b.admin, topic)
			}
			b.noWayBack()
		})
	}
}

// killsTheLeader kills the leader, has another broker of the present version take over, and then
// makes the killed one lead again.
func (b *builds) killsTheLeader(present int32) {
	b.t.Helper()
	b.brokers[present-1].kill9(b.t)
	b.progress("with the leader killed")
	b.brokers[present-1].start(b.t)
	for topic := range b.loads {
		allInSync(b.t, b.admin, topic, 3)
	}
	b.lead(present)
	for topic := range laterDocuments {
		b.isMet(topic, int(present))
	}
}

// startBuilds starts three brokers, some of the later version, and the load.
func startBuilds(t *testing.T, later []int32) *builds {
	t.Helper()
	next, err := nextBinary()
	if err != nil {
		t.Fatal(err)
	}
	b := &builds{t: t, bucket: t.TempDir(), loads: map[string]*load{}, ids: map[string]kadm.TopicID{}}
	b.brokers = clusterOf(t, func(int) []string {
		return []string{
			"--object-store", "file://" + b.bucket,
			"--set", "log.retention.check.interval.ms=300", "--set", "remote.log.manager.task.interval.ms=300",
		}
	})
	for _, id := range later {
		b.brokers[id-1].become(next)
	}
	startTogether(t, b.brokers)
	b.opts = append(clusterClient(b.brokers), kgo.ProducerBatchCompression(kgo.NoCompression()))
	b.client = newClient(t, "", b.opts...)
	b.admin = kadm.NewClient(b.client)
	for topic := range laterDocuments {
		createPlaced(t, b.client, topic, [][]int32{{3, 1, 2}}, "min.insync.replicas", "2", "remote.storage.enable", "true",
			"segment.ms", "1500", "local.retention.bytes", "1", "retention.ms", "-1")
		b.loads[topic] = startLoad(t, topic, 1, 1, 1, 30, 1000, b.opts...)
	}
	b.progress("at the start")
	topics, err := b.admin.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for topic := range laterDocuments {
		b.ids[topic] = topics[topic].ID
	}
	return b
}

// become makes the process run the later version, with its new features, from its next start on.
func (p *process) become(next string) { p.binary, p.env = next, []string{"NEXT_VARVE=1"} }

func (b *builds) progress(what string) {
	b.t.Helper()
	for _, l := range b.loads {
		l.progress(time.Minute, what)
	}
}

// lead makes a broker the leader of all topics.
func (b *builds) lead(broker int32) {
	b.t.Helper()
	others := slices.DeleteFunc([]int32{1, 2, 3}, func(id int32) bool { return id == broker })
	for topic := range b.loads {
		eventually(b.t, time.Minute, "a broker leads "+topic, func() bool {
			_ = reassign(b.t.Context(), b.client, topic, 0, append([]int32{broker}, others...))
			_, _ = electPreferred(b.t.Context(), b.client)
			return leaderOf(b.t, b.admin, topic) == broker
		})
	}
	b.progress("under another leader")
}

// tierState is the report of varve tier status about a partition.
type tierState struct {
	tierRow

	End      int64  `json:"end"`
	State    string `json:"state"`
	Problems []struct {
		Kind string `json:"kind"`
		Text string `json:"text"`
	} `json:"problems"`
}

func (b *builds) status(topic string) (s tierState) {
	b.t.Helper()
	var rows []tierState
	out, _, _ := tryVarve(b.t, b.brokers, "tier", "status", topic, "--output", "json")
	if json.Unmarshal([]byte(out), &rows) == nil && len(rows) == 1 {
		return rows[0]
	}
	return s
}

// eachUploads waits until everything written so far to each topic is only in the bucket.
func (b *builds) eachUploads(what string) {
	b.t.Helper()
	for topic := range b.loads {
		var s tierState
		end := b.status(topic).End
		if !holdsWithin(time.Minute, func() bool {
			s = b.status(topic)
			return s.State == "active" && end > 0 && s.RemoteEnd >= end && s.LocalStart >= end && len(s.Problems) == 0
		}) {
			b.t.Fatalf("not within a minute: all below offset %d of %s is in the bucket only %s: %+v", end, topic, what, s)
		}
	}
}

// isMet checks how a leader of the present version treats a topic that the later version has led.
func (b *builds) isMet(topic string, leader int) {
	b.t.Helper()
	want := laterDocuments[topic]
	var s tierState
	if !holdsWithin(time.Minute, func() bool {
		s = b.status(topic)
		return s.State == want.state && (want.feature == "") == (len(s.Problems) == 0)
	}) {
		b.t.Fatalf("%s: the state is %+v, want %+v", topic, s, want)
	}
	for _, p := range s.Problems {
		if p.Kind != "attach" || !strings.Contains(p.Text, `"`+want.feature+`"`) || !strings.Contains(p.Text, "upgrade this broker") {
			b.t.Errorf("%s: a problem that does not say what is lacking: %+v", topic, p)
		}
	}
	if want.feature != "" {
		if body, err := readMetrics(b.brokers[leader-1], time.Minute); err != nil {
			b.t.Error(err)
		} else if failing, _ := counter(body, `varve_tiering_failing_seconds{work="attach"}`); failing <= 0 {
			b.t.Errorf("%s: the metric says that nothing fails", topic)
		}
	}
	before := b.objectsOf(topic)
	b.loads[topic].progress(time.Minute, "under the present version")
	if cold := b.fetched(topic, leader, 0); (cold == nil) != want.cold || cold != nil && cold != kerr.KafkaStorageError { //nolint:errorlint // as the broker gave it
		b.t.Errorf("%s: a read of what the later version has uploaded: %v", topic, cold)
	}
	if hot := b.fetched(topic, leader, s.End); hot != nil {
		b.t.Errorf("%s: a read of what is on the disk: %v", topic, hot)
	}
	if want.state == "active" {
		eventually(b.t, time.Minute, "uploads go on", func() bool { return b.status(topic).RemoteEnd > s.End })
		return
	}
	eventually(b.t, time.Minute, "closed segments wait", func() bool { return b.status(topic).End > s.End+100 })
	if after := b.objectsOf(topic); !slices.Equal(after, before) {
		b.t.Errorf("%s: objects have changed from\n%s\nto\n%s", topic, strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if now := b.status(topic); now.LocalStart > s.End {
		b.t.Errorf("%s: what is in no bucket was deleted: %+v", topic, now)
	}
}

// objectsOf returns the objects of a topic.
func (b *builds) objectsOf(topic string) []string {
	b.t.Helper()
	all := objects(b.t, filepath.Join(b.bucket, b.ids[topic].String()), "")
	slices.Sort(all)
	return all
}

// fetched reads at least one record of a broker from an offset. It returns the error of the broker,
// if any.
func (b *builds) fetched(topic string, broker int, offset int64) (refused error) {
	b.t.Helper()
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 1000, 1, 1<<20
	named := kmsg.NewFetchRequestTopic()
	named.Topic, named.TopicID = topic, b.ids[topic]
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.FetchOffset, partition.PartitionMaxBytes = offset, 1<<20
	named.Partitions = append(named.Partitions, partition)
	request.Topics = append(request.Topics, named)
	eventually(b.t, time.Minute, topic+" is read, or that is refused", func() bool {
		response, err := b.client.Broker(broker).RetriableRequest(b.t.Context(), request)
		if err != nil || len(response.(*kmsg.FetchResponse).Topics) == 0 {
			return false
		}
		p := response.(*kmsg.FetchResponse).Topics[0].Partitions[0]
		refused = kerr.ErrorForCode(p.ErrorCode)
		return refused != nil || len(p.RecordBatches) > 0
	})
	return refused
}

// upgrade restarts each broker of the present version as one of the later version.
func (b *builds) upgrade() {
	b.t.Helper()
	next, err := nextBinary()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range b.brokers {
		if p.binary == next {
			continue
		}
		if out := mustVarve(b.t, b.brokers, "cluster", "upgrade", "--yes"); !strings.Contains(out, "nothing to raise") {
			b.t.Errorf("beside a broker of the present version the levels are raised: %s", out)
		}
		p.stop(b.t, syscall.SIGTERM)
		p.become(next)
		b.progress("with a broker stopped")
		p.start(b.t)
		eventually(b.t, time.Minute, "varve cluster status has three brokers", func() bool {
			s, _ := statusOf(b.t, b.brokers)
			return s.Partitions.Total > 0 && s.Partitions.UnderReplicated == 0
		})
	}
}

// noWayBack raises the cluster's feature levels. A broker of the present version must then refuse
// to start, and say why.
func (b *builds) noWayBack() {
	b.t.Helper()
	if out := mustVarve(b.t, b.brokers, "cluster", "upgrade", "--yes"); !strings.Contains(out, "the cluster is upgraded") {
		b.t.Errorf("the cluster is not upgraded: %s", out)
	}
	p := b.brokers[0]
	p.stop(b.t, syscall.SIGTERM)
	later := p.binary
	p.binary = ""
	p.launch(b.t)
	select {
	case err := <-p.exited:
		if err == nil || !strings.Contains(p.log.String(), "varve.version has level 2, this version of Varve supports 1 to 1") {
			b.t.Errorf("a broker of the present version ends with %v", err)
		}
	case <-time.After(time.Minute):
		b.t.Error("a broker of the present version starts")
		p.kill9(b.t)
	}
	p.cmd = nil
	p.binary = later
	p.start(b.t)
}
