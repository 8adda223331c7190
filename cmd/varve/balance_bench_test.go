package main

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/client"
)

// BenchmarkBalance adds a broker to twenty brokers with 10,000 partitions on three racks.
func BenchmarkBalance(b *testing.B) {
	in := balanceInput{Racks: map[int32]string{20: "2"}}
	for id := range int32(20) {
		in.Racks[id] = fmt.Sprint(id % 3)
	}
	for p := range int32(10_000) {
		in.Partitions = append(in.Partitions, balancePartition{
			TopicPartition: client.TopicPartition{Topic: fmt.Sprint("t", p%100), Partition: p / 100}, Replicas: []int32{p % 20, (p + 1) % 20, (p + 2) % 20},
		})
	}
	for b.Loop() {
		if _, err := balance(in); err != nil {
			b.Fatal(err)
		}
	}
}
