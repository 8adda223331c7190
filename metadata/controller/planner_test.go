package controller

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// planMachine applies events of all kinds to an image, and compares the plan of the changes with
// the plan of everything.
type planMachine struct {
	store    *kvtest.MemStore
	loader   *metadata.Loader
	end      func() // of the loader
	revision int64
	image    *metadata.Image
	planner  planner
	topics   []metadata.TopicID
	asks     []metadata.Ask // of the last plan
}

const (
	planBrokers    = 4
	planTopics     = 3
	planPartitions = 3
)

func (m *planMachine) put(t *rapid.T, key, value string) { m.write(t, kv.Put(key, []byte(value))) }

func (m *planMachine) drop(t *rapid.T, key string) { m.write(t, kv.Delete(key)) }

func (m *planMachine) write(t *rapid.T, op kv.Op) {
	var err error
	if m.revision, err = m.store.Txn(t.Context(), nil, op); err != nil {
		t.Fatal(err)
	}
	m.see(t)
}

// see waits until the machine's image shows the last write.
func (m *planMachine) see(t *rapid.T) {
	var err error
	if m.image, err = m.loader.WaitRevision(t.Context(), m.revision); err != nil {
		t.Fatal(err)
	}
}

// load starts a loader that reads everything: its images share nothing with those of the loader
// before.
func (m *planMachine) load(t *rapid.T) {
	m.end()
	m.loader = metadata.NewLoader(metadata.LoaderOptions{Store: m.store, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = m.loader.Run(ctx) })
	m.end = func() { cancel(); running.Wait() }
	m.see(t)
}

// broker lets a random event happen to a broker.
func (m *planMachine) broker(t *rapid.T) {
	id := rapid.IntRange(1, planBrokers).Draw(t, "broker")
	key := fmt.Sprintf("brokers/%d", id)
	b, live := m.image.Brokers[int32(id)]
	value := fmt.Sprintf(`{"v":1,"directories":[%q]}`, directory(id))
	switch what := rapid.SampledFrom([]string{"die", "start", "survive", "stop", "fail"}).Draw(t, "event"); {
	case what == "die":
		m.drop(t, key)
	case live && what == "stop":
		m.put(t, key, fmt.Sprintf(`{"v":1,"stopping":true,"directories":[%q]}`, directory(id)))
	case live && what == "fail":
		m.put(t, key, fmt.Sprintf(`{"v":1,"lost_epoch":%d,"lost_directories":[%q]}`, b.Epoch, directory(id)))
	case live && what == "survive":
		m.drop(t, key)
		m.put(t, key, fmt.Sprintf(`{"v":1,"previous_epoch":%d,"directories":[%q]}`, b.Epoch, directory(id)))
	default:
		m.drop(t, key)
		m.put(t, key, value)
	}
}

func directory(broker int) string { return metadata.DirectoryID{byte(broker)}.String() }

// partition writes a state, which need not follow from the one before.
func (m *planMachine) partition(t *rapid.T) {
	topic, n := rapid.IntRange(0, planTopics-1).Draw(t, "topic"), rapid.IntRange(0, planPartitions-1).Draw(t, "partition")
	key := fmt.Sprintf("partitions/%s/%d", m.topics[topic], n)
	if rapid.IntRange(0, 9).Draw(t, "missing") == 0 {
		m.drop(t, key)
		return
	}
	all := rapid.Permutation([]int{1, 2, 3, 4}).Draw(t, "replicas")
	replicas := all[:rapid.IntRange(1, 3).Draw(t, "factor")]
	cut := rapid.IntRange(1, len(replicas)).Draw(t, "in sync")
	isr, elr := m.members(t, "isr", replicas[:cut]), ""
	if rapid.Bool().Draw(t, "eligible") {
		elr = m.members(t, "elr", replicas[cut:])
	}
	adding := ""
	if rapid.IntRange(0, 3).Draw(t, "moves") == 0 {
		adding = fmt.Sprintf(`"adding":[%d],`, replicas[len(replicas)-1])
	}
	leader := replicas[rapid.IntRange(0, cut-1).Draw(t, "leader")]
	m.put(t, key, fmt.Sprintf(`{"v":1,"replicas":[%s],%s%s%s"leader":%d,"leader_broker_epoch":%d,"leader_epoch":%d}`,
		list(replicas, strconv.Itoa), isr, elr, adding, leader, m.epochOf(t, leader), m.revision))
}

func list(ids []int, as func(int) string) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = as(id)
	}
	return strings.Join(texts, ",")
}

func (m *planMachine) members(t *rapid.T, name string, ids []int) string {
	return fmt.Sprintf(`"%s":[%s],"%s_epochs":[%s],"%s_dirs":[%s],`, name, list(ids, strconv.Itoa),
		name, list(ids, func(id int) string { return fmt.Sprint(m.epochOf(t, id)) }), name, list(ids, func(id int) string { return strconv.Quote(directory(id)) }))
}

// epochOf returns a broker's epoch, sometimes an older one.
func (m *planMachine) epochOf(t *rapid.T, id int) int64 {
	epoch := m.image.Brokers[int32(id)].Epoch
	if rapid.IntRange(0, 3).Draw(t, "older") == 0 {
		epoch = max(0, epoch-1)
	}
	return epoch
}

// topic creates, grows, shrinks or deletes a topic.
func (m *planMachine) topic(t *rapid.T) {
	i := rapid.IntRange(0, planTopics-1).Draw(t, "topic")
	if count := rapid.IntRange(0, planPartitions).Draw(t, "count"); count == 0 {
		m.drop(t, "topics/"+planTopic(i))
	} else {
		m.put(t, "topics/"+planTopic(i), fmt.Sprintf(`{"v":1,"id":%q,"partitions":%d}`, m.topics[i], count))
	}
}

func planTopic(i int) string { return fmt.Sprintf("topic-%d", i) }

// settings changes the minimum and whether elections may be unclean, for a topic or for all.
func (m *planMachine) settings(t *rapid.T) {
	key := rapid.SampledFrom([]string{"topics/topic-0", "topics/topic-1", "brokers/default"}).Draw(t, "key")
	if rapid.IntRange(0, 3).Draw(t, "reset") == 0 {
		m.drop(t, "configs/"+key)
		return
	}
	m.put(t, "configs/"+key, fmt.Sprintf(`{"v":1,"configs":{"min":"%d","unclean":"%t"}}`, rapid.IntRange(1, 3).Draw(t, "min"), rapid.Bool().Draw(t, "unclean")))
}

func planSetting(image *metadata.Image, topic, name string) string {
	if v, ok := image.TopicConfigs(topic)[name]; ok {
		return v
	}
	return image.DefaultBrokerConfigs()[name]
}

// plan compares the two plans, and may write a part of the changes.
func (m *planMachine) plan(t *rapid.T) {
	o := PlanOptions{
		MinISR: func(image *metadata.Image, topic string) int {
			n, _ := strconv.Atoi(planSetting(image, topic, "min"))
			return max(n, 1)
		},
		UncleanElection: func(image *metadata.Image, topic string) bool { return planSetting(image, topic, "unclean") == "true" },
		Rebalance:       rapid.IntRange(0, 4).Draw(t, "rebalance") == 0, ImbalancePercent: 10,
	}
	if rapid.IntRange(0, 2).Draw(t, "doubts") == 0 {
		stage := metadata.Doubt(rapid.IntRange(0, 2).Draw(t, "stage"))
		o.Doubt = func(one metadata.Member) metadata.Doubt {
			if one.Broker%2 == 0 {
				return stage
			}
			return metadata.NoDoubt
		}
	}
	if rapid.Bool().Draw(t, "answers") {
		o.LogEnds = map[metadata.TopicPartition]metadata.LogEnds{}
		for _, ask := range m.asks {
			ends := metadata.LogEnds{}
			for i, one := range ask.Replicas {
				ends[one] = metadata.LogEnd{LeaderEpoch: 1, Offset: int64(i)}
			}
			o.LogEnds[ask.TopicPartition] = ends
		}
	}
	whole, changed := Plan(m.image, o), m.planner.next(m.image, o)
	if !reflect.DeepEqual(whole, changed) {
		t.Fatalf("the plan of everything is\n%+v\nof what has changed\n%+v", whole, changed)
	}
	m.asks = whole.Asks
	for _, c := range whole.Changes {
		if rapid.IntRange(0, 3).Draw(t, "written") > 0 {
			m.put(t, c.Ops[0].Key, string(c.Ops[0].Value))
		}
	}
}

// TestPlanOfChangesIsThePlanOfEverything: whatever happens between plans, no partition that needs a
// change is missed (I14).
func TestPlanOfChangesIsThePlanOfEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &planMachine{store: kvtest.NewMemStore(), end: func() {}, revision: 1}
		m.load(t)
		defer func() { m.end() }()
		for i := range planTopics {
			m.topics = append(m.topics, metadata.TopicID{byte(i + 1)})
		}
		for i := range planTopics {
			m.put(t, "topics/"+planTopic(i), fmt.Sprintf(`{"v":1,"id":%q,"partitions":%d}`, m.topics[i], planPartitions))
		}
		t.Repeat(map[string]func(*rapid.T){
			"broker": m.broker, "partition": m.partition, "partitions": m.partition, "more partitions": m.partition, "topic": m.topic,
			"settings": m.settings, "load": m.load, "plan": m.plan, "plans": m.plan, "more plans": m.plan,
		})
	})
}
