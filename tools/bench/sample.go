package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of CPU time in /proc, the same on every architecture of Linux.
const tick = 10 * time.Millisecond

// noisyCores is the part of the machine that others may use in a leg before it counts as noisy.
const noisyCores = 0.3

// sample is what was used up to a moment.
type sample struct {
	at      time.Time
	machine machineTime
	brokers time.Duration // CPU time of the brokers
	client  time.Duration // CPU time of this process
}

// machineTime is CPU time of the whole machine since it started.
type machineTime struct {
	busy   time.Duration
	stolen time.Duration // taken by the hypervisor
}

// usage is what was used between two samples.
type usage struct {
	elapsed   time.Duration
	brokerCPU time.Duration
	clientCPU time.Duration
	others    float64 // cores that neither the brokers nor this process used
	stolen    float64 // cores
}

// takeSample reads the CPU time of the machine, of the brokers, and of this process.
func takeSample(brokers []*process) (sample, error) {
	s := sample{at: time.Now()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s, fmt.Errorf("sample the machine, which needs Linux: %w", err)
	}
	if s.machine, err = parseMachine(stat); err != nil {
		return s, err
	}
	for _, p := range brokers {
		used, cpuErr := p.cpu()
		if cpuErr != nil {
			return s, cpuErr
		}
		s.brokers += used
	}
	var own syscall.Rusage
	if err = syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return s, fmt.Errorf("sample this process: %w", err)
	}
	s.client = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return s, nil
}

// until returns what was used from one sample to a later one.
func (s sample) until(later sample) usage {
	u := usage{
		elapsed:   later.at.Sub(s.at),
		brokerCPU: later.brokers - s.brokers,
		clientCPU: later.client - s.client,
	}
	if u.elapsed <= 0 {
		return u
	}
	others := later.machine.busy - s.machine.busy - u.brokerCPU - u.clientCPU
	u.others = max(0, others.Seconds()/u.elapsed.Seconds()) // ticks are rounded
	u.stolen = (later.machine.stolen - s.machine.stolen).Seconds() / u.elapsed.Seconds()
	return u
}

// parseMachine reads the first line of /proc/stat.
func parseMachine(stat []byte) (machineTime, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := strings.Fields(string(line))
	const user, nice, system, interrupt, softInterrupt, steal = 1, 2, 3, 6, 7, 8
	if len(fields) <= steal || fields[0] != "cpu" {
		return machineTime{}, fmt.Errorf("sample the machine: /proc/stat begins with %q", line)
	}
	var m machineTime
	for _, place := range []int{user, nice, system, interrupt, softInterrupt} {
		used, err := parseTicks(fields[place])
		if err != nil {
			return m, fmt.Errorf("sample the machine: %w", err)
		}
		m.busy += used
	}
	var err error
	m.stolen, err = parseTicks(fields[steal])
	return m, err
}

// processCPU returns the CPU time of a process and its threads.
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("sample a broker, which needs Linux: %w", err)
	}
	return parseProcess(stat)
}

// parseProcess reads /proc/PID/stat. The second field is the command in parentheses, which may have
// spaces and parentheses of its own.
func parseProcess(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 11, 12 // after the command
	if len(fields) <= system {
		return 0, fmt.Errorf("sample a broker: its stat is %q", stat)
	}
	inUser, err := parseTicks(fields[user])
	if err != nil {
		return 0, fmt.Errorf("sample a broker: %w", err)
	}
	inSystem, err := parseTicks(fields[system])
	if err != nil {
		return 0, fmt.Errorf("sample a broker: %w", err)
	}
	return inUser + inSystem, nil
}

func parseTicks(text string) (time.Duration, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * tick, err
}

// resetPeaks makes peakMemory count from now.
func resetPeaks(brokers []*process) error {
	for _, p := range brokers {
		name := fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid)
		if err := os.WriteFile(name, []byte("5"), 0); err != nil && !p.exited() {
			return fmt.Errorf("reset the peak of a broker's memory: %w", err)
		}
	}
	return nil
}

// peakMemory returns the sum of the largest resident sets, in bytes. A broker that has ended counts
// nothing.
func peakMemory(brokers []*process) (int64, error) {
	var sum int64
	for _, p := range brokers {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err == nil {
			var peak int64
			if peak, err = parseKilobytes(status, "VmHWM"); err == nil {
				sum += peak
				continue
			}
		}
		if !p.exited() {
			return 0, fmt.Errorf("sample the memory of a broker: %w", err)
		}
	}
	return sum, nil
}

// parseKilobytes returns a line of /proc/PID/status or /proc/meminfo in bytes.
func parseKilobytes(text []byte, key string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != key {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		return n * 1024, err
	}
	return 0, errors.New("there is no " + key)
}

// loadAverage returns the load average of the last minute.
func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, fmt.Errorf("read the load average, which needs Linux: %w", err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}
