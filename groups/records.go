package groups

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

// Versions of the keys, which tell what a record is about, and the versions that
// values are written in: what Kafka 4 writes.
const (
	keyOffsetV0 = 0
	keyOffset   = 1
	keyGroup    = 2

	valueOffset           = 3
	valueOffsetWithExpiry = 1 // the only one that has an expiry time
	valueGroup            = 3

	maxValueOffset = 4
	maxValueGroup  = 4
)

var errMalformed = errors.New("malformed record")

// committedOffset is what a group keeps about a partition.
type committedOffset struct {
	offset      int64
	leaderEpoch int32 // -1: unknown
	metadata    string
	committed   int64 // ms
	expires     int64 // ms; -1: by the broker's retention
}

func offsetKey(groupID, topic string, partition int32) []byte {
	k := kmsg.NewOffsetCommitKey()
	k.Version, k.Group, k.Topic, k.Partition = keyOffset, groupID, topic, partition
	return k.AppendTo(nil)
}

func offsetRecord(groupID, topic string, partition int32, o committedOffset) coordinator.Record {
	v := kmsg.NewOffsetCommitValue()
	v.Version = valueOffset
	v.Offset, v.LeaderEpoch, v.Metadata, v.CommitTimestamp = o.offset, o.leaderEpoch, o.metadata, o.committed
	if o.expires >= 0 {
		v.Version, v.ExpireTimestamp = valueOffsetWithExpiry, o.expires
	}
	return coordinator.Record{Key: offsetKey(groupID, topic, partition), Value: v.AppendTo(nil)}
}

func offsetTombstone(groupID, topic string, partition int32) coordinator.Record {
	return coordinator.Record{Key: offsetKey(groupID, topic, partition)}
}

func groupKey(groupID string) []byte {
	k := kmsg.NewGroupMetadataKey()
	k.Version, k.Group = keyGroup, groupID
	return k.AppendTo(nil)
}

func groupTombstone(groupID string) coordinator.Record {
	return coordinator.Record{Key: groupKey(groupID)}
}

// groupRecord is the group as it is now; every member has a subscription for the
// chosen protocol.
func groupRecord(g *classicGroup) coordinator.Record {
	v := kmsg.NewGroupMetadataValue()
	v.Version = valueGroup
	v.ProtocolType, v.Generation, v.Protocol, v.CurrentStateTimestamp = g.protocolType, g.generation, g.protocol, g.since
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.ordered() {
		vm := kmsg.NewGroupMetadataValueMember()
		vm.MemberID, vm.InstanceID, vm.ClientID, vm.ClientHost = m.id, m.instanceID, m.clientID, m.clientHost
		vm.RebalanceTimeoutMillis, vm.SessionTimeoutMillis = millis(m.rebalanceTimeout), millis(m.sessionTimeout)
		vm.Subscription, vm.Assignment = m.metadata(g.protocol), m.assignment
		v.Members = append(v.Members, vm)
	}
	return coordinator.Record{Key: groupKey(g.id), Value: v.AppendTo(nil)}
}

// Apply changes the state by one record of the log. Records of group types that
// are not served here are ignored: the keys' versions set them apart.
func (s *shard) Apply(r coordinator.Record) error {
	if len(r.Key) < 2 {
		return fmt.Errorf("%w: key of %d bytes", errMalformed, len(r.Key))
	}
	switch version := int16(binary.BigEndian.Uint16(r.Key)); version {
	case keyOffsetV0, keyOffset:
		return s.applyOffset(r)
	case keyGroup:
		return s.applyGroup(r)
	default:
		return nil
	}
}

func (s *shard) applyOffset(r coordinator.Record) error {
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(r.Key); err != nil {
		return fmt.Errorf("%w: offset key: %w", errMalformed, err)
	}
	if r.Value == nil {
		s.deleteOffset(k.Group, k.Topic, k.Partition)
		return nil
	}
	var v kmsg.OffsetCommitValue
	if err := readValue(r.Value, maxValueOffset, v.ReadFrom); err != nil {
		return fmt.Errorf("offset of %s-%d in group %q: %w", k.Topic, k.Partition, k.Group, err)
	}
	o := committedOffset{offset: v.Offset, leaderEpoch: -1, metadata: v.Metadata, committed: v.CommitTimestamp, expires: -1}
	if v.Version >= 3 {
		o.leaderEpoch = v.LeaderEpoch
	}
	if v.Version == valueOffsetWithExpiry && v.ExpireTimestamp >= 0 {
		o.expires = v.ExpireTimestamp
	}
	if _, ok := s.groups[k.Group]; !ok {
		s.put(k.Group, newClassicGroup(k.Group, -1)) // of a consumer without membership
	}
	s.setOffset(k.Group, k.Topic, k.Partition, o)
	return nil
}

func (s *shard) applyGroup(r coordinator.Record) error {
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(r.Key); err != nil {
		return fmt.Errorf("%w: group key: %w", errMalformed, err)
	}
	if r.Value == nil {
		s.remove(k.Group)
		return nil
	}
	var v kmsg.GroupMetadataValue
	if err := readValue(r.Value, maxValueGroup, v.ReadFrom); err != nil {
		return fmt.Errorf("group %q: %w", k.Group, err)
	}
	s.put(k.Group, groupFromRecord(k.Group, &v))
	return nil
}

// readValue decodes a value of a version that is known.
func readValue(value []byte, most int16, read func([]byte) error) error {
	if len(value) < 2 {
		return fmt.Errorf("%w: value of %d bytes", errMalformed, len(value))
	}
	if version := int16(binary.BigEndian.Uint16(value)); version < 0 || version > most {
		return fmt.Errorf("%w: value has unknown version %d", errMalformed, version)
	}
	if err := read(value); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// groupFromRecord is the group as it was written: empty, or stable.
func groupFromRecord(id string, v *kmsg.GroupMetadataValue) *classicGroup {
	g := newClassicGroup(id, v.CurrentStateTimestamp)
	g.generation, g.protocolType, g.protocol = v.Generation, v.ProtocolType, v.Protocol
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	for i := range v.Members {
		vm := &v.Members[i]
		m := &member{
			id: vm.MemberID, instanceID: vm.InstanceID, clientID: vm.ClientID, clientHost: vm.ClientHost,
			rebalanceTimeout: fromMillis(vm.RebalanceTimeoutMillis), sessionTimeout: fromMillis(vm.SessionTimeoutMillis),
			assignment: bytes.Clone(vm.Assignment),
		}
		if vm.RebalanceTimeoutMillis < 0 {
			m.rebalanceTimeout = m.sessionTimeout // records of version 0 do not have it
		}
		if v.Protocol != nil {
			m.protocols = []protocol{{name: *v.Protocol, metadata: bytes.Clone(vm.Subscription)}}
		}
		g.add(m)
	}
	if len(g.members) > 0 {
		g.state = stable
	}
	g.computeTopics()
	return g
}
