package groups

import (
	"bytes"
	"encoding/hex"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
)

func emptyShard() *shard {
	return newShard(DefaultConfig(), newMetrics(nil), slog.New(slog.DiscardHandler))
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are laid out by hand from the schemas of Kafka's OffsetCommitKey,
// OffsetCommitValue, GroupMetadataKey and GroupMetadataValue.
func TestRecordsAreKafkas(t *testing.T) {
	instance, protocolName := "i", "range"
	g := newClassicGroup("g", 0x1122)
	g.protocolType, g.generation, g.protocol = "consumer", 7, &protocolName
	g.add(&member{
		id: "m", instanceID: &instance, clientID: "c", clientHost: "/h", rebalanceTimeout: time.Second, sessionTimeout: 2 * time.Second,
		protocols: []protocol{{name: "range", metadata: []byte{1}}}, assignment: []byte{2, 3},
	})
	for name, c := range map[string]struct {
		record     coordinator.Record
		key, value string
	}{
		"offset": {
			offsetRecord("g", "t", 5, committedOffset{offset: 9, leaderEpoch: 4, metadata: "x", committed: 0x0102, expires: -1}),
			"0001 0001 67 0001 74 00000005",
			"0003 0000000000000009 00000004 0001 78 0000000000000102",
		},
		"offset with expiry": {
			offsetRecord("g", "t", 5, committedOffset{offset: 9, leaderEpoch: 4, committed: 0x0102, expires: 0x0304}),
			"0001 0001 67 0001 74 00000005",
			"0001 0000000000000009 0000 0000000000000102 0000000000000304",
		},
		"group": {
			groupRecord(g),
			"0002 0001 67",
			"0003 0008 636f6e73756d6572 00000007 0005 72616e6765 0001 6d 0000000000001122 00000001" +
				"0001 6d 0001 69 0001 63 0002 2f68 000003e8 000007d0 00000001 01 00000002 0203",
		},
		"empty group": {
			groupRecord(newClassicGroup("g", -1)),
			"0002 0001 67",
			"0003 0000 00000000 ffff ffff ffffffffffffffff 00000000",
		},
	} {
		if !bytes.Equal(c.record.Key, unhex(t, c.key)) || !bytes.Equal(c.record.Value, unhex(t, c.value)) {
			t.Errorf("%s: got %x = %x", name, c.record.Key, c.record.Value)
		}
	}
	if r := groupTombstone("g"); r.Value != nil || !bytes.Equal(r.Key, unhex(t, "0002 0001 67")) {
		t.Errorf("group tombstone: %x = %x", r.Key, r.Value)
	}
	if r := offsetTombstone("g", "t", 5); r.Value != nil || !bytes.Equal(r.Key, unhex(t, "0001 0001 67 0001 74 00000005")) {
		t.Errorf("offset tombstone: %x = %x", r.Key, r.Value)
	}
}

func TestAllValueVersionsAreRead(t *testing.T) {
	for version := range int16(maxValueOffset + 1) {
		v := kmsg.NewOffsetCommitValue()
		v.Version, v.Offset, v.LeaderEpoch, v.Metadata, v.CommitTimestamp, v.ExpireTimestamp = version, 9, 4, "x", 100, 200
		s := emptyShard()
		if err := s.Apply(coordinator.Record{Key: offsetKey("g", "t", 1), Value: v.AppendTo(nil)}); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		want := committedOffset{offset: 9, leaderEpoch: -1, metadata: "x", committed: 100, expires: -1}
		if version >= 3 {
			want.leaderEpoch = 4
		}
		if version == 1 {
			want.expires = 200
		}
		if got := s.offsets["g"]["t"][1]; got != want {
			t.Errorf("version %d: got %+v, want %+v", version, got, want)
		}
	}
	for version := range int16(maxValueGroup + 1) {
		v := kmsg.NewGroupMetadataValue()
		v.Version, v.ProtocolType, v.Generation, v.Protocol, v.Leader, v.CurrentStateTimestamp = version, "consumer", 3, new("range"), new("m"), 50
		m := kmsg.NewGroupMetadataValueMember()
		m.MemberID, m.RebalanceTimeoutMillis, m.SessionTimeoutMillis, m.Subscription, m.Assignment = "m", 1000, 2000, []byte("s"), []byte("a")
		v.Members = []kmsg.GroupMetadataValueMember{m}
		s := emptyShard()
		if err := s.Apply(coordinator.Record{Key: groupKey("g"), Value: v.AppendTo(nil)}); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		g, _ := s.classic("g")
		got := g.members["m"]
		rebalance, since := time.Second, int64(50)
		if version == 0 {
			rebalance = 2 * time.Second // not in the record: the session timeout stands in
		}
		if version < 2 {
			since = -1
		}
		if g.state != stable || g.generation != 3 || g.leader != "m" || g.since != since || got.rebalanceTimeout != rebalance ||
			string(got.metadata(g.protocol)) != "s" || string(got.assignment) != "a" {
			t.Errorf("version %d: got %+v with member %+v", version, g, got)
		}
	}
}

func TestMalformedRecordsAreErrors(t *testing.T) {
	good := offsetRecord("g", "t", 5, committedOffset{offset: 9, expires: -1})
	goodGroup := groupRecord(newClassicGroup("g", 1))
	unknown := bytes.Clone(good.Value)
	unknown[1] = 99
	for name, r := range map[string]coordinator.Record{
		"no key":                  {Value: good.Value},
		"short key":               {Key: []byte{0}, Value: good.Value},
		"offset key cut off":      {Key: good.Key[:5], Value: good.Value},
		"offset value cut off":    {Key: good.Key, Value: good.Value[:10]},
		"offset value of 1 byte":  {Key: good.Key, Value: []byte{0}},
		"offset value is empty":   {Key: good.Key, Value: []byte{}},
		"unknown value version":   {Key: good.Key, Value: unknown},
		"negative value version":  {Key: good.Key, Value: []byte{0xff, 0xff}},
		"group key cut off":       {Key: goodGroup.Key[:3], Value: goodGroup.Value},
		"group value cut off":     {Key: goodGroup.Key, Value: goodGroup.Value[:7]},
		"group of too many to be": {Key: goodGroup.Key, Value: append(bytes.Clone(goodGroup.Value[:len(goodGroup.Value)-4]), 0x7f, 0xff, 0xff, 0xff)},
	} {
		s := emptyShard()
		if err := s.Apply(r); !errors.Is(err, errMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
		if len(s.groups)+len(s.offsets) != 0 {
			t.Errorf("%s: the state changed", name)
		}
	}
	s := emptyShard()
	other := coordinator.Record{Key: []byte{0, 3, 1, 2}, Value: []byte("a group of another type")}
	if err := s.Apply(other); err != nil {
		t.Errorf("records of other types are ignored, got %v", err)
	}
}

func TestTombstonesOfWhatIsNotThere(t *testing.T) {
	s := emptyShard()
	for _, r := range []coordinator.Record{
		offsetTombstone("g", "t", 1), groupTombstone("g"),
		offsetRecord("g", "t", 1, committedOffset{expires: -1}), offsetTombstone("g", "t", 2), offsetTombstone("g", "u", 1), offsetTombstone("g", "t", 1),
		groupTombstone("g"), groupTombstone("g"),
	} {
		if err := s.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.groups)+len(s.offsets) != 0 {
		t.Errorf("left: %v %v", s.groups, s.offsets)
	}
}

func FuzzApply(f *testing.F) {
	g := newClassicGroup("g", 3)
	g.add(&member{id: "m", assignment: []byte("a")})
	for _, r := range []coordinator.Record{
		offsetRecord("g", "t", 5, committedOffset{offset: 9, metadata: "x", expires: -1}),
		offsetRecord("g", "t", 5, committedOffset{expires: 7}), offsetTombstone("g", "t", 5), groupRecord(g), groupTombstone("g"),
	} {
		f.Add(r.Key, r.Value, r.Value == nil)
	}
	f.Fuzz(func(t *testing.T, key, value []byte, null bool) {
		if null {
			value = nil
		}
		s := emptyShard()
		if s.Apply(coordinator.Record{Key: key, Value: value}) != nil {
			return
		}
		// What was read is written so that it reads as the same.
		again := emptyShard()
		for id, g := range s.groups {
			if err := again.Apply(groupRecord(g.(*classicGroup))); err != nil {
				t.Fatalf("group %q: %v", id, err)
			}
		}
		for id, topics := range s.offsets {
			for topic, partitions := range topics {
				for p, o := range partitions {
					if err := again.Apply(offsetRecord(id, topic, p, o)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		always := func(string) bool { return true }
		if a, b := s.view(always), again.view(always); !reflect.DeepEqual(a, b) {
			t.Fatalf("%v\nis read again as\n%v", a, b)
		}
	})
}
