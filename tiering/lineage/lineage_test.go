package lineage

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/storage"
)

// history is the leader epoch of each record of a partition, from an offset on.
type history struct {
	start  int64
	epochs []int32
}

func (h history) end() int64 { return h.start + int64(len(h.epochs)) }

// slice returns the part of a history from one offset to another.
func (h history) slice(from, to int64) history {
	return history{from, slices.Clone(h.epochs[from-h.start : to-h.start])}
}

// entries returns the epochs as the leader epoch cache has them.
func (h history) entries() (out []storage.EpochEntry) {
	for i, e := range h.epochs {
		if i == 0 || e != h.epochs[i-1] {
			out = append(out, storage.EpochEntry{Epoch: e, StartOffset: h.start + int64(i)})
		}
	}
	return out
}

func (h history) at(offset int64) (int32, bool) {
	if offset < h.start || offset >= h.end() {
		return 0, false
	}
	return h.epochs[offset-h.start], true
}

func (h history) tier() Tier { return Tier{Start: h.start, End: h.end(), Epochs: h.entries()} }

func (h history) log() Log {
	return Log{Start: h.start, LocalStart: h.start, End: h.end(), Epochs: h.entries()}
}

// drawEpochs draws n records of ascending epochs, all of them even or all of them odd.
func drawEpochs(rt *rapid.T, label string, n int, first, parity int32) []int32 {
	out := make([]int32, n)
	epoch := 2*first + parity
	for i := range out {
		epoch += 2 * rapid.SampledFrom([]int32{0, 0, 0, 1, 2}).Draw(rt, label)
		out[i] = epoch
	}
	return out
}

// TestRepairs compares logs and tiers of one partition that have lost a beginning or an end, or
// that an unclean leader has continued. It checks the relation against a look at every offset. Then
// it does what the relation asks for, and compares again.
func TestRepairs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		whole := history{0, drawEpochs(rt, "epoch", rapid.IntRange(0, 20).Draw(rt, "records"), 0, 0)}
		offset := func(label string, from, to int64) int64 { return rapid.Int64Range(from, to).Draw(rt, label) }
		tierStart := offset("tier start", 0, whole.end())
		tier := whole.slice(tierStart, offset("tier end", tierStart, whole.end()))
		// The log has some of the history, followed by other records.
		kept := offset("kept", 0, whole.end())
		local := whole.slice(0, kept)
		if own := rapid.IntRange(0, 5).Draw(rt, "own"); own > 0 {
			local.epochs = append(local.epochs, drawEpochs(rt, "own epoch", own, offset32(local), 1)...)
		}
		local = local.slice(offset("log start", 0, local.end()), local.end())

		got := Compare(tier.tier(), local.log())
		want := compareEach(tier, local)
		if got != want {
			rt.Fatalf("tier %v, log %v: %+v, want %+v", tier, local, got, want)
		}
		if len(tier.epochs) > 0 {
			last := tier.epochs[len(tier.epochs)-1]
			if ContinuesFrom(tier.end(), last, local.log()) && got.Kind != Continues {
				rt.Fatalf("tier %v, log %v: it continues, and %+v", tier, local, got)
			}
		}
		switch got.Kind {
		case Completed:
			local = tier
		case Diverged:
			tier = tier.slice(tier.start, got.At)
		case Holed, Continues:
			return
		}
		if again := Compare(tier.tier(), local.log()); again.Kind == Completed || again.Kind == Diverged {
			rt.Fatalf("after %+v tier %v, log %v: %+v", got, tier, local, again)
		}
	})
}

func offset32(h history) int32 {
	if len(h.epochs) == 0 {
		return 0
	}
	return (h.epochs[len(h.epochs)-1] + 1) / 2
}

func compareEach(tier, local history) Relation {
	for o := tier.start; o < tier.end(); o++ {
		theirs, _ := tier.at(o)
		if ours, has := local.at(o); has && ours != theirs {
			return Relation{Diverged, o}
		}
	}
	if local.end() < tier.end() {
		return Relation{Completed, local.end()}
	}
	return Relation{Continues, tier.end()}
}

// TestRelations checks the cases that doc.go draws, and those of a log whose beginning is
// only in the tier.
func TestRelations(t *testing.T) {
	epochs := func(pairs ...int64) (out []storage.EpochEntry) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, storage.EpochEntry{Epoch: int32(pairs[i]), StartOffset: pairs[i+1]})
		}
		return out
	}
	tier := Tier{Start: 0, End: 8, Epochs: epochs(1, 0, 2, 5)}
	for _, c := range []struct {
		name string
		tier Tier
		log  Log
		want Relation
	}{
		{"more", tier, Log{End: 11, Epochs: epochs(1, 0, 2, 5, 3, 9)}, Relation{Continues, 8}},
		{"more, and the beginning in the tier", tier, Log{LocalStart: 6, End: 11, Epochs: epochs(1, 0, 2, 5)}, Relation{Continues, 8}},
		{"all but the end in the tier", tier, Log{LocalStart: 8, End: 8, Epochs: epochs(1, 0, 2, 5)}, Relation{Continues, 8}},
		{"an empty disk", tier, Log{}, Relation{Completed, 0}},
		{"a lost tail", tier, Log{End: 5, Epochs: epochs(1, 0)}, Relation{Completed, 5}},
		{"an unclean leader", tier, Log{End: 7, Epochs: epochs(1, 0, 3, 5)}, Relation{Diverged, 5}},
		{"an unclean leader that has grown", tier, Log{End: 70, Epochs: epochs(1, 0, 3, 5)}, Relation{Diverged, 5}},
		{"an empty disk that has grown", tier, Log{End: 70, Epochs: epochs(3, 0)}, Relation{Diverged, 0}},
		{"a hole", tier, Log{LocalStart: 10, End: 11, Epochs: epochs(1, 0, 2, 5)}, Relation{Holed, 8}},
		{"a lost pointer", Tier{}, Log{LocalStart: 10, End: 11, Epochs: epochs(1, 0, 2, 5)}, Relation{Holed, 0}},
		{"never tiered", Tier{}, Log{End: 11, Epochs: epochs(1, 0)}, Relation{Continues, 0}},
		{"deleted before it was tiered", Tier{}, Log{Start: 10, LocalStart: 10, End: 11, Epochs: epochs(1, 10)}, Relation{Continues, 0}},
		{"all of the tier has expired", Tier{Start: 8, End: 8}, Log{Start: 8, LocalStart: 8, End: 9, Epochs: epochs(2, 8)}, Relation{Continues, 8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Compare(c.tier, c.log); got != c.want {
				t.Errorf("%v at %d, want %v at %d", got.Kind, got.At, c.want.Kind, c.want.At)
			}
		})
	}
}

func TestContinuesFrom(t *testing.T) {
	log := Log{LocalStart: 4, End: 9, Epochs: []storage.EpochEntry{{Epoch: 1, StartOffset: 2}, {Epoch: 3, StartOffset: 6}}}
	for _, c := range []struct {
		end   int64
		epoch int32
		want  bool
	}{
		{9, 3, true}, {10, 3, false}, {7, 3, true}, {6, 1, true}, {6, 3, false}, {7, 1, false}, {4, 1, true}, {3, 1, false}, {2, 0, false},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			if got := ContinuesFrom(c.end, c.epoch, log); got != c.want {
				t.Errorf("%t", got)
			}
		})
	}
}
