package coordinator_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/coordinator/coordinatortest"
	"github.com/varvelog/varve/record"
)

// slowLog loads when it is told to.
type slowLog struct {
	*coordinatortest.MemLog
	loads gate
}

func (l *slowLog) Load(ctx context.Context, partition int32, fn func(record.Batch) error) error {
	if err := l.loads.wait(ctx); err != nil {
		return err
	}
	return l.MemLog.Load(ctx, partition, fn)
}

// reelect has the partition loaded again.
func (w *world) reelect(epoch int32) {
	w.log.SetEpoch(0, epoch)
	w.rt.Elected(0, epoch)
	synctest.Wait()
}

func TestLoadReadsTheWholeLog(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		for i := range 10 {
			w.do(add("a", 1))
			w.do(add("b", 1))
			if i%2 == 0 {
				w.do(add("b", -1)) // a tombstone
			}
		}
		w.do(add("c", 1))
		w.do(add("c", -1))
		want := w.live().values
		w.reelect(2)
		if !maps.Equal(w.live().values, want) || w.made.Load() != 2 {
			t.Errorf("loaded %v, want %v", w.live().values, want)
		}
		if err := w.log.Compact(0, false); err != nil {
			t.Fatal(err)
		}
		w.reelect(3)
		if !maps.Equal(w.live().values, want) || w.made.Load() != 3 {
			t.Errorf("loaded %v from the compacted log, want %v", w.live().values, want)
		}
	})
}

func TestWhileLoading(t *testing.T) {
	loads := make(gate)
	inBubble(t, func(o *coordinator.Options[*counters]) {
		loads = make(gate)
		o.Log = &slowLog{MemLog: o.Log.(*coordinatortest.MemLog), loads: loads}
	}, func(w *world) {
		t := w.t
		w.fails(get("a"), coordinator.ErrLoading)
		w.rt.Post(0, arm("posted", 0))
		loads <- errors.New("the log cannot be read") // is tried again
		synctest.Wait()
		w.fails(get("a"), coordinator.ErrLoading)
		loads <- nil
		synctest.Wait()
		if len(w.live().ticks) != 1 {
			t.Error("what was posted while loading was not done")
		}
		w.do(add("a", 1))

		w.rt.Elected(0, 2)
		synctest.Wait()
		w.rt.Resigned(0) // in the middle of the load
		w.fails(get("a"), coordinator.ErrNotCoordinator)
		w.rt.Post(0, arm("lost", 0))
		w.log.SetEpoch(0, 3)
		w.rt.Elected(0, 3)
		loads <- nil
		synctest.Wait()
		if v := w.do(get("a")); v != 1 {
			t.Errorf("a is %v, want 1", v)
		}
	})
}

func TestLoadsAreBounded(t *testing.T) {
	loads := make(gate)
	inBubble(t, func(o *coordinator.Options[*counters]) {
		loads = make(gate)
		o.Log = &slowLog{MemLog: o.Log.(*coordinatortest.MemLog), loads: loads}
		o.LoadConcurrency = 2
	}, func(w *world) {
		t := w.t
		for p := int32(1); p < 6; p++ {
			w.rt.Elected(p, 0)
		}
		synctest.Wait()
		waiting := 0
		for {
			select {
			case loads <- nil:
				waiting++
				continue
			default:
			}
			break
		}
		if waiting != 2 {
			t.Errorf("%d partitions were loading at a time, want 2", waiting)
		}
		close(loads)
		synctest.Wait()
		if n := len(w.rt.Partitions()); n != 6 {
			t.Errorf("%d partitions", n)
		}
	})
}

// unreadableLog cannot read one partition, whose disk is gone say.
type unreadableLog struct {
	*coordinatortest.MemLog
	partition int32
}

func (l *unreadableLog) Load(ctx context.Context, partition int32, fn func(record.Batch) error) error {
	if partition == l.partition {
		return errors.New("the disk is gone")
	}
	return l.MemLog.Load(ctx, partition, fn)
}

func TestUnreadableLogDoesNotKeepOthersFromLoading(t *testing.T) {
	inBubble(t, func(o *coordinator.Options[*counters]) {
		o.Log = &unreadableLog{MemLog: o.Log.(*coordinatortest.MemLog), partition: 1}
		o.LoadConcurrency = 1
	}, func(w *world) {
		w.rt.Elected(1, 0)
		synctest.Wait()
		w.rt.Elected(2, 0)
		synctest.Wait()
		_, broken := w.rt.Submit(1, get("a"))
		_, fine := w.rt.Submit(2, get("a"))
		if !errors.Is(broken, coordinator.ErrLoading) || fine != nil {
			w.t.Errorf("partition 1: %v, partition 2: %v", broken, fine)
		}
	})
}

func TestLoadSkipsWhatIsNotState(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		w.do(add("a", 1))
		for _, b := range []*record.Builder{
			{LeaderEpoch: 1, Control: true},
			{LeaderEpoch: 1, Transactional: true, HasProducer: true, ProducerID: 1},
			{LeaderEpoch: 1}, // a value that is no number
		} {
			value := []byte("7")
			if !b.Control && !b.Transactional {
				value = []byte("seven")
			}
			b.Append(1, []byte("a"), value)
			batch, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			if _, err = w.log.Append(t.Context(), 0, batch); err != nil {
				t.Fatal(err)
			}
		}
		w.do(add("b", 1))
		w.reelect(2)
		if want := map[string]int{"a": 1, "b": 1}; !maps.Equal(w.live().values, want) {
			t.Errorf("loaded %v, want %v", w.live().values, want)
		}
	})
}

func TestTimersOfOneElectionEndWithIt(t *testing.T) {
	inBubble(t, nil, func(w *world) {
		t := w.t
		w.do(arm("x", time.Second))
		w.reelect(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.live().ticks) != 0 {
			t.Errorf("ticks: %v", w.live().ticks)
		}
	})
}
