package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/varvelog/varve/client"
)

// reassignFile is the format of kafka-reassign-partitions. Current is Varve's; other tools ignore
// it.
type reassignFile struct {
	Version    int                 `json:"version"`
	Partitions []reassignPartition `json:"partitions"`
}

type reassignPartition struct {
	Topic     string   `json:"topic"`
	Partition *int32   `json:"partition"`
	Replicas  []int32  `json:"replicas"`
	LogDirs   []string `json:"log_dirs,omitempty"`
	Current   []int32  `json:"current,omitempty"`
}

// parseReassignFile reads Kafka's format. Each partition, and each of its brokers, may be named
// once.
func parseReassignFile(data []byte) ([]client.Assignment, error) {
	var file reassignFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf(`not a reassignment in JSON: %w; want {"version":1,"partitions":[{"topic":"orders","partition":0,"replicas":[1,2,3]}]}`, err)
	}
	if file.Version != 1 {
		return nil, fmt.Errorf("version %d: want 1", file.Version)
	}
	var all []client.Assignment
	seen := map[client.TopicPartition]bool{}
	for i, p := range file.Partitions {
		if p.Topic == "" || p.Partition == nil {
			return nil, fmt.Errorf("entry %d: want a topic and a partition", i)
		}
		tp := client.TopicPartition{Topic: p.Topic, Partition: *p.Partition}
		if slices.ContainsFunc(p.LogDirs, func(dir string) bool { return dir != "any" }) {
			return nil, fmt.Errorf(`%s: log_dirs %v: this command leaves directories to the brokers ("any"); kafka-reassign-partitions moves replicas between them`, tp, p.LogDirs)
		}
		if seen[tp] {
			return nil, fmt.Errorf("%s is there twice", tp)
		}
		seen[tp] = true
		all = append(all, client.Assignment{TopicPartition: tp, Replicas: p.Replicas})
	}
	if len(all) == 0 {
		return nil, errors.New("no partitions are in it")
	}
	return all, nil
}

// reassignMove is one partition of a plan.
type reassignMove struct {
	client.TopicPartition
	From, To []int32
	Bytes    int64 // of one replica; client.Unknown if no broker reports it
}

// added returns the brokers that get a replica.
func (m *reassignMove) added() []int32 { return except(m.To, m.From) }

func except(list, without []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(list), func(id int32) bool { return slices.Contains(without, id) })
}

// planMoves turns assignments into moves and leaves out those that change nothing. An error in one
// is an error for all.
func planMoves(assignments []client.Assignment, now placed, brokers []client.Broker, underWay []client.Reassignment) ([]reassignMove, error) {
	var moves []reassignMove
	var failed []error
	adding := map[client.TopicPartition][]int32{}
	for _, r := range underWay {
		adding[r.TopicPartition] = append([]int32{}, r.Adding...)
	}
	for _, want := range assignments {
		p, exists := now.at[want.TopicPartition]
		if !exists {
			failed = append(failed, fmt.Errorf("%s: it does not exist (\"varve topic describe %s\" shows what does)", want.TopicPartition, want.Topic))
			continue
		}
		if err := checkReplicas(want.Replicas, p.Replicas, brokers); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", want.TopicPartition, err))
			continue
		}
		replaced, isReplaced := adding[want.TopicPartition]
		if slices.Equal(want.Replicas, p.Replicas) && !isReplaced {
			continue
		}
		moves = append(moves, reassignMove{
			TopicPartition: want.TopicPartition, From: except(p.Replicas, replaced), To: want.Replicas, Bytes: client.Unknown,
		})
	}
	slices.SortFunc(moves, func(a, b reassignMove) int { return a.Compare(b.TopicPartition) })
	return moves, errors.Join(failed...)
}

// checkReplicas reports what is wrong with replicas before a broker does. A replica that the
// partition already has may be down, a new one may not.
func checkReplicas(want, have []int32, brokers []client.Broker) error {
	if len(want) == 0 {
		return errors.New("name at least one replica")
	}
	seen := map[int32]bool{}
	for _, id := range want {
		if seen[id] {
			return fmt.Errorf("broker %d is named twice", id)
		}
		seen[id] = true
		alive := slices.ContainsFunc(brokers, func(b client.Broker) bool { return b.ID == id && !b.Fenced })
		if !alive && !slices.Contains(have, id) {
			return fmt.Errorf("broker %d is not alive (\"varve cluster status\" shows the brokers)", id)
		}
	}
	return nil
}

// setBytes sets the bytes to copy for a new replica to the size of the partition's largest replica.
func setBytes(moves []reassignMove, sizes map[client.Replica]int64) {
	for i := range moves {
		for _, id := range moves[i].From {
			if size, ok := sizes[client.Replica{TopicPartition: moves[i].TopicPartition, Broker: id}]; ok {
				moves[i].Bytes = max(moves[i].Bytes, size)
			}
		}
	}
}

// sumMoves describes the sum of the moves in one line.
func sumMoves(moves []reassignMove) string {
	replicas, bytes, factor := 0, int64(0), 0
	for i := range moves {
		n := len(moves[i].added())
		replicas += n
		bytes += int64(n) * max(moves[i].Bytes, 0)
		if len(moves[i].From) != len(moves[i].To) {
			factor++
		}
	}
	text := fmt.Sprintf("%s change, %s to copy, about %s on local disks",
		plural(int64(len(moves)), "partition"), plural(int64(replicas), "replica"), byteSize(bytes))
	if factor > 0 {
		text += fmt.Sprintf("; %s another number of replicas", plural(int64(factor), "partition")+" get")
	}
	return text
}

// printMoves prints a plan: as a table with its sum, or as JSON in Kafka's format, which `varve
// partition reassign --file` reads.
func (a *app) printMoves(moves []reassignMove) error {
	if a.json() {
		file := reassignFile{Version: 1, Partitions: []reassignPartition{}}
		for _, m := range moves {
			file.Partitions = append(file.Partitions, reassignPartition{Topic: m.Topic, Partition: &m.Partition, Replicas: m.To, Current: m.From})
		}
		return a.printJSON(file)
	}
	return a.showMoves(moves)
}

func (a *app) showMoves(moves []reassignMove) error {
	rows := make([][]string, len(moves))
	for i := range moves {
		m := &moves[i]
		rows[i] = []string{m.Topic, strconv.Itoa(int(m.Partition)), int32s(m.From), int32s(m.To), orAbsent(int32s(m.added())), orAbsent(int32s(except(m.From, m.To))), byteSize(m.Bytes)}
	}
	if err := a.printTable([]string{"TOPIC", "PARTITION", "REPLICAS", "TO", "ADD", "REMOVE", "BYTES"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.out, sumMoves(moves))
	return err
}
