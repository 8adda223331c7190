package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/client"
)

// spread counts the replicas, or with leaders the preferred leaders, on the brokers that may have
// them.
func spread(in balanceInput, placed [][]int32, leaders bool) (counts map[int32]int, least, most int) {
	counts = map[int32]int{}
	for id := range in.Racks {
		counts[id] = 0
	}
	for _, replicas := range placed {
		if leaders {
			replicas = replicas[:1]
		}
		for _, id := range replicas {
			if _, ok := in.Racks[id]; ok {
				counts[id]++
			}
		}
	}
	sizes := slices.Sorted(maps.Values(counts))
	return counts, sizes[0], sizes[len(sizes)-1]
}

func placedNow(in balanceInput) [][]int32 {
	placed := make([][]int32, len(in.Partitions))
	for i, p := range in.Partitions {
		placed[i] = p.Replicas
	}
	return placed
}

func movedReplicas(in balanceInput, placed [][]int32) (n int) {
	for i, replicas := range placed {
		for _, id := range replicas {
			if !slices.Contains(in.Partitions[i].Replicas, id) {
				n++
			}
		}
	}
	return n
}

// rackSquares returns the crowding of one partition's racks, computed differently than in the code.
func rackSquares(racks map[int32]string, replicas []int32) (sum int) {
	perRack := map[string]int{}
	for _, id := range replicas {
		if rack, ok := racks[id]; ok {
			perRack[rack]++
		}
	}
	for _, n := range perRack {
		sum += n * n
	}
	return sum
}

// bestSquares returns the least crowding of n replicas: each is on the rack with the fewest
// replicas that has a free broker.
func bestSquares(racks map[int32]string, n int) (sum int) {
	room, used := map[string]int{}, map[string]int{}
	for _, rack := range racks {
		room[rack]++
	}
	for range n {
		best, found := "", false
		for rack := range room {
			if room[rack] > used[rack] && (!found || used[rack] < used[best]) {
				best, found = rack, true
			}
		}
		used[best]++
	}
	for _, u := range used {
		sum += u * u
	}
	return sum
}

// drawCluster draws brokers 0..n-1, some of them down and some to be removed, and topics with
// arbitrary replicas.
func drawCluster(t *rapid.T, racks int, down, removed bool) balanceInput {
	n := rapid.IntRange(2, 8).Draw(t, "brokers")
	in := balanceInput{Racks: map[int32]string{}, Remove: map[int32]bool{}}
	for id := range int32(n) {
		in.Racks[id] = fmt.Sprint(int(id) % racks)
		if racks > 1 {
			in.Racks[id] = fmt.Sprint(rapid.IntRange(0, racks-1).Draw(t, "rack"))
		}
	}
	all := slices.Sorted(maps.Keys(in.Racks))
	factor := rapid.IntRange(1, min(3, n)).Draw(t, "factor")
	for _, id := range all {
		if len(in.Racks) <= factor {
			break
		}
		switch what := rapid.IntRange(0, 9).Draw(t, "fate"); {
		case what == 0 && removed:
			in.Remove[id] = true
			delete(in.Racks, id)
		case what == 1 && down:
			delete(in.Racks, id)
		}
	}
	for topic := range rapid.IntRange(0, 4).Draw(t, "topics") {
		for p := range rapid.IntRange(1, 12).Draw(t, "partitions") {
			order := rapid.Permutation(all).Draw(t, "replicas")
			if rapid.Bool().Draw(t, "old") { // before brokers were added
				order = slices.DeleteFunc(order, func(id int32) bool { return int(id) >= max(factor, n-2) })
			}
			in.Partitions = append(in.Partitions, balancePartition{
				TopicPartition: client.TopicPartition{Topic: fmt.Sprint("t", topic), Partition: int32(p)},
				Replicas:       slices.Clone(order[:factor]), Fixed: rapid.IntRange(0, 30).Draw(t, "fixed") == 0,
			})
		}
	}
	return in
}

func checkSound(t *rapid.T, in balanceInput, placed [][]int32) {
	for i, replicas := range placed {
		p := in.Partitions[i]
		if len(replicas) != len(p.Replicas) {
			t.Fatalf("%s has %d replicas of %d", p.TopicPartition, len(replicas), len(p.Replicas))
		}
		seen := map[int32]bool{}
		for _, id := range replicas {
			if seen[id] {
				t.Fatalf("%s has two replicas on %d: %v", p.TopicPartition, id, replicas)
			}
			seen[id] = true
			if _, ok := in.Racks[id]; !ok && !slices.Contains(p.Replicas, id) {
				t.Fatalf("%s goes to broker %d, which is not there", p.TopicPartition, id)
			}
			if in.Remove[id] && !p.Fixed {
				t.Fatalf("%s stays on %d, which is to be removed", p.TopicPartition, id)
			}
		}
		for _, id := range p.Replicas {
			if _, live := in.Racks[id]; !live && !in.Remove[id] && !seen[id] {
				t.Fatalf("%s leaves %d, which is only down", p.TopicPartition, id)
			}
		}
		if p.Fixed && !slices.Equal(replicas, p.Replicas) {
			t.Fatalf("%s is fixed and changes to %v", p.TopicPartition, replicas)
		}
	}
}

// balanced returns the plan for a cluster that has one.
func balanced(t rapid.TB, in balanceInput) [][]int32 {
	t.Helper()
	placed, err := balance(in)
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

// TestBalanceIsSound: for any cluster the plan is sound, spreads over racks as well as possible,
// and a second balance changes nothing.
func TestBalanceIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawCluster(t, rapid.IntRange(1, 4).Draw(t, "racks"), true, true)
		placed := balanced(t, in)
		checkSound(t, in, placed)
		for i, replicas := range placed {
			p := in.Partitions[i]
			onLive := 0
			for _, id := range replicas {
				if _, live := in.Racks[id]; live {
					onLive++
				}
			}
			if got, want := rackSquares(in.Racks, replicas), bestSquares(in.Racks, onLive); !p.Fixed && got != want {
				t.Fatalf("%s: racks are crowded by %d, %d is possible: %v", p.TopicPartition, got, want, replicas)
			}
		}
		again := in
		again.Partitions = slices.Clone(in.Partitions)
		for i := range again.Partitions {
			again.Partitions[i].Replicas = placed[i]
		}
		twice := balanced(t, again)
		if !slices.EqualFunc(twice, placed, slices.Equal) {
			t.Fatalf("a second balance changes %v\nto %v", placed, twice)
		}
	})
}

// TestBalanceIsEvenAndMinimal: without racks the brokers end up equal, and no move is unnecessary.
func TestBalanceIsEvenAndMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawCluster(t, 1, false, false)
		for i := range in.Partitions {
			in.Partitions[i].Fixed = false
		}
		placed := balanced(t, in)
		checkSound(t, in, placed)
		if counts, least, most := spread(in, placed, false); most-least > 1 {
			t.Fatalf("replicas are uneven: %v", counts)
		}
		before, _, _ := spread(in, placedNow(in), false)
		total := 0
		for _, n := range before {
			total += n
		}
		low := total / len(before)
		high := (total + len(before) - 1) / len(before)
		excess, deficit := 0, 0
		for _, n := range before {
			excess += max(n-high, 0)
			deficit += max(low-n, 0)
		}
		if moved := movedReplicas(in, placed); moved > max(excess, deficit) {
			t.Fatalf("%d replicas move, %d would do: %v", moved, max(excess, deficit), before)
		}
	})
}

// TestBalanceRemovesWithFewMoves: removing a broker moves its replicas, and others only for equal
// numbers.
func TestBalanceRemovesWithFewMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawCluster(t, 1, false, true)
		for i := range in.Partitions {
			in.Partitions[i].Fixed = false
		}
		placed := balanced(t, in)
		checkSound(t, in, placed)
		if counts, least, most := spread(in, placed, false); most-least > 1 {
			t.Fatalf("replicas are uneven: %v", counts)
		}
		before, _, _ := spread(in, placedNow(in), false)
		total, removed := 0, 0
		for _, p := range in.Partitions {
			total += len(p.Replicas)
			for _, id := range p.Replicas {
				if in.Remove[id] {
					removed++
				}
			}
		}
		high, excess := (total+len(before)-1)/len(before), 0
		for _, n := range before {
			excess += max(n-high, 0)
		}
		// One move for each replica that must leave, and for each above the highest count. If the
		// brokers with room already have the partition, another replica has to move first: one move
		// more. One more for each broker that has to reach the lowest count.
		if moved := movedReplicas(in, placed); moved > 2*(removed+excess)+len(before) {
			t.Fatalf("%d replicas move; %d were to be removed and %d too many", moved, removed, excess)
		}
	})
}

// TestBalanceOverEqualRacks: racks of equal size do not keep brokers from being equal.
func TestBalanceOverEqualRacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		racks, per := rapid.IntRange(2, 3).Draw(t, "racks"), rapid.IntRange(1, 3).Draw(t, "per rack")
		in := balanceInput{Racks: map[int32]string{}}
		for id := range int32(racks * per) {
			in.Racks[id] = fmt.Sprint(int(id) % racks)
		}
		factor := rapid.IntRange(1, racks).Draw(t, "factor")
		all := slices.Sorted(maps.Keys(in.Racks))
		for p := range rapid.IntRange(1, 30).Draw(t, "partitions") {
			in.Partitions = append(in.Partitions, balancePartition{
				TopicPartition: client.TopicPartition{Topic: "t", Partition: int32(p)},
				Replicas:       rapid.Permutation(all).Draw(t, "replicas")[:factor:factor],
			})
		}
		placed := balanced(t, in)
		checkSound(t, in, placed)
		if counts, least, most := spread(in, placed, false); most-least > 1 {
			t.Fatalf("replicas are uneven: %v", counts)
		}
		for i, replicas := range placed {
			if rackSquares(in.Racks, replicas) != factor {
				t.Fatalf("partition %d shares a rack: %v", i, replicas)
			}
		}
	})
}

// TestBalanceEvensOutLeaders: leaders are as even as the replicas allow. No chain of changes could
// help the broker that leads most.
func TestBalanceEvensOutLeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawCluster(t, 1, false, false)
		for i := range in.Partitions {
			in.Partitions[i].Fixed = false
		}
		placed := balanced(t, in)
		counts, _, _ := spread(in, placed, true)
		for id := range counts {
			reach := []int32{id}
			for n := 0; n < len(reach); n++ {
				for _, replicas := range placed {
					for _, other := range replicas {
						if replicas[0] == reach[n] && !slices.Contains(reach, other) {
							reach = append(reach, other)
						}
					}
				}
			}
			for _, other := range reach {
				if counts[id]-counts[other] > 1 {
					t.Fatalf("%d leads %d, and %d, to which it could give, %d: %v", id, counts[id], other, counts[other], placed)
				}
			}
		}
	})
}

// TestBalanceFillsANewBroker: a broker that joins gets its share of every topic, and nothing else
// moves.
func TestBalanceFillsANewBroker(t *testing.T) {
	in := balanceInput{Racks: map[int32]string{1: "", 2: "", 3: "", 4: ""}}
	for _, topic := range []string{"a", "b"} {
		for p := range int32(8) {
			in.Partitions = append(in.Partitions, balancePartition{
				TopicPartition: client.TopicPartition{Topic: topic, Partition: p}, Replicas: []int32{p%3 + 1, (p+1)%3 + 1, (p+2)%3 + 1},
			})
		}
	}
	placed := balanced(t, in)
	perTopic := map[string]int{}
	for i, replicas := range placed {
		if slices.Contains(replicas, 4) {
			perTopic[in.Partitions[i].Topic]++
		}
	}
	if moved := movedReplicas(in, placed); moved != 12 || perTopic["a"] != 6 || perTopic["b"] != 6 {
		t.Errorf("%d replicas move, %v to the new broker; want 12, half of each topic", moved, perTopic)
	}
	if counts, least, most := spread(in, placed, true); least != 4 || most != 4 {
		t.Errorf("leaders are %v", counts)
	}
}

func TestBalanceSaysWhenBrokersAreTooFew(t *testing.T) {
	_, err := balance(balanceInput{
		Racks: map[int32]string{1: "", 2: ""}, Remove: map[int32]bool{3: true},
		Partitions: []balancePartition{{TopicPartition: client.TopicPartition{Topic: "t", Partition: 4}, Replicas: []int32{1, 2, 3}}},
	})
	if want := "t:4 has 3 replicas and only 2 brokers may hold them: add a broker, or give the topic fewer replicas"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBalanceMovesOnWhatMovesAnyway: a replica that moves anyway is moved again before one that
// need not move, even one whose topic is concentrated on the broker.
func TestBalanceMovesOnWhatMovesAnyway(t *testing.T) {
	s := newBalanceState(balanceInput{Racks: map[int32]string{1: "", 2: ""}, Partitions: []balancePartition{
		{TopicPartition: client.TopicPartition{Topic: "b"}, Replicas: []int32{1}},
		{TopicPartition: client.TopicPartition{Topic: "b", Partition: 1}, Replicas: []int32{1}},
		{TopicPartition: client.TopicPartition{Topic: "a"}, Replicas: []int32{4}},
	}})
	s.move(2, 4, 1)
	if i, ok := s.candidate(1, 2); !ok || i != 2 {
		t.Errorf("partition %d moves, %t; want 2", i, ok)
	}
}

// TestBalanceTakesBackStepsThatCrowdARack: steps that are sound one by one, but not together, are
// all undone.
func TestBalanceTakesBackStepsThatCrowdARack(t *testing.T) {
	s := newBalanceState(balanceInput{Racks: map[int32]string{1: "a", 2: "b", 3: "c", 4: "c"}, Partitions: []balancePartition{
		{TopicPartition: client.TopicPartition{Topic: "t"}, Replicas: []int32{1, 2}},
	}})
	if s.walk([]step{{0, 1, 3}, {0, 2, 4}}) || !slices.Equal(s.replicas[0], []int32{1, 2}) {
		t.Errorf("the replicas are %v", s.replicas[0])
	}
	if want := map[int32]int{1: 1, 2: 1, 3: 0}; !maps.Equal(s.count, want) {
		t.Errorf("the counts are %v", s.count)
	}
}
