package containers

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Written records must move to the bucket and leave the brokers' disks. A consumer that starts at
// the beginning must read all of them, and so must kcat.
func TestTieringReachesTheBucket(t *testing.T) {
	needsEngine(t)
	const topic, records = "layers", 60000 // of 99 bytes: more than five segments
	c := startCluster(t)
	client := newClient(t, c.bootstrap)
	segment := "1048576"
	createTopic(t, client, topic, 1, brokers, map[string]*string{"segment.bytes": &segment, "local.retention.bytes": &segment})
	produceSome(t, client, topic, records)

	eventually(t, "segments are in the bucket and gone from the leader's disk", func() error {
		objects, bytesThere := 0, int64(0)
		for info, err := range c.bucket.List(t.Context(), "") {
			if err != nil {
				return err
			}
			objects++
			bytesThere += info.Size
		}
		if objects < 4 || bytesThere < 4<<20 {
			return fmt.Errorf("%d objects of %d bytes", objects, bytesThere)
		}
		local, err := kadm.NewClient(client).ListLocalLogStartOffsets(t.Context(), topic)
		if err != nil {
			return err
		}
		if start, ok := local.Lookup(topic, 0); !ok || start.Err != nil || start.Offset == 0 {
			return fmt.Errorf("the local log begins at %d: %w", start.Offset, errors.Join(start.Err))
		}
		return nil
	})
	for i, r := range readTo(t, c.bootstrap, topic, 0, records) {
		if want := fmt.Sprintf("%099d", i); string(r.Value) != want {
			t.Fatalf("offset %d has %q", i, r.Value)
		}
	}

	t.Run("kcat", func(t *testing.T) {
		if _, err := exec.LookPath("kcat"); err != nil {
			t.Skip("kcat is not on this machine")
		}
		bootstrap := strings.Join(c.bootstrap, ",")
		read := exec.CommandContext(t.Context(), "kcat", "-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-c", fmt.Sprint(records), "-q")
		out, err := read.Output()
		if err != nil || bytes.Count(out, []byte("\n")) != records || !bytes.HasPrefix(out, fmt.Appendf(nil, "%099d\n", 0)) {
			t.Fatalf("kcat read %d lines: %v", bytes.Count(out, []byte("\n")), err)
		}
		write := exec.CommandContext(t.Context(), "kcat", "-b", bootstrap, "-P", "-t", topic, "-X", "acks=all")
		write.Stdin = strings.NewReader("from kcat\n")
		if out, err = write.CombinedOutput(); err != nil {
			t.Fatalf("kcat: %v\n%s", err, out)
		}
		last := readTo(t, c.bootstrap, topic, 0, records+1)[records]
		if string(last.Value) != "from kcat" {
			t.Errorf("kcat wrote %q", last.Value)
		}
	})
}
