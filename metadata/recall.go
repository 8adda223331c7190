package metadata

import (
	"strings"

	"github.com/varvelog/varve/metadata/kv"
)

// recall gives keys that a list shows unreadable the state that they had in the image before, as an
// event with such a value leaves its key as it was: a partition does not lose its leader, nor a
// topic its settings, because the watch was interrupted. It must be called before the
// image is published. A store that compares what such a key's state rests on sees a
// conflict: the revision is the old one.
func (m *Image) recall(before *Image) *Image {
	var events []kv.Event
	for key := range m.unread {
		if pair, ok := before.lookUp(key); ok {
			events = append(events, kv.Event{Pair: pair})
		}
	}
	if len(events) == 0 {
		return m
	}
	next, _ := m.apply(kv.Batch{Revision: m.Revision, Events: events}) // what an image has can be read
	next.unread = m.unread
	return next
}

// lookUp is a key as the image has it, but for fields that only the key has.
func (m *Image) lookUp(key string) (kv.Pair, bool) {
	prefix := key[:strings.LastIndexByte(key, '/')+1]
	rest := key[len(prefix):]
	pair := kv.Pair{Key: key}
	switch prefix {
	case topicsPrefix:
		t, ok := m.byName[rest]
		if !ok {
			return pair, false
		}
		pair.Value, pair.CreateRevision, pair.ModRevision = encode(topicValue{V: valueVersion, ID: t.ID, Partitions: t.count}), t.Epoch, t.Revision
	case brokersPrefix:
		b, ok := lookUpBroker(m.Brokers, rest)
		if !ok {
			return pair, false
		}
		pair.Value, pair.CreateRevision, pair.ModRevision, pair.Lease = b.encode(), b.Epoch, b.Epoch, b.Lease
	case knownPrefix:
		b, ok := lookUpBroker(m.Known, rest)
		if !ok {
			return pair, false
		}
		pair.Value = encode(knownValue{V: valueVersion, Rack: b.Rack, Listeners: b.Listeners})
	case topicConfigsPrefix, brokerConfigsPrefix:
		all := m.topicConfigs
		if prefix == brokerConfigsPrefix {
			all = m.brokerConfigs
		}
		pair.Value = encode(configsValue{V: valueVersion, Configs: all[rest]})
		return pair, all[rest] != nil
	case "":
		return m.lookUpSingle(key)
	default:
		return m.lookUpPartition(key)
	}
	return pair, true
}

func lookUpBroker(all map[int32]Broker, rest string) (Broker, bool) {
	id, ok := parseNumber(rest)
	if !ok {
		return Broker{}, false
	}
	b, ok := all[id]
	return b, ok
}

// lookUpSingle is a key that there is one of.
func (m *Image) lookUpSingle(key string) (kv.Pair, bool) {
	switch key {
	case controllerKey:
		v := controllerValue{V: valueVersion, Broker: m.ControllerID, BrokerEpoch: m.ControllerBrokerEpoch}
		return kv.Pair{Key: key, Value: encode(v), CreateRevision: m.ControllerEpoch}, m.ControllerID != NoBroker
	case clusterIDKey:
		return kv.Pair{Key: key, Value: encode(clusterIDValue{V: valueVersion, ID: m.ClusterID})}, m.ClusterID != ""
	}
	return kv.Pair{}, false
}

func (m *Image) lookUpPartition(key string) (kv.Pair, bool) {
	rest, ok := strings.CutPrefix(key, partitionsPrefix)
	if !ok {
		return kv.Pair{}, false
	}
	id, number, ok := parsePartitionKey(rest)
	t := m.byID[id]
	if !ok || t == nil || int(number) >= len(t.all) || t.all[number].Revision == 0 {
		return kv.Pair{}, false
	}
	return kv.Pair{Key: key, Value: t.all[number].encode(), ModRevision: t.all[number].Revision}, true
}
