package server

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// markTest is a data directory over several processes.
type markTest struct {
	*testing.T
	fs   vfs.FS
	last *lastRegistration
}

// markDirs are the data directory and the log directories.
var markDirs = []string{"/data", "/disk1", "/disk2"}

func newMarkTest(t *testing.T) *markTest {
	t.Helper()
	m := &markTest{T: t, fs: vfs.NewMem()}
	for _, dir := range markDirs {
		if err := m.fs.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// lose empties a directory.
func (m *markTest) lose(dir string) {
	m.Helper()
	if err := m.fs.Remove(dir + "/" + lastRegistrationFile); err != nil {
		m.Fatal(err)
	}
}

// TestLostDirectoryTakesNoOthersPast: each directory has a copy, and the newest remaining copy
// counts.
func TestLostDirectoryTakesNoOthersPast(t *testing.T) {
	both := dirIDs(1, 2)
	m := newMarkTest(t)
	m.start("a", both, nil)
	m.last.registered(7, both)
	m.lose("/data")
	if got := m.start("a", both, nil); got != "7 [] 6" {
		t.Errorf("without the copy of the data directory: %s", got)
	}
	m.last.registered(9, both)
	m.lose("/data")
	m.lose("/disk1")
	if got := m.start("a", dirIDs(3, 2), nil); got != "9 [1] 9" {
		t.Errorf("without a log directory: %s", got)
	}
	// A disk that rejects the newest copy does not override the others.
	faulty := vfs.NewFaulty(m.fs)
	faulty.Inject(vfs.Fault{Op: vfs.OpWrite, Name: "/disk2", Times: 100})
	m.fs = faulty
	m.last.fs = faulty
	m.last.registered(11, both)
	if got := m.start("b", both, nil); got != "0 [] 9" {
		t.Errorf("with an old copy beside newer ones: %s", got)
	}
	for _, dir := range markDirs {
		m.lose(dir)
	}
	if got := m.start("b", both, nil); got != "0 [] any" {
		t.Errorf("without any copy: %s", got)
	}
}

// TestFailedDirectoryGetsNoCopies: its disk may hang, and would block the registration.
func TestFailedDirectoryGetsNoCopies(t *testing.T) {
	both := dirIDs(1, 2)
	m := newMarkTest(t)
	m.start("a", both, nil)
	m.last.registered(7, both)
	copyOf := func(dir string) string {
		t.Helper()
		b, err := vfs.ReadFile(m.fs, dir+"/"+lastRegistrationFile, maxLastRegistration)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	old := copyOf("/disk2")
	m.last.works = func(dir string) bool { return dir != "/disk2" }
	if err := m.last.failed(dirIDs(1)); err != nil {
		t.Error(err)
	}
	if copyOf("/disk2") != old || copyOf("/disk1") == old {
		t.Errorf("the failed directory has %s, the other one %s", copyOf("/disk2"), copyOf("/disk1"))
	}
	if got := m.start("a", dirIDs(1), nil); got != "7 [2] 7" {
		t.Errorf("the process after: %s", got)
	}
}

func dirIDs(numbers ...byte) []metadata.DirectoryID {
	ids := make([]metadata.DirectoryID, len(numbers))
	for i, n := range numbers {
		ids[i] = metadata.DirectoryID{n}
	}
	return ids
}

// start begins a process on a run of the machine. It returns PreviousBrokerEpoch, the first bytes
// of lost directories, and LostBrokerEpoch.
func (m *markTest) start(boot string, working, distrusted []metadata.DirectoryID) string {
	m.Helper()
	last := readLastRegistration(m.fs, markDirs, boot, slog.New(slog.DiscardHandler))
	past, err := last.begin(working, distrusted)
	if err != nil {
		m.Fatal(err)
	}
	m.last = last
	lost := []byte{}
	for _, id := range past.LostDirectories {
		lost = append(lost, id[0])
	}
	if past.LostBrokerEpoch == math.MaxInt64 {
		return fmt.Sprintf("%d %v any", past.PreviousBrokerEpoch, lost)
	}
	return fmt.Sprintf("%d %v %d", past.PreviousBrokerEpoch, lost, past.LostBrokerEpoch)
}

func TestWhatTheLastProcessHasKept(t *testing.T) {
	both, one := dirIDs(1, 2), dirIDs(1)
	register := func(m *markTest) { m.last.registered(7, both) }
	clean := func(m *markTest) {
		if err := m.last.clean(); err != nil {
			m.Error(err)
		}
	}
	for _, tc := range []struct {
		name       string
		first      []func(*markTest) // what happens in the process on boot "a"
		boot       string
		working    []metadata.DirectoryID
		distrusted []metadata.DirectoryID
		want       string
	}{
		{"it never registered", nil, "a", both, nil, "0 [] any"},
		{"it never registered and was stopped", []func(*markTest){clean}, "a", both, nil, "0 [] any"},
		{"the process crashed", []func(*markTest){register}, "a", both, nil, "7 [] 6"},
		{"the machine crashed", []func(*markTest){register}, "b", both, nil, "0 [] 6"},
		{"the system does not say", []func(*markTest){register}, "", both, nil, "0 [] 6"},
		{"a clean stop", []func(*markTest){register, clean}, "b", both, nil, "7 [] 6"},
		{"a clean stop, then a directory is gone", []func(*markTest){register, clean}, "b", one, nil, "7 [2] 7"},
		{"a clean stop, then a directory is replaced", []func(*markTest){register, clean}, "b", dirIDs(1, 3), nil, "7 [2] 7"},
		{"a directory came", []func(*markTest){register}, "a", dirIDs(1, 2, 3), nil, "7 [] 6"},
		{"a failed sync", []func(*markTest){register}, "a", both, one, "7 [1] 7"},
		{"a failed directory, which is back", []func(*markTest){register, func(m *markTest) {
			if err := m.last.failed(one); err != nil {
				m.Error(err)
			}
		}}, "a", both, nil, "7 [2] 7"},
	} {
		m := newMarkTest(t)
		m.start("a", both, nil)
		for _, f := range tc.first {
			f(m)
		}
		if got := m.start(tc.boot, tc.working, tc.distrusted); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestFailedStartKeepsTheMark: a start that ends before it registers loses nothing, and does not
// undo a loss.
func TestFailedStartKeepsTheMark(t *testing.T) {
	both := dirIDs(1, 2)
	m := newMarkTest(t)
	m.start("a", both, nil)
	m.last.registered(7, both)
	if err := m.last.clean(); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		boot       string
		distrusted []metadata.DirectoryID
		clean      bool
		want       string
	}{
		{"b", nil, false, "7 [] 6"}, // killed before it registers
		{"b", nil, true, "7 [] 6"},  // stops with an error
		{"c", nil, false, "7 [] 6"},
		{"c", dirIDs(2), false, "7 [2] 7"},
		{"c", nil, false, "7 [2] 7"}, // the recovery has removed the marker of the failed sync
		{"d", nil, true, "0 [2] 7"},  // the machine crashed in between
		{"d", nil, false, "0 [2] 7"},
	} {
		if got := m.start(step.boot, both, step.distrusted); got != step.want {
			t.Errorf("start %d: %s, want %s", i, got, step.want)
		}
		if step.clean {
			if err := m.last.clean(); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.last.registered(20, both)
	if got := m.start("d", both, nil); got != "20 [] 7" {
		t.Errorf("after the next registration: %s", got)
	}
}

// TestChainOfProcesses: what several processes in a row have not lost counts as kept since the
// first of them, also if one of them ended without a mark of its registration.
func TestChainOfProcesses(t *testing.T) {
	both := dirIDs(1, 2)
	disk := newMarkTest(t).fs
	for i, step := range []struct {
		boot       string
		distrusted []metadata.DirectoryID
		epoch      int64 // of the registration; 0: none is recorded
		kept       int64
		but        []metadata.DirectoryID
	}{
		{"a", nil, 7, 0, nil},
		{"a", nil, 9, 7, nil},
		{"a", nil, 0, 7, nil},
		{"a", nil, 13, 7, nil},
		{"a", dirIDs(2), 15, 7, dirIDs(2)}, // the other directory has lost nothing
		{"a", nil, 17, 7, dirIDs(2)},
		{"a", nil, 19, 7, dirIDs(2)},
		{"b", nil, 21, 0, nil},
		{"b", nil, 23, 21, nil},
	} {
		last := readLastRegistration(disk, markDirs, step.boot, slog.New(slog.DiscardHandler))
		past, err := last.begin(both, step.distrusted)
		if err != nil || past.KeptBrokerEpoch != step.kept || !slices.Equal(past.LostSinceKept, step.but) {
			t.Errorf("start %d: kept since %d but for %v, want %d but for %v; %v", i, past.KeptBrokerEpoch, past.LostSinceKept, step.kept, step.but, err)
		}
		if step.epoch != 0 {
			last.registered(step.epoch, both)
		}
	}
}

func TestLinuxTellsWhichRunOfTheMachineItIs(t *testing.T) {
	if id := readBootID(); runtime.GOOS == "linux" && (len(id) != 36 || id != readBootID()) {
		t.Errorf("the boot id is %q", id)
	}
}

func TestDamagedMarkIsNone(t *testing.T) {
	m := newMarkTest(t)
	for _, text := range []string{"", "12", `{"v":2,"broker_epoch":7,"clean":true}`, `{"v":1,`} {
		if err := vfs.WriteFile(m.fs, "/data/"+lastRegistrationFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := m.start("a", dirIDs(1), nil); got != "0 [] any" {
			t.Errorf("%q: %s", text, got)
		}
	}
}
