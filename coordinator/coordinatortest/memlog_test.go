package coordinatortest

import "testing"

func TestMemLog(t *testing.T) {
	TestLog(t, func(*testing.T) Harness {
		log := &MemLog{}
		log.SetEpoch(0, 1)
		log.SetEpoch(1, 1)
		return Harness{Log: log, Elect: log.SetEpoch}
	})
}
