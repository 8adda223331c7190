package storage

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// model is a log as a slice of batches, together with what the log has promised about them.
// model_ops_test.go has the operations, model_check_test.go the comparisons.
type model struct {
	t       *rapid.T
	k       *kit
	l       *Log
	cfg     Config
	batches []record.Batch // all batches in the log, from offset 0 on
	flushed int64
	epoch   int32
	start   int64
	// producerEpochs are the newest epochs in use, also by batches that are gone.
	producerEpochs map[int64]int16
}

// The first ids are clients' producers; transactions arrive from a leader.
const (
	modelProducers    = 3
	modelTxnProducers = 20 // and the next id
)

func (m *model) end() int64 {
	if len(m.batches) == 0 {
		return 0
	}
	return m.batches[len(m.batches)-1].NextOffset()
}

// from returns the batches from the one that contains offset on.
func (m *model) from(offset int64) []record.Batch {
	for i, b := range m.batches {
		if b.LastOffset() >= offset {
			return m.batches[i:]
		}
	}
	return nil
}

// newest returns a producer's newest data batch that is still on the disk.
func (m *model) newest(id int64) (record.Batch, bool) {
	for i := len(m.batches) - 1; i >= 0 && m.batches[i].BaseOffset() >= m.l.LocalStartOffset(); i-- {
		if b := m.batches[i]; b.HasProducer() && b.ProducerID() == id && !b.IsControl() {
			return b, true
		}
	}
	return nil, false
}

// modelTxn is a transaction. last is the offset of its marker, -1 while it is open.
type modelTxn struct {
	id          int64
	first, last int64
	aborted     bool
}

// txns returns all transactions, the oldest first.
func (m *model) txns() (txns []modelTxn) {
	open := map[int64]int{} // positions in txns, counted from 1
	for _, b := range m.batches {
		id := b.ProducerID()
		switch {
		case !b.IsTransactional():
		case b.IsControl():
			if i := open[id]; i > 0 {
				txns[i-1].last, txns[i-1].aborted = b.LastOffset(), isAbort(b)
			}
			open[id] = 0
		case open[id] == 0:
			txns = append(txns, modelTxn{id: id, first: b.BaseOffset(), last: -1})
			open[id] = len(txns)
		}
	}
	return txns
}

func isAbort(b record.Batch) bool {
	for r, err := range b.Records() {
		if err != nil {
			panic(err)
		}
		kind, err := record.ParseControlKey(r.Key)
		return err == nil && kind == record.ControlAbort
	}
	return false
}

// TestLogIsASliceOfBatches runs random histories, with crashes, against the model (S1 to S4).
// Compaction changes what a batch holds and has a model of its own: compaction_model_test.go.
func TestLogIsASliceOfBatches(t *testing.T) {
	t.Parallel()
	rounds := 1
	if long() {
		rounds = 30
	}
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) { runModel(t, rt) })
	}
}

func runModel(t *testing.T, rt *rapid.T) {
	t.Helper()
	m := &model{t: rt, epoch: 1, producerEpochs: map[int64]int16{}}
	k := newKit(t, vfs.NewMem(), func(c *Config) {
		c.SegmentMs = 1500
		c.RetentionBytes, c.RetentionMs = 12000, 10_000
		c.FileDeleteDelayMs = 100
		m.cfg = *c
	})
	m.drawConfig()
	k.options.Config = func(string) Config { return m.cfg }
	k.options.MaxOpenFiles = 4
	k.options.Dirs = []string{"/data", "/data2"}
	k.reopen()
	m.k, m.l = k, k.log()
	defer func() { _ = m.k.m.Close() }()
	step := func(f func()) func(*rapid.T) {
		return func(rt *rapid.T) { m.t = rt; f() }
	}
	rt.Repeat(map[string]func(*rapid.T){
		"append":     step(m.append),
		"append2":    step(m.append),
		"again":      step(m.again),
		"follow":     step(m.follow),
		"txn":        step(m.transact),
		"txn2":       step(m.transact),
		"read":       step(m.read),
		"truncate":   step(m.truncate),
		"beginAnew":  step(m.truncateFully),
		"retain":     step(m.retain),
		"deleteTo":   step(m.deleteRecords),
		"flush":      step(m.flush),
		"background": step(m.flushBackground),
		"config":     step(m.configure),
		"move":       step(m.move),
		"reopen":     step(m.reopen),
		"kill":       step(m.kill),
		"crash":      step(m.crash),
		"epoch":      step(func() { m.epoch++ }),
		"trash":      step(func() { m.k.m.env.emptyTrash(m.k.clock.Now()) }),
		"roll": step(func() {
			if err := m.l.Roll(); err != nil {
				m.t.Fatal(err)
			}
		}),
		"": step(m.check),
	})
}
