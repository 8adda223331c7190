package protocol

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTierRebuildTag(t *testing.T) {
	for _, r := range []TierRebuild{
		{Error: "no"},
		{Was: "a", Manifest: "b", Changed: true, StartOffset: 1, EndOffset: 1 << 40, Segments: 3, Bytes: 4, Skipped: []TierSkipped{{"c", "it is gone"}}},
	} {
		var tags kmsg.Tags
		r.Tag(&tags)
		if got, ok := ReadTierRebuild(&tags); !ok || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v became %+v", r, got)
		}
	}
	var tags kmsg.Tags
	if _, ok := ReadTierRebuild(&tags); ok {
		t.Error("no field says something")
	}
	TierRebuild{Error: strings.Repeat("é", 2000), Skipped: make([]TierSkipped, 50)}.Tag(&tags)
	got, ok := ReadTierRebuild(&tags)
	if !ok || len(got.Error) > maxTierSkippedText || strings.Contains(got.Error, "\ufffd") || len(got.Skipped) != maxTierSkipped {
		t.Errorf("a long answer became %d bytes of text and %d manifests", len(got.Error), len(got.Skipped))
	}
	tags.Set(10008, []byte("{"))
	if got, ok = ReadTierRebuild(&tags); ok || got.Error != "" {
		t.Errorf("a damaged field says %+v", got)
	}
}
