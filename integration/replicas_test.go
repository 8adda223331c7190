package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/record"
)

// checkReplicas is check on every replica: when nothing is written any more and all replicas are in sync, their files have the same batches, and the
// history holds for these.
func (l *load) checkReplicas(brokers []*process, admin *kadm.Client) {
	l.t.Helper()
	logs := sameLogs(l.t, brokers, admin, l.topic)
	ids := map[int32][]recordID{}
	total := 0
	for p, log := range logs {
		decoded, err := decodeLog(log)
		if err != nil {
			l.t.Fatalf("%s:%d: %v", l.topic, p, err)
		}
		ids[p] = decoded
		total += len(decoded)
	}
	all, _ := l.history.acknowledged()
	l.t.Logf("%s: %d records acknowledged, %d in the log of every replica, %d lost", l.topic, all, total, l.history.lost(ids))
	if err := l.history.check(ids); err != nil {
		l.t.Errorf("the history cannot be:\n%v", err)
	}
}

// lost counts the records that were acknowledged and are not at their offset.
func (h *history) lost(logs map[int32][]recordID) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for number, p := range h.partitions {
		log := logs[number]
		for _, a := range p.appends {
			if a.ret != never && (a.offset >= int64(len(log)) || log[a.offset] != a.id) {
				n++
			}
		}
	}
	return n
}

// sameLogs are the bytes of each partition of a topic, which every one of its replicas must come to have.
func sameLogs(t *testing.T, brokers []*process, admin *kadm.Client, topic string) map[int32][]byte {
	t.Helper()
	topics, err := admin.ListTopics(t.Context(), topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	same := map[int32][]byte{}
	for number, p := range topics[topic].Partitions {
		partition := fmt.Sprintf("%s-%d", topic, number)
		var logs [][]byte
		var parted error
		agree := func() bool {
			logs, parted = nil, nil
			for _, replica := range p.Replicas {
				log, readErr := logOnDisk(brokers[replica-1].dataDir, partition)
				if readErr == nil && len(logs) > 0 && !bytes.Equal(log, logs[0]) {
					at := parting(log, logs[0])
					readErr = fmt.Errorf("broker %d has %d bytes, broker %d %d bytes, and they part at byte %d", replica, len(log), p.Replicas[0], len(logs[0]), at)
				}
				parted = errors.Join(parted, readErr)
				logs = append(logs, log)
			}
			return parted == nil
		}
		if !holdsWithin(20*time.Second, agree) {
			t.Errorf("the replicas of %s differ: %v", partition, parted)
		}
		same[number] = logs[0]
	}
	return same
}

// holdsWithin is eventually for a caller that has more to say.
func holdsWithin(within time.Duration, condition func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// logOnDisk are the batches of a partition below a data directory, which must begin at offset 0. Without a directory there are none.
func logOnDisk(dataDir, partition string) (all []byte, err error) {
	var files []string
	err = filepath.WalkDir(dataDir, func(name string, e fs.DirEntry, walkErr error) error {
		if errors.Is(walkErr, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if walkErr == nil && !e.IsDir() && filepath.Ext(name) == ".log" && filepath.Base(filepath.Dir(name)) == partition {
			files = append(files, name)
		}
		return walkErr
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for i, name := range files {
		if base, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64); i == 0 && base != 0 {
			return nil, fmt.Errorf("%s: the log does not begin at 0", name)
		}
		content, readErr := os.ReadFile(name)
		if readErr != nil {
			return nil, readErr
		}
		all = append(all, content...)
	}
	return all, nil
}

// decodeLog are the records of batches that begin at offset 0 and have no gaps.
func decodeLog(log []byte) (ids []recordID, err error) {
	for len(log) > 0 {
		var batch record.Batch
		if batch, log, err = record.Split(log); err != nil {
			return nil, err
		}
		if err = batch.Check(); err != nil {
			return nil, err
		}
		for r, recordErr := range batch.Records() {
			if recordErr != nil {
				return nil, recordErr
			}
			id, decodeErr := decodeRecord(r.Value)
			if decodeErr != nil || r.Offset != int64(len(ids)) {
				return nil, fmt.Errorf("offset %d follows %d: %.30q, %w", r.Offset, len(ids)-1, r.Value, decodeErr)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}
