package protocol

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestElectionTags(t *testing.T) {
	for _, e := range []Elections{{}, {Awaited: []int32{3, 70000}}, {UncleanEpoch: 9}, {Awaited: []int32{1}, UncleanEpoch: 2}} {
		var tags kmsg.Tags
		e.Tags(&tags)
		if got := ReadElections(&tags); fmt.Sprint(got) != fmt.Sprint(e) {
			t.Errorf("%+v became %+v", e, got)
		}
	}
	var tags kmsg.Tags
	Elections{Awaited: []int32{258}, UncleanEpoch: 5}.Tags(&tags)
	var bytes string
	tags.Each(func(tag uint32, value []byte) { bytes += fmt.Sprintf("%d:%x ", tag, value) })
	if bytes != "10005:00000102 10006:00000005 " {
		t.Errorf("the bytes are %s", bytes)
	}
	tags.Set(tagAwaited, []byte{1})
	tags.Set(tagUncleanEpoch, []byte{1, 2, 3})
	if got := ReadElections(&tags); len(got.Awaited) != 0 || got.UncleanEpoch != 0 {
		t.Errorf("damaged fields say %+v", got)
	}
}
