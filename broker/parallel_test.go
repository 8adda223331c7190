package broker

import (
	"testing"
)

func TestParallelTasksPanicInTheirCaller(t *testing.T) {
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("recovered %v", p)
		}
	}()
	done := make(chan int, 10)
	tasks := []func(){func() { panic("boom") }}
	for i := range 5 {
		tasks = append(tasks, func() { done <- i })
	}
	inParallel(2, tasks)
}
