package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/record"
)

// TestEtcdIsRestored restores etcd from a backup that is older than a topic, under running brokers,
// and then restarts the brokers. They need not serve, but acknowledged records must stay on their
// disks, so that an operator can recover them.
func TestEtcdIsRestored(t *testing.T) {
	etcd, nats, dir := freeAddress(t), freeAddress(t), t.TempDir()
	runNATS(t, nats)
	live, backup := filepath.Join(dir, "live"), filepath.Join(dir, "backup")
	stop := runEtcd(t, live, etcd)
	brokers := startExternal(t, etcd, nats)
	for _, p := range brokers {
		p.args = append(p.args, "--set", "log.segment.delete.delay.ms=0")
	}
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	createPlaced(t, client, "older", [][]int32{{1, 2, 3}}, "remote.storage.enable", "false")
	stop()
	if err := os.CopyFS(backup, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	stop = runEtcd(t, live, etcd)
	createPlaced(t, client, "later", [][]int32{{1, 2, 3}, {2, 3, 1}}, "remote.storage.enable", "false")
	l := startLoad(t, "later", 2, 1, 0, 200, 100, everywhere...)
	l.progress(time.Minute, "before the restore")
	allInSync(t, admin, "later", 3)
	l.stop()
	stop()
	runEtcd(t, backup, etcd)
	// In this time a broker that believed the backup would delete the logs missing from it.
	waitFor(t, 3*time.Second)
	together(brokers, func(p *process) { p.kill9(t) })
	together(brokers, func(p *process) { p.launch(t) })
	waitFor(t, 5*time.Second)
	together(brokers, func(p *process) { p.kill9(t) })
	for _, p := range brokers {
		if missing, acknowledged := l.missing(recordsBelow(t, p.dataDir)); missing > 0 {
			t.Errorf("broker %s does not have %d of %d acknowledged records any more", p.bootstrap, missing, acknowledged)
		}
	}
}

// found are the records that were found, by partition.
type found map[int32]map[recordID]bool

// missing counts the acknowledged records that were not found.
func (l *load) missing(f found) (missing, acknowledged int) {
	l.history.mu.Lock()
	defer l.history.mu.Unlock()
	for number, p := range l.history.partitions {
		for _, a := range p.appends {
			if a.ret == never {
				continue
			}
			acknowledged++
			if !f[number][a.id] {
				missing++
			}
		}
	}
	return missing, acknowledged
}

// partitionPath matches the files in the directory of a partition of the topic, even while it is
// being deleted.
var partitionPath = regexp.MustCompile(`/later-(\d+)[^/]*/[^/]*\.log`)

// recordsBelow returns the records in all segments of the topic below a data directory.
func recordsBelow(t *testing.T, dataDir string) found {
	t.Helper()
	all := found{}
	err := filepath.WalkDir(dataDir, func(name string, e fs.DirEntry, err error) error {
		match := partitionPath.FindStringSubmatch(name)
		if err != nil || e.IsDir() || match == nil {
			return err
		}
		number, err := strconv.ParseInt(match[1], 10, 32)
		if err != nil {
			return err
		}
		if all[int32(number)] == nil {
			all[int32(number)] = map[recordID]bool{}
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return collect(content, all[int32(number)])
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// collect adds the records of a segment.
func collect(segment []byte, into map[recordID]bool) (err error) {
	for len(segment) > 0 {
		var batch record.Batch
		if batch, segment, err = record.Split(segment); err != nil {
			return err
		}
		for r, recordErr := range batch.Records() {
			if recordErr != nil {
				return recordErr
			}
			id, decodeErr := decodeRecord(r.Value)
			if decodeErr != nil {
				return decodeErr
			}
			into[id] = true
		}
	}
	return nil
}
