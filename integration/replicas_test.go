package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/record"
)

// checkReplicas is check on every replica. When nothing is written any more and all replicas are in
// sync, their files must have the same batches, and the history must hold for these. Records below
// the given offsets (0 by default) may have been deleted.
func (l *load) checkReplicas(brokers []*process, admin *kadm.Client, deleted map[int32]int64) {
	l.t.Helper()
	ids, lost, total := map[int32][]recordID{}, 0, 0
	for number, log := range sameLogs(l.t, brokers, admin, l.topic) {
		decoded, start, err := decodeLog(log)
		if err == nil && start > deleted[number] {
			err = fmt.Errorf("the log begins at %d and was cut to %d", start, deleted[number])
		}
		if err != nil {
			l.t.Errorf("%s:%d: %v", l.topic, number, err)
			continue
		}
		ids[number] = decoded[min(deleted[number]-start, int64(len(decoded))):]
		lost += l.history.lost(number, deleted[number], ids[number])
		total += len(decoded)
	}
	all, _ := l.history.acknowledged()
	l.t.Logf("%s: %d records acknowledged, %d in the log of every replica, %d lost", l.topic, all, total, lost)
	if err := l.history.checkFrom(deleted, ids); err != nil {
		l.t.Errorf("the history of %s cannot be:\n%v", l.topic, err)
	}
}

// lost counts the records of a partition that were acknowledged and not deleted, but are not at
// their offset.
func (h *history) lost(number int32, start int64, log []recordID) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.partition(number).appends {
		if a.ret != never && a.offset >= start && (a.offset-start >= int64(len(log)) || log[a.offset-start] != a.id) {
			n++
		}
	}
	return n
}

// sameLogs returns the bytes of each partition of a topic, from the highest log start among its
// replicas. All replicas must eventually agree on them.
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
		var parted error
		if !holdsWithin(time.Minute, func() bool { same[number], parted = sameLog(brokers, p.Replicas, partition); return parted == nil }) {
			t.Errorf("the replicas of %s differ: %v", partition, parted)
		}
	}
	return same
}

// sameLog compares the files of the replicas and returns those of the replica with the highest log
// start.
func sameLog(brokers []*process, replicas []int32, partition string) (same []byte, parted error) {
	logs := make([][]byte, len(replicas))
	for i, replica := range replicas {
		var err error
		if logs[i], err = logOnDisk(brokers[replica-1].dataDir, partition); err != nil {
			return nil, fmt.Errorf("broker %d: %w", replica, err)
		}
		if i == 0 || len(logs[i]) > 0 && (len(same) == 0 || record.Batch(logs[i]).BaseOffset() > record.Batch(same).BaseOffset()) {
			same = logs[i]
		}
	}
	for i, log := range logs {
		if !bytes.HasSuffix(log, same) || len(log) > 0 && len(same) == 0 {
			parted = errors.Join(parted, fmt.Errorf("broker %d has %d bytes that do not end with the %d of another replica; they part at byte %d",
				replicas[i], len(log), len(same), parting(log, same)))
		}
	}
	return same, parted
}

// holdsWithin is eventually for a caller that reports the failure itself.
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

// logOnDisk returns the batches of a partition below a data directory. It returns none if there is
// no directory.
func logOnDisk(dataDir, partition string) (all []byte, err error) {
	var files []string
	err = filepath.WalkDir(dataDir, func(name string, e fs.DirEntry, walkErr error) error {
		if errors.Is(walkErr, fs.ErrNotExist) {
			return nil // deleted since
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
	for _, name := range files {
		content, readErr := os.ReadFile(name)
		if readErr != nil {
			return nil, readErr
		}
		all = append(all, content...)
	}
	return all, nil
}

// decodeLog returns the records of batches without gaps, and the offset of the first.
func decodeLog(log []byte) (ids []recordID, start int64, err error) {
	if len(log) > 0 {
		start = record.Batch(log).BaseOffset()
	}
	for len(log) > 0 {
		var batch record.Batch
		if batch, log, err = record.Split(log); err != nil {
			return nil, start, err
		}
		if err = batch.Check(); err != nil {
			return nil, start, err
		}
		for r, recordErr := range batch.Records() {
			if recordErr != nil {
				return nil, start, recordErr
			}
			next := start + int64(len(ids))
			id, decodeErr := decodeRecord(r.Value)
			if decodeErr != nil {
				return nil, start, fmt.Errorf("offset %d: %.30q: %w", r.Offset, r.Value, decodeErr)
			}
			if r.Offset != next {
				return nil, start, fmt.Errorf("offset %d is where %d should be", r.Offset, next)
			}
			ids = append(ids, id)
		}
	}
	return ids, start, nil
}
