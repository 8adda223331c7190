package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// good returns a history of two producers and a reader, and its log. One append failed but took
// effect; another one failed without effect.
func good() (*partitionHistory, []recordID) {
	p := &partitionHistory{
		appends: []appended{
			{recordID{1, 0}, 0, 10, 0},
			{recordID{2, 0}, 1, 9, 1},
			{recordID{1, 1}, 11, never, -1}, // is at 2
			{recordID{1, 2}, 12, never, -1}, // is not in the log
			{recordID{2, 1}, 20, 30, 3},
			{recordID{1, 3}, 21, 29, 4},
		},
		reads: map[int64]seen{0: {recordID{1, 0}, 5}, 1: {recordID{2, 0}, 12}, 2: {recordID{1, 1}, 25}, 3: {recordID{2, 1}, 25}},
	}
	return p, []recordID{{1, 0}, {2, 0}, {1, 1}, {2, 1}, {1, 3}}
}

// TestCheckerFindsWhatIsWrong plants one fault after another in a correct history. The checker must
// find each.
func TestCheckerFindsWhatIsWrong(t *testing.T) {
	for name, plant := range map[string]func(p *partitionHistory, log *[]recordID){
		"":                   func(*partitionHistory, *[]recordID) {},
		"lost":               func(_ *partitionHistory, log *[]recordID) { *log = (*log)[:4] },
		"duplicated":         func(_ *partitionHistory, log *[]recordID) { *log = append(*log, recordID{1, 1}) },
		"re-ordered":         func(_ *partitionHistory, log *[]recordID) { *log = append(*log, recordID{1, 2}) },
		"moved":              func(_ *partitionHistory, log *[]recordID) { (*log)[3], (*log)[4] = (*log)[4], (*log)[3] },
		"invented":           func(_ *partitionHistory, log *[]recordID) { *log = append(*log, recordID{3, 0}) },
		"vanished: record 4": func(p *partitionHistory, _ *[]recordID) { p.reads[5] = seen{recordID{1, 4}, 40} },
		"vanished: record 2": func(p *partitionHistory, _ *[]recordID) { p.reads[2] = seen{recordID{1, 2}, 40} },
		// It was read before it was sent.
		"was read at 19ns": func(p *partitionHistory, _ *[]recordID) { p.reads[3] = seen{recordID{2, 1}, 19} },
		// It was acknowledged before the preceding record was sent.
		"is at offset 1, behind": func(p *partitionHistory, _ *[]recordID) {
			p.appends[0].call, p.reads = 9, map[int64]seen{}
			p.appends[1].ret = 8
		},
	} {
		p, log := good()
		plant(p, &log)
		err := p.check(log)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("planted %q, found %v", name, err)
		}
	}
	deleted, log := good()
	if err := deleted.checkFrom(2, log[2:]); err != nil {
		t.Errorf("what was before the log's start is missed: %v", err)
	}
	if err := deleted.checkFrom(2, log[3:]); err == nil {
		t.Error("a record behind the log's start is not missed")
	}
	h := newHistory()
	h.read(0, recordID{1, 0}, 0, -1)
	h.read(0, recordID{1, 1}, 0, -1)
	h.read(0, recordID{1, 3}, 3, 1)
	err := h.check(map[int32][]recordID{0: {{1, 0}}})
	for _, want := range []string{"partition 0", "offset 0 was read as", "was at offset 1 was given offset 3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of two readers that disagree, and one that skips: %v, want %q", err, want)
		}
	}
}

// A logOp is an operation of the model for porcupine.
type logOp struct {
	kind   string // append or read a record, or look at all of the log
	id     recordID
	offset int64
	all    string
}

// entry is the representation of a record in the state.
func entry(id recordID, offset int64) string { return fmt.Sprintf("%d:%v;", offset, id) }

// logModel is a partition's log. Its state is the log as a string.
var logModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		log, op := state.(string), input.(logOp)
		switch op.kind {
		case "read":
			return strings.Contains(log, entry(op.id, op.offset)), log
		case "all":
			return log == op.all, log
		}
		return int64(strings.Count(log, ";")) == op.offset, log + entry(op.id, op.offset)
	},
}

// porcupineSays returns porcupine's verdict. A failed append that is not in the log had no effect.
func porcupineSays(p *partitionHistory, log []recordID) bool {
	at := map[recordID]int64{}
	for i, id := range log {
		at[id] = int64(i)
	}
	var ops []porcupine.Operation
	for i, a := range p.appends {
		is, there := at[a.id]
		if a.ret == never && !there {
			continue
		}
		if a.ret == never {
			a.offset = is
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: logOp{kind: "append", id: a.id, offset: a.offset}, Call: int64(a.call), Return: int64(a.ret)})
	}
	// Only the end of a read is known: it may have begun at any time before.
	for offset, r := range p.reads {
		ops = append(ops, porcupine.Operation{ClientId: len(ops) + len(p.appends), Input: logOp{kind: "read", id: r.id, offset: offset}, Call: 0, Return: int64(r.at)})
	}
	var all strings.Builder
	for i, id := range log {
		all.WriteString(entry(id, int64(i)))
	}
	ops = append(ops, porcupine.Operation{ClientId: 0, Input: logOp{kind: "all", all: all.String()}, Call: int64(never) - 1, Return: int64(never)})
	return porcupine.CheckOperations(logModel, ops)
}

// TestCheckerAgreesWithPorcupine draws small histories, most of them with impossible times or
// offsets. The checker and porcupine must agree on each.
func TestCheckerAgreesWithPorcupine(t *testing.T) {
	verdicts := map[bool]int{}
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 0))
		p := &partitionHistory{reads: map[int64]seen{}}
		var log []recordID
		for i := range 2 + random.IntN(6) {
			// Each append has a producer of its own: porcupine does not check the order within one.
			a := appended{id: recordID{i, 0}, call: instant(2*i + random.IntN(4)), offset: int64(len(log))}
			a.ret = a.call + instant(random.IntN(8))
			kept := true
			if random.IntN(4) == 0 {
				a.ret, a.offset, kept = never, -1, random.IntN(2) == 0
			}
			p.appends = append(p.appends, a)
			if kept {
				log = append(log, a.id)
			}
		}
		for i, id := range log {
			if random.IntN(2) == 0 {
				p.reads[int64(i)] = seen{id, instant(2*i + random.IntN(14))}
			}
		}
		if len(log) > 1 {
			switch i := random.IntN(len(log) - 1); random.IntN(8) {
			case 0: // swapped after the appends
				log[i], log[i+1] = log[i+1], log[i]
			case 1: // lost
				log = log[:i+1]
			}
		}
		ours, theirs := p.check(log), porcupineSays(p, log)
		if (ours == nil) != theirs {
			t.Fatalf("seed %d: the checker says %v, porcupine that it is right is %v\nappends %+v\nreads %+v\nlog %+v", seed, ours, theirs, p.appends, p.reads, log)
		}
		verdicts[theirs]++
	}
	if verdicts[true] < 300 || verdicts[false] < 300 {
		t.Errorf("the histories are too much alike: %v", verdicts)
	}
}
