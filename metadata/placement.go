package metadata

import (
	"fmt"
	"maps"
	"slices"
)

// place spreads n new partitions over brokers and returns their replicas, the preferred leader
// first. See candidates for the brokers that it uses. Each partition has a live one.
//
// The leaders take the brokers in turn, beginning at start, so that topics begin at different
// brokers. The followers take the brokers after the leader. After each full turn of the leaders,
// the followers begin one broker later, so that the partitions of one leader have different
// followers. Each replica is placed in a rack that has the fewest replicas of the partition.
func place(image *Image, n int32, factor int16, start int) ([][]int32, error) {
	if factor <= 0 {
		return nil, refuse(ErrInvalidReplicationFactor, "replication factor must be larger than 0, it is %d", factor)
	}
	if len(image.Brokers) == 0 {
		return nil, refuse(ErrInvalidReplicationFactor, "no broker is alive")
	}
	brokers := candidates(image, int(factor))
	order := alternateRacks(brokers)
	if int(factor) > len(order) {
		return nil, refuse(ErrInvalidReplicationFactor,
			"the target replication factor of %d cannot be reached because only %d broker(s) are registered", factor, len(order))
	}
	placed := make([][]int32, n)
	for i := range placed {
		first, turn := (start+i)%len(order), (start+i)/len(order)
		replicas := append(make([]int32, 0, factor), order[first])
		used := map[string]int{brokers[order[first]].Rack: 1}
		others := slices.Concat(order[first+1:], order[:first])
		for len(replicas) < int(factor) {
			best := -1
			for c := range others {
				at := (c + turn) % len(others)
				if best < 0 || used[brokers[others[at]].Rack] < used[brokers[others[best]].Rack] {
					best = at
				}
			}
			replicas = append(replicas, others[best])
			used[brokers[others[best]].Rack]++
			others = slices.Delete(others, best, best+1)
		}
		placed[i] = replicas
	}
	return placed, nil
}

// candidates returns the brokers for new partitions. These are the active ones if there are enough
// for the replication factor. If not, they are all live ones, plus as many fenced ones as are still
// missing.
func candidates(image *Image, factor int) map[int32]Broker {
	if others := activeBrokers(image.Brokers); factor <= len(others) {
		return others
	}
	all := maps.Clone(image.Brokers)
	for _, id := range slices.Sorted(maps.Keys(image.Known)) {
		if _, live := all[id]; !live && len(all) < factor {
			all[id] = image.Known[id]
		}
	}
	return all
}

// alternateRacks orders the brokers by taking one from each rack in turn.
func alternateRacks(brokers map[int32]Broker) []int32 {
	racks := map[string][]int32{}
	for _, id := range slices.Sorted(maps.Keys(brokers)) {
		rack := brokers[id].Rack
		racks[rack] = append(racks[rack], id)
	}
	names := slices.Sorted(maps.Keys(racks))
	order := make([]int32, 0, len(brokers))
	for round := 0; len(order) < len(brokers); round++ {
		for _, name := range names {
			if round < len(racks[name]) {
				order = append(order, racks[name][round])
			}
		}
	}
	return order
}

// activeBrokers returns the live brokers that are not in controlled shutdown.
func activeBrokers(brokers map[int32]Broker) map[int32]Broker {
	others := maps.Clone(brokers)
	maps.DeleteFunc(others, func(_ int32, b Broker) bool { return b.InControlledShutdown })
	return others
}

// checkNewAssignment validates the replicas that a user has named for a new partition. Some may be
// fenced, but not all.
func checkNewAssignment(image *Image, replicas []int32, factor int) error {
	if err := checkAssignment(image.Known, replicas, factor); err != nil {
		return err
	}
	for _, id := range replicas {
		if _, live := image.Brokers[id]; live {
			return nil
		}
	}
	return refuse(ErrInvalidReplicaAssignment, "none of the brokers %v of the manual partition assignment is alive", replicas)
}

// checkAssignment validates the replicas that a user has named. All partitions of a topic have the
// same number of replicas: factor is that number, 0 if it is not fixed yet.
func checkAssignment(brokers map[int32]Broker, replicas []int32, factor int) error {
	if len(replicas) == 0 {
		return refuse(ErrInvalidReplicaAssignment, "the manual partition assignment includes an empty replica list")
	}
	if factor != 0 && len(replicas) != factor {
		return fmt.Errorf("%w: the manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s)",
			ErrInvalidReplicaAssignment, len(replicas), factor)
	}
	seen := make(map[int32]bool, len(replicas))
	for _, id := range replicas {
		if seen[id] {
			return refuse(ErrInvalidReplicaAssignment, "the manual partition assignment includes the broker %d more than once", id)
		}
		seen[id] = true
		if _, ok := brokers[id]; !ok {
			return refuse(ErrInvalidReplicaAssignment, "the manual partition assignment includes broker %d, but no such broker is registered", id)
		}
	}
	return nil
}
