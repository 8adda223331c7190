package metadata

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTopicIDPrintsAsKafkaDoes(t *testing.T) {
	// The UUID 01020304-0506-0708-090a-0b0c0d0e0f10 in Kafka's Uuid.toString.
	id := TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	if got := id.String(); got != "AQIDBAUGBwgJCgsMDQ4PEA" {
		t.Errorf("String = %q", got)
	}
	back, err := ParseTopicID(id.String())
	if err != nil || back != id {
		t.Errorf("ParseTopicID = %v, %v", back, err)
	}
}

func TestNewTopicIDIsAVersion4UUID(t *testing.T) {
	seen := map[TopicID]bool{}
	for range 1000 {
		id := NewTopicID()
		if id[6]>>4 != 4 || id[8]>>6 != 2 || id.IsZero() || seen[id] || strings.HasPrefix(id.String(), "-") {
			t.Fatalf("id %v", id)
		}
		seen[id] = true
	}
}

func TestParseTopicIDRefuses(t *testing.T) {
	for _, s := range []string{"", "AQIDBAUGBwgJCgsMDQ4PE", "AQIDBAUGBwgJCgsMDQ4PEAA", "AQIDBAUGBwgJCgsMDQ4PE=", "AQIDBAUGBwgJCgsMDQ4PE/", "AQIDBAUGBwgJCgsMDQ4PEB"} {
		if id, err := ParseTopicID(s); err == nil {
			t.Errorf("ParseTopicID(%q) = %v", s, id)
		}
	}
	var v topicValue
	if err := json.Unmarshal([]byte(`{"id":"x"}`), &v); err == nil {
		t.Error("a bad id in a value is accepted")
	}
}

func TestTopicPartitionString(t *testing.T) {
	if got := (TopicPartition{Topic: "a-b", Partition: 7}).String(); got != "a-b-7" {
		t.Error(got)
	}
}

func FuzzParseTopicID(f *testing.F) {
	f.Add("AQIDBAUGBwgJCgsMDQ4PEA")
	f.Add("00000000000000000000\r\r")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseTopicID(s); err == nil && id.String() != s {
			t.Fatalf("%q is another spelling of %s", s, id)
		}
	})
}
