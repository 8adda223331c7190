package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/varvelog/varve/client"
)

// balancePartition is one partition in the input of a balance.
type balancePartition struct {
	client.TopicPartition
	Replicas []int32 // the preferred leader first
	// Fixed means that no replica can be moved: without a leader there is nothing to copy from.
	Fixed bool
}

// balanceInput is the whole input of a balance.
type balanceInput struct {
	// Racks are the brokers that may get replicas, with their racks. Any other broker that is not
	// in Remove is down and expected back: its replicas stay on it and do not count.
	Racks      map[int32]string
	Remove     map[int32]bool // brokers that must end without replicas
	Partitions []balancePartition
}

// balance moves replicas until the numbers of replicas on the brokers differ by at most one, and
// then chooses preferred leaders in the same way. It returns the new replicas of each partition, in
// the order of the input. It is a pure function of the input.
//
//   - B1. No partition has two replicas on one broker, more or fewer replicas than before, or a
//     replica on a broker of Remove unless the partition is fixed.
//   - B2. The replicas of a partition are spread over racks as well as possible, and never worse
//     than before.
//   - B3. No replica moves unless B1, B2 or equal numbers require it. Of the candidates it prefers
//     a replica whose topic is most concentrated on its broker.
//   - B4. Leaders are evened out without moving replicas.
func balance(in balanceInput) ([][]int32, error) {
	s := newBalanceState(in)
	if err := s.empty(in.Remove); err != nil {
		return nil, err
	}
	s.spreadRacks()
	for s.shift() {
	}
	for s.shiftLeader() {
	}
	return s.replicas, nil
}

// balanceState is a balance in progress.
type balanceState struct {
	in       balanceInput
	brokers  []int32   // the keys of in.Racks, sorted
	replicas [][]int32 // by partition
	count    map[int32]int
	on       map[int32]map[int]bool   // the partitions of each broker
	topics   map[int32]map[string]int // how many partitions of a topic each broker has
}

func newBalanceState(in balanceInput) *balanceState {
	s := &balanceState{
		in: in, brokers: slices.Sorted(maps.Keys(in.Racks)), replicas: make([][]int32, len(in.Partitions)),
		count: map[int32]int{}, on: map[int32]map[int]bool{}, topics: map[int32]map[string]int{},
	}
	for _, id := range s.brokers {
		s.on[id], s.topics[id] = map[int]bool{}, map[string]int{}
	}
	for i, p := range in.Partitions {
		s.replicas[i] = slices.Clone(p.Replicas)
		for _, id := range p.Replicas {
			s.add(i, id, 1)
		}
	}
	return s
}

func (s *balanceState) has(i int, id int32) bool { return slices.Contains(s.replicas[i], id) }

func (s *balanceState) add(i int, id int32, n int) {
	if _, counted := s.in.Racks[id]; !counted {
		return
	}
	s.count[id] += n
	s.topics[id][s.in.Partitions[i].Topic] += n
	if n > 0 {
		s.on[id][i] = true
	} else {
		delete(s.on[id], i)
	}
}

// move replaces the replica on from by one on to, in the same position.
func (s *balanceState) move(i int, from, to int32) {
	s.replicas[i][slices.Index(s.replicas[i], from)] = to
	s.add(i, from, -1)
	s.add(i, to, 1)
}

// crowding returns how unevenly a partition's replicas are spread over racks if from were replaced
// by to: the sum of the squares of the numbers of replicas in each rack. Brokers that are down have
// no known rack and are left out.
func (s *balanceState) crowding(i int, from, to int32) int {
	var room [8]string // crowding is called so often that a map would cost seconds
	racks, sum := room[:0], 0
	for _, id := range s.replicas[i] {
		if id == from {
			id = to
		}
		rack, known := s.in.Racks[id]
		if !known {
			continue
		}
		sum++
		for _, other := range racks {
			if other == rack {
				sum += 2
			}
		}
		racks = append(racks, rack)
	}
	return sum
}

const noBroker int32 = -1

// empty moves the replicas off the brokers that must end without any.
func (s *balanceState) empty(remove map[int32]bool) error {
	for i := range s.replicas {
		if s.in.Partitions[i].Fixed {
			continue
		}
		for _, from := range s.in.Partitions[i].Replicas {
			if !remove[from] {
				continue
			}
			to := s.roomiest(i, from)
			if to == noBroker {
				return fmt.Errorf("%s has %d replicas and only %s may hold them: add a broker, or give the topic fewer replicas",
					s.in.Partitions[i].TopicPartition, len(s.replicas[i]), plural(int64(len(s.brokers)), "broker"))
			}
			s.move(i, from, to)
		}
	}
	return nil
}

// roomiest returns the best broker to replace from: of those that leave the racks least crowded,
// the one with the fewest replicas.
func (s *balanceState) roomiest(i int, from int32) int32 {
	best := noBroker
	rank := func(id int32) int {
		return cmp.Or(s.crowding(i, from, id)-s.crowding(i, from, best), s.count[id]-s.count[best])
	}
	for _, id := range s.brokers {
		if !s.has(i, id) && (best == noBroker || rank(id) < 0) {
			best = id
		}
	}
	return best
}

// spreadRacks moves replicas out of racks that have too many replicas of their partition.
func (s *balanceState) spreadRacks() {
	for i := range s.replicas {
		for !s.in.Partitions[i].Fixed {
			now := s.crowding(i, noBroker, noBroker)
			bestFrom, bestTo := noBroker, noBroker
			rank := func(from, to int32) int {
				return cmp.Or(s.crowding(i, from, to)-s.crowding(i, bestFrom, bestTo), (s.count[to]-s.count[from])-(s.count[bestTo]-s.count[bestFrom]))
			}
			for _, from := range s.replicas[i] {
				if _, live := s.in.Racks[from]; !live {
					continue
				}
				for _, to := range s.brokers {
					if s.has(i, to) || s.crowding(i, from, to) >= now {
						continue
					}
					if bestTo == noBroker || rank(from, to) < 0 {
						bestFrom, bestTo = from, to
					}
				}
			}
			if bestTo == noBroker {
				break
			}
			s.move(i, bestFrom, bestTo)
		}
	}
}

// step is the move of one partition's replica, or of its leadership, between two brokers.
type step struct {
	partition int
	from, to  int32
}

// shift moves one replica from a broker to one that has at least two fewer. If racks do not allow a
// direct move, it moves a chain of replicas over brokers in between. It returns false when the
// brokers are even.
func (s *balanceState) shift() bool {
	for _, from := range s.fullest(s.count) {
		path := s.path(s.count, from, s.candidate)
		if path == nil {
			continue
		}
		if s.walk(path) {
			return true
		}
	}
	return false
}

// fullest returns the brokers in descending order of count.
func (s *balanceState) fullest(count map[int32]int) []int32 {
	order := slices.Clone(s.brokers)
	slices.SortStableFunc(order, func(a, b int32) int { return count[b] - count[a] })
	return order
}

// path returns the shortest chain of steps, last step first, from a broker to one with a count at
// least two lower; of these it takes the one with the lowest count. next returns the partition that
// can move from one broker to another.
func (s *balanceState) path(count map[int32]int, start int32, next func(from, to int32) (partition int, ok bool)) []step {
	order := s.fullest(count)
	emptiest := order[len(order)-1]
	if count[start]-count[emptiest] < 2 {
		return nil
	}
	if partition, ok := next(start, emptiest); ok { // nearly always
		return []step{{partition, start, emptiest}}
	}
	came := map[int32]step{start: {}}
	for level := []int32{start}; len(level) > 0; {
		var reached []int32
		for _, from := range level {
			for _, to := range s.brokers {
				if _, seen := came[to]; seen {
					continue
				}
				if partition, ok := next(from, to); ok {
					came[to] = step{partition, from, to}
					reached = append(reached, to)
				}
			}
		}
		end := slices.MinFunc(append(reached, start), func(a, b int32) int { return count[a] - count[b] })
		if count[start]-count[end] >= 2 {
			var path []step
			for at := end; at != start; at = came[at].from {
				path = append(path, came[at])
			}
			return path
		}
		level = reached
	}
	return nil
}

// walk takes the steps of a path, from its end to its start. If a step is not possible or would
// crowd a rack after the others, it undoes all of them and returns false.
func (s *balanceState) walk(path []step) bool {
	for n, at := range path {
		if s.has(at.partition, at.to) || !s.has(at.partition, at.from) || !s.allowed(at.partition, at.from, at.to) {
			for _, done := range slices.Backward(path[:n]) {
				s.move(done.partition, done.to, done.from)
			}
			return false
		}
		s.move(at.partition, at.from, at.to)
	}
	return true
}

func (s *balanceState) allowed(i int, from, to int32) bool {
	return s.crowding(i, from, to) <= s.crowding(i, noBroker, noBroker)
}

// candidate picks the partition to move from one broker to another. It prefers a replica that
// undoes or extends a move already in the plan, then one whose topic is most concentrated on from,
// then one that from does not lead.
func (s *balanceState) candidate(from, to int32) (partition int, ok bool) {
	rank := func(i int) [4]int {
		original, topic := s.in.Partitions[i].Replicas, s.in.Partitions[i].Topic
		cost, leads := 0, 0
		if slices.Contains(original, from) {
			cost++
		}
		if slices.Contains(original, to) {
			cost--
		}
		if s.replicas[i][0] == from {
			leads = 1
		}
		return [4]int{cost, s.topics[to][topic] - s.topics[from][topic], leads, i}
	}
	var best [4]int
	for i := range s.on[from] {
		if s.in.Partitions[i].Fixed || s.has(i, to) || !s.allowed(i, from, to) {
			continue
		}
		if r := rank(i); !ok || slices.Compare(r[:], best[:]) < 0 {
			best, ok = r, true
		}
	}
	return best[3], ok
}

// shiftLeader changes preferred leaders, so that one broker is preferred once less and a broker
// with at least two fewer once more. A partition whose preferred leader is down keeps it.
func (s *balanceState) shiftLeader() bool {
	count, led := map[int32]int{}, map[int32][]int{}
	for i, replicas := range s.replicas {
		if _, live := s.in.Racks[replicas[0]]; live {
			count[replicas[0]]++
			if !s.in.Partitions[i].Fixed {
				led[replicas[0]] = append(led[replicas[0]], i)
			}
		}
	}
	next := func(from, to int32) (int, bool) {
		at := slices.IndexFunc(led[from], func(i int) bool { return s.has(i, to) })
		if at < 0 {
			return 0, false
		}
		return led[from][at], true
	}
	for _, from := range s.fullest(count) {
		if path := s.path(count, from, next); path != nil {
			// all steps are for different partitions: a partition has one leader
			for _, at := range path {
				s.prefer(at.partition, at.to)
			}
			return true
		}
	}
	return false
}

// prefer moves a replica to the front and keeps the order of the others.
func (s *balanceState) prefer(i int, id int32) {
	at := slices.Index(s.replicas[i], id)
	s.replicas[i] = slices.Insert(slices.Delete(s.replicas[i], at, at+1), 0, id)
}
