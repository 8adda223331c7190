package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/varvelog/varve/client"
	"github.com/varvelog/varve/protocol"
)

func TestPrintTierRebuild(t *testing.T) {
	found := client.TierRebuild{TopicPartition: tp("orders", 3), TierRebuild: protocol.TierRebuild{
		Manifest: "new", Changed: true, StartOffset: 10, EndOffset: 20, Segments: 2, Bytes: 2048,
		Skipped: []protocol.TierSkipped{{Manifest: "newest", Why: "a segment is missing"}},
	}}
	replaced, same := found, found
	replaced.Was = "old"
	same.Changed, same.Skipped = false, nil
	for _, q := range []struct {
		found  client.TierRebuild
		dryRun bool
		err    error
		want   string
	}{
		{found, true, nil, "orders:3: the pointer would name new with offsets 10..19, 2 segments, 2.0 KiB; there was none\nskipped newest: a segment is missing\n"},
		{replaced, false, nil, "orders:3: the pointer names new with offsets 10..19, 2 segments, 2.0 KiB; it was old\nskipped newest: a segment is missing\n"},
		{same, false, nil, "orders:3: nothing to do, the pointer names new with offsets 10..19, 2 segments, 2.0 KiB\n"},
		{found, false, errors.New("no"), "skipped newest: a segment is missing\n"},
	} {
		var out bytes.Buffer
		a := &app{streams: streams{out: &out}}
		if err := a.printTierRebuild(q.found, q.dryRun, q.err); err != nil || out.String() != q.want {
			t.Errorf("%v: got\n%swant\n%s", err, out.String(), q.want)
		}
	}
	var out bytes.Buffer
	a := &app{streams: streams{out: &out}, output: "json"}
	var row tierRebuildRow
	if err := errors.Join(a.printTierRebuild(found, true, nil), json.Unmarshal(out.Bytes(), &row)); err != nil {
		t.Fatal(err)
	}
	if row.Topic != "orders" || row.Partition != 3 || !row.DryRun || !row.Changed || row.Manifest != "new" || row.End != 20 || len(row.Skipped) != 1 {
		t.Errorf("JSON has %+v", row)
	}
}

func TestTierRebuildWantsAPartition(t *testing.T) {
	for _, args := range [][]string{{"tier", "rebuild"}, {"tier", "rebuild", "orders"}, {"tier", "rebuild", "a:0", "b:0"}} {
		if _, _, err := run(t, "", args...); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
