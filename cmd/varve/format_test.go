package main

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFormat(t *testing.T) {
	full := &kgo.Record{
		Topic: "t", Partition: 2, Offset: 77, Timestamp: time.UnixMilli(1234), Key: []byte("k"), Value: []byte("v%sv"),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}, {Key: "c", Value: []byte{}}},
	}
	null := &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(0)}
	for _, c := range []struct {
		format string
		record *kgo.Record
		want   string
	}{
		{`%s\n`, full, "v%sv\n"},
		{`%t %p %o %k %s %T %h\n`, full, "t 2 77 k v%sv 1234 a=1,b=NULL,c=\n"},
		{`%K %S 100%%\x21`, full, "1 4 100%!"},
		{`%K:%k %S:%s`, null, "-1: -1:"},
		{``, full, ""},
		{`%s%s`, full, "v%svv%sv"},
	} {
		print, err := parseFormat(c.format)
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		if got, err := print([]byte("before|"), c.record); err != nil || string(got) != "before|"+c.want {
			t.Errorf("%s: got %q, %v, want %q", c.format, got, err, c.want)
		}
	}
}

func TestJSONRecord(t *testing.T) {
	got, err := printJSONRecord(nil, &kgo.Record{
		Topic: "t", Partition: 1, Offset: 5, Timestamp: time.UnixMilli(9), Value: []byte{0xff, 0}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}},
	})
	want := `{"topic":"t","partition":1,"offset":5,"timestamp":9,"key":null,"value":null,"value_base64":"/wA=","headers":[{"key":"h","value":"x"}]}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}
