package metadata

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/metadata/kv"
)

// failer is a test of package testing or rapid.
type failer interface {
	Fatalf(format string, args ...any)
}

// checkScan compares the result of scanPartition, if any, with that of encoding/json.
func checkScan(t failer, value []byte) (scanned bool) {
	got, ok := scanPartition(value)
	if !ok {
		return false
	}
	want, err := decode[partitionValue](kv.Pair{Value: value})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nscanned %+v\ndecoded %+v, %v", value, got, want, err)
	}
	return true
}

// TestScannedPartitionIsTheDecodedOne: every value that this build writes is scanned, with the same
// result as decode. Values that are nearly right are never misread.
func TestScannedPartitionIsTheDecodedOne(t *testing.T) {
	ids := rapid.SliceOfN(rapid.Int32(), 1, 5)
	some := rapid.SliceOfN(rapid.Int32(), 0, 3)
	epochs := rapid.SliceOfN(rapid.Int64Range(-1, 1e17), 1, 5)
	dirs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) DirectoryID {
		return DirectoryID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "directory"))
	}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		v := partitionValue{
			V: 1, Replicas: ids.Draw(t, "replicas"), ISR: ids.Draw(t, "isr"), ISREpochs: epochs.Draw(t, "epochs"), ISRDirs: dirs.Draw(t, "dirs"),
			Adding: some.Draw(t, "adding"), Removing: some.Draw(t, "removing"),
			ELR: some.Draw(t, "elr"), ELREpochs: epochs.Draw(t, "elr epochs"), ELRDirs: dirs.Draw(t, "elr dirs"),
			Leader: rapid.Int32().Draw(t, "leader"), LeaderEpoch: rapid.Int32().Draw(t, "epoch"), LeaderBrokerEpoch: rapid.Int64Range(0, 1e17).Draw(t, "broker epoch"),
			UncleanEpoch: rapid.Int32().Draw(t, "unclean"), LossyEpoch: rapid.Int32().Draw(t, "lossy"), PartitionEpoch: rapid.Int32().Draw(t, "partition epoch"), CreatedMs: rapid.Int64Range(0, 1e17).Draw(t, "created"),
		}
		value := encode(v)
		if appended := appendPartition(nil, &v); !bytes.Equal(appended, value) {
			t.Fatalf("appended\n%s\nencoded\n%s", appended, value)
		}
		if !checkScan(t, value) {
			t.Fatalf("not scanned: %s", value)
		}
		at := rapid.IntRange(0, len(value)-1).Draw(t, "at")
		value[at] = rapid.SampledFrom([]byte(`0129-"{}[],:.e \x`)).Draw(t, "byte")
		checkScan(t, value)
		checkScan(t, value[:at])
	})
}

func TestScanLeavesToJSONWhatItDoesNotKnow(t *testing.T) {
	for _, value := range []string{
		``, `{}`, `{"v":2}`, `{"v":1,"more":1}`, `{"v":1,"v":1}`, `{"V":1}`, `{"v": 1}`, `{"v":1} `, `{"v":1}}`, `{"v":1,}`, `{"v":01}`, `{"v":1.0}`, `{"v":1e0}`,
		`{"v":-}`, `{"v":1,"leader":2147483648}`, `{"v":1,"created_ms":1000000000000000000}`, `{"v":1,"isr":null}`, `{"v":1,"isr":[1,]}`, `{"v":1,"isr":[,1]}`,
		`{"v":1,"isr":[1`, `{"v":1,"isr_dirs":["x"]}`, `{"v":1,"isr_dirs":[1]}`, `{"v":1,"isr_dirs":["`, `{"v":1,"isr_dirs":[`, `[1]`, `null`,
	} {
		if v, ok := scanPartition([]byte(value)); ok {
			t.Errorf("%s is read as %+v", value, v)
		}
	}
}

func FuzzScanPartition(f *testing.F) {
	f.Add([]byte(`{"v":1,"replicas":[1,2],"isr":[1],"isr_epochs":[5],"isr_dirs":["AQAAAAAAAAAAAAAAAAAAAA"],"leader":1,"leader_epoch":0,"leader_broker_epoch":5,"partition_epoch":0,"created_ms":1}`))
	f.Add([]byte(`{"v":1,"more":{}}`))
	f.Fuzz(func(t *testing.T, value []byte) { checkScan(t, value) })
}

// BenchmarkDecodePartition measures the cost of reading one changed partition.
func BenchmarkDecodePartition(b *testing.B) {
	p := Partition{
		Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}, ISREpochs: []int64{100, 200, 300}, ISRDirectories: []DirectoryID{{1}, {2}, {3}},
		Leader: 1, LeaderBrokerEpoch: 100,
	}
	pair := kv.Pair{Key: "partitions/x/1", Value: p.encode(), ModRevision: 5}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodePartition(pair); err != nil {
			b.Fatal(err)
		}
	}
}
