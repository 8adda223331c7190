package metadata

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata/kv"
)

// entry is a record of a model's log. If two logs have the same entry, they have the same entries
// before it.
type entry struct {
	id    int
	epoch int32 // of the leader that appended it
}

// modelLog is one replica's log, as it is on the disk.
type modelLog struct {
	directory DirectoryID
	entries   []entry
	flushed   int
	intact    int64 // nothing was lost since this broker epoch
	fetched   struct {
		leader int32 // leader epoch of the newest fetch
		broker int64 // broker epoch of the newest fetch
	}
}

func (l *modelLog) has(committed []entry) bool {
	return len(l.entries) >= len(committed) && slices.Equal(l.entries[:len(committed)], committed)
}

// modelBroker is the state of a broker's machine.
type modelBroker struct {
	directories []DirectoryID
	failed      DirectoryID // since the start of the process
	epoch       int64       // of the newest registration
	lostEpoch   int64
}

// modelLogs are the logs of one topic's partitions on all brokers.
type modelLogs struct {
	logs      []map[int32]*modelLog // by partition
	committed [][]entry             // by partition
	begin     []int                 // where the leader's epoch begins, by partition
	brokers   map[int32]*modelBroker
	ids       int
}

func newModelLogs(partitions int) *modelLogs {
	m := &modelLogs{brokers: map[int32]*modelBroker{}, committed: make([][]entry, partitions), begin: make([]int, partitions)}
	for range partitions {
		m.logs = append(m.logs, map[int32]*modelLog{})
	}
	for id := range int32(repairBrokers) {
		m.brokers[id+1] = &modelBroker{directories: []DirectoryID{m.newDirectory()}}
		if id%2 == 1 {
			m.brokers[id+1].directories = append(m.brokers[id+1].directories, m.newDirectory())
		}
	}
	return m
}

func (m *modelLogs) newDirectory() DirectoryID {
	m.ids++
	return DirectoryID{byte(m.ids), byte(m.ids >> 8)}
}

// log returns a replica's log, and creates it if it is missing.
func (m *modelLogs) log(n int, id int32) *modelLog {
	l := m.logs[n][id]
	if l == nil {
		b := m.brokers[id]
		working := slices.DeleteFunc(slices.Clone(b.directories), func(d DirectoryID) bool { return d == b.failed })
		l = &modelLog{directory: working[n%len(working)], intact: b.epoch}
		m.logs[n][id] = l
	}
	return l
}

// online reports whether a replica's directory works.
func (m *modelLogs) online(n int, id int32) bool {
	b := m.brokers[id]
	return b.failed.IsZero() || m.log(n, id).directory != b.failed
}

// restart returns the registration of a broker's next process. machine: the machine has crashed.
// replace: a directory is replaced by an empty one.
func (m *modelLogs) restart(t *rapid.T, id int32, epoch int64, machine, replace bool) brokerValue {
	b := m.brokers[id]
	v := brokerValue{PreviousBrokerEpoch: b.epoch}
	if machine {
		v.PreviousBrokerEpoch = 0
	}
	if !b.failed.IsZero() {
		v.LostDirectories = append(v.LostDirectories, b.failed) // its last sync failed
		m.lose(t, id, b.failed, epoch)
		b.failed = DirectoryID{}
	}
	if machine {
		for _, d := range b.directories {
			m.lose(t, id, d, epoch)
		}
	}
	if replace {
		at := rapid.IntRange(0, len(b.directories)-1).Draw(t, "directory")
		old, next := b.directories[at], m.newDirectory()
		b.directories = slices.Clone(b.directories)
		b.directories[at] = next
		v.LostDirectories = append(v.LostDirectories, old)
		for n := range m.logs {
			if l := m.logs[n][id]; l != nil && l.directory == old {
				*l = modelLog{directory: next, intact: epoch}
			}
		}
	}
	if len(v.LostDirectories) > 0 {
		b.lostEpoch = b.epoch
	}
	b.epoch = epoch
	v.Directories, v.LostBrokerEpoch = b.directories, b.lostEpoch
	return v
}

// lose drops the unflushed records, or some of them.
func (m *modelLogs) lose(t *rapid.T, id int32, directory DirectoryID, epoch int64) {
	for n := range m.logs {
		if l := m.logs[n][id]; l != nil && l.directory == directory {
			l.entries = slices.Clip(l.entries[:rapid.IntRange(l.flushed, len(l.entries)).Draw(t, "left")])
			l.intact = epoch
		}
	}
}

// work lets a partition's leader append, its followers fetch, and then commits what a leader may
// commit.
func (m *repairMachine) work(t *rapid.T) {
	topic := m.topicState()
	n := rapid.IntRange(0, len(topic.Partitions)-1).Draw(t, "partition")
	p := topic.Partitions[n]
	if _, led := m.image.Leader(p); !led || !m.model.online(n, p.Leader) {
		return
	}
	lead := m.model.log(n, p.Leader)
	for range rapid.IntRange(0, 3).Draw(t, "appends") {
		m.model.ids++
		lead.entries = append(lead.entries, entry{m.model.ids, p.LeaderEpoch})
	}
	for _, id := range p.Replicas {
		b, live := m.image.Brokers[id]
		if id == p.Leader || !live || !m.model.online(n, id) || rapid.Float64().Draw(t, "fetch") < 0.3 {
			continue
		}
		l := m.model.log(n, id)
		same := 0
		for same < min(len(l.entries), len(lead.entries)) && l.entries[same] == lead.entries[same] {
			same++
		}
		upTo := rapid.IntRange(same, len(lead.entries)).Draw(t, "up to")
		l.entries, l.flushed = slices.Clone(lead.entries[:upTo]), min(l.flushed, same)
		l.fetched.leader, l.fetched.broker = p.LeaderEpoch, b.Epoch
	}
	for _, id := range p.Replicas {
		if l := m.model.log(n, id); rapid.Float64().Draw(t, "flush") < 0.3 {
			l.flushed = len(l.entries)
		}
	}
	m.commit(n, p, lead)
}

// commit advances the high watermark by the rules of a leader.
func (m *repairMachine) commit(n int, p *Partition, lead *modelLog) {
	if len(p.ELR) > 0 || len(p.ISR) < min(m.minISR, len(p.Replicas)) {
		return
	}
	end := len(lead.entries)
	for _, member := range p.Members() {
		l := m.model.log(n, member.Broker)
		switch {
		case member.Broker == p.Leader:
		case l.fetched.leader != p.LeaderEpoch || l.fetched.broker != member.Epoch:
			return
		default:
			end = min(end, len(l.entries))
		}
	}
	if end > len(m.model.committed[n]) {
		m.model.committed[n] = slices.Clone(lead.entries[:end])
	}
}

// joins reports whether a leader may take a follower into the ISR.
func (m *repairMachine) joins(n int, p *Partition, present Member) bool {
	l := m.model.log(n, present.Broker)
	return m.model.online(n, present.Broker) && l.fetched.leader == p.LeaderEpoch && l.fetched.broker == present.Epoch &&
		len(l.entries) >= max(m.model.begin[n], len(m.model.committed[n]))
}

// fail makes a directory fail, if the broker has two.
func (m *repairMachine) fail(t *rapid.T, id int32, b Broker) {
	model := m.model.brokers[id]
	if len(model.directories) < 2 || !model.failed.IsZero() {
		return
	}
	at := rapid.IntRange(0, 1).Draw(t, "directory")
	model.failed = model.directories[at]
	b.Directories = model.directories[1-at : 2-at]
	b.LostDirectories, b.LostBrokerEpoch = append(slices.Clone(b.LostDirectories), model.failed), b.Epoch
	r := m.next()
	m.apply(t, kv.Event{Pair: kv.Pair{Key: brokerKey(id), Value: b.encode(), CreateRevision: b.Epoch, ModRevision: r}})
}

// checkLogs checks a write against the logs. A member that has lost nothing has all committed
// records. So has an elected leader, if such a member is online and the election is not unclean.
func (m *repairMachine) checkLogs(n int, before, after *Partition, unclean bool) error {
	committed := m.model.committed[n]
	for _, id := range without(before.Replicas, after.Replicas) {
		defer delete(m.model.logs[n], id)
	}
	somebody := false
	for _, member := range slices.Concat(before.Members(), before.EligibleMembers()) {
		l := m.model.log(n, member.Broker)
		if l.intact > member.Epoch || !m.model.online(n, member.Broker) {
			continue
		}
		if !l.has(committed) {
			return fmt.Errorf("member %+v lacks what was committed: %v of %v", member, l.entries, committed)
		}
		somebody = true
	}
	if after.LeaderEpoch == before.LeaderEpoch {
		return nil
	}
	l := m.model.log(n, after.Leader)
	m.model.begin[n] = len(l.entries)
	if l.has(committed) {
		return nil
	}
	if somebody && !unclean {
		return fmt.Errorf("%d is elected, and lacks what others have: %v of %v", after.Leader, l.entries, committed)
	}
	same := 0
	for same < min(len(l.entries), len(committed)) && l.entries[same] == committed[same] {
		same++
	}
	m.model.committed[n] = committed[:same]
	return nil
}

// ends returns the replicas' answers to asks.
func (m *repairMachine) ends(asks []Ask) map[TopicPartition]LogEnds {
	all := map[TopicPartition]LogEnds{}
	for _, a := range asks {
		ends := LogEnds{}
		for _, member := range a.Replicas {
			if !m.model.online(int(a.Partition), member.Broker) {
				continue
			}
			l := m.model.log(int(a.Partition), member.Broker)
			ends[member] = LogEnd{LeaderEpoch: -1, Offset: int64(len(l.entries))}
			if len(l.entries) > 0 {
				ends[member] = LogEnd{l.entries[len(l.entries)-1].epoch, int64(len(l.entries))}
			}
		}
		all[a.TopicPartition] = ends
	}
	return all
}
