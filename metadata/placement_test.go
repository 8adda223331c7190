package metadata

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// inRacks returns brokers 0, 1, … in the given racks.
func inRacks(racks ...string) map[int32]Broker {
	brokers := map[int32]Broker{}
	for i, rack := range racks {
		brokers[int32(i)] = Broker{ID: int32(i), Rack: rack}
	}
	return brokers
}

// alive returns an image in which all brokers are live.
func alive(brokers map[int32]Broker) *Image { return &Image{Brokers: brokers, Known: brokers} }

func TestPlaceInTurn(t *testing.T) {
	got, err := place(alive(inRacks("", "", "")), 6, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	// The leaders begin at broker 1. The followers are the brokers after them, and begin one broker
	// later in the second round.
	want := "[[1 2] [2 0] [0 2] [1 0] [2 1] [0 1]]"
	if fmt.Sprint(got) != want {
		t.Errorf("placed %v, want %s", got, want)
	}
}

func TestPlaceIsBalancedAndSpreadOverRacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		racks := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 9).Draw(t, "racks")
		brokers := inRacks(racks...)
		n := rapid.Int32Range(1, 60).Draw(t, "n")
		factor := rapid.IntRange(1, len(brokers)).Draw(t, "factor")
		placed, err := place(alive(brokers), n, int16(factor), rapid.IntRange(0, 1000).Draw(t, "start"))
		if err != nil {
			t.Fatal(err)
		}
		distinct := slices.Clone(racks)
		slices.Sort(distinct)
		distinct = slices.Compact(distinct)
		leads := map[int32]int{}
		for _, replicas := range placed {
			if err = checkAssignment(brokers, replicas, factor); err != nil {
				t.Fatal(err)
			}
			leads[replicas[0]]++
			used := map[string]bool{}
			for _, id := range replicas {
				used[brokers[id].Rack] = true
			}
			if want := min(factor, len(distinct)); len(used) != want {
				t.Fatalf("%v is in %d racks, want %d", replicas, len(used), want)
			}
		}
		for id := range brokers {
			if l := leads[id]; l < int(n)/len(brokers) || l > (int(n)+len(brokers)-1)/len(brokers) {
				t.Fatalf("broker %d leads %d of %d partitions among %d brokers", id, l, n, len(brokers))
			}
		}
	})
}

func TestPlaceRefuses(t *testing.T) {
	for _, factor := range []int16{0, -1, 3} {
		if _, err := place(alive(inRacks("", "")), 1, factor, 0); !errors.Is(err, ErrInvalidReplicationFactor) {
			t.Errorf("factor %d: %v", factor, err)
		}
	}
	if _, err := place(&Image{Known: inRacks("")}, 1, 1, 0); !errors.Is(err, ErrInvalidReplicationFactor) {
		t.Errorf("no brokers: %v", err)
	}
}

func TestCheckAssignment(t *testing.T) {
	brokers := inRacks("", "", "")
	if err := checkAssignment(brokers, []int32{2, 0}, 2); err != nil {
		t.Error(err)
	}
	for _, replicas := range [][]int32{nil, {0}, {0, 0}, {0, 3}, {0, -1}} {
		if err := checkAssignment(brokers, replicas, 2); !errors.Is(err, ErrInvalidReplicaAssignment) {
			t.Errorf("%v: %v", replicas, err)
		}
	}
}

func TestPlaceAvoidsBrokersThatStop(t *testing.T) {
	brokers := inRacks("", "", "")
	brokers[1] = Broker{ID: 1, InControlledShutdown: true}
	placed, err := place(alive(brokers), 6, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, replicas := range placed {
		if slices.Contains(replicas, 1) {
			t.Errorf("placed %v", replicas)
		}
	}
	if placed, err = place(alive(brokers), 1, 3, 0); err != nil || len(placed[0]) != 3 {
		t.Errorf("with nobody else: %v, %v", placed, err)
	}
}

func TestPlaceTakesDeadBrokersOnlyIfItMust(t *testing.T) {
	known := inRacks("", "", "", "", "")
	image := &Image{Known: known, Brokers: map[int32]Broker{1: known[1], 3: {ID: 3, InControlledShutdown: true}}}
	for factor, want := range map[int16][]int32{1: {1}, 2: {1, 3}, 3: {0, 1, 3}, 5: {0, 1, 2, 3, 4}} {
		placed, err := place(image, 7, factor, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, replicas := range placed {
			if slices.Sort(replicas); !slices.Equal(replicas, want) {
				t.Errorf("factor %d: on %v, want %v", factor, replicas, want)
			}
		}
	}
	if _, err := place(image, 1, 6, 0); !errors.Is(err, ErrInvalidReplicationFactor) {
		t.Errorf("more than are known: %v", err)
	}
}

func TestCheckNewAssignment(t *testing.T) {
	known := inRacks("", "", "")
	image := &Image{Known: known, Brokers: map[int32]Broker{1: known[1]}}
	for _, replicas := range [][]int32{{1, 0}, {2, 1}} {
		if err := checkNewAssignment(image, replicas, 2); err != nil {
			t.Errorf("%v: %v", replicas, err)
		}
	}
	for _, replicas := range [][]int32{{0, 2}, {1, 3}} {
		if err := checkNewAssignment(image, replicas, 2); !errors.Is(err, ErrInvalidReplicaAssignment) {
			t.Errorf("%v: %v", replicas, err)
		}
	}
}
