package etcd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/controller"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// openInChild names the directory that a child process of a test opens: etcd leaks goroutines when
// it panics over damaged files.
const openInChild = "VARVE_TEST_OPEN"

// sideBySide is the number of tests that run at the same time, whatever the number of processors:
// most of the time they wait for etcd's clocks.
const sideBySide = 5

func TestMain(m *testing.M) {
	if dir := os.Getenv(openInChild); dir != "" {
		_, err := OpenEmbedded(context.Background(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: slog.New(slog.DiscardHandler)})
		fmt.Print(err)
		os.Exit(0)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(sideBySide, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	code := m.Run()
	if code == 0 {
		// A connection between members that ends in the middle of a request lasts for etcd's read
		// timeout, five seconds.
		err := goleak.Find()
		for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func openEmbedded(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: runtest.Logger(t), unsynced: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestEmbeddedConforms(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kvtest.Instance {
		t.Helper()
		s := openEmbedded(t, t.TempDir())
		return kvtest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			if _, err := s.client.Compact(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

func TestEmbeddedKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "etcd")
	s := openEmbedded(t, dir)
	revision, err := s.Txn(t.Context(), nil, kv.Put("a", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = openEmbedded(t, dir)
	pair, err := s.Get(t.Context(), "a")
	if err != nil || string(pair.Value) != "1" || pair.ModRevision != revision {
		t.Errorf("%+v, %v", pair, err)
	}
}

func TestEmbeddedStartsFastAndQuietly(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), "etcd")
	for _, what := range []string{"an empty directory", "its directory"} {
		begin := time.Now()
		s, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("started on %s in %v", what, time.Since(begin))
		if _, err = s.Txn(t.Context(), nil, kv.Put("a", nil)); err != nil {
			t.Error(err)
		}
		begin = time.Now()
		closeStore(t, s)
		t.Logf("closed in %v", time.Since(begin))
	}
	if log.Len() != 0 {
		t.Errorf("it wrote:\n%s", log.String())
	}
}

// TestEmbeddedElectsItselfAtOnce: the only member must not wait for the election timeout.
func TestEmbeddedElectsItselfAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 19*time.Second)
	defer cancel()
	o := EmbeddedOptions{Dir: filepath.Join(t.TempDir(), "etcd"), Cluster: "test", Logger: runtest.Logger(t), tick: 10 * time.Second}
	for _, what := range []string{"an empty directory", "its directory"} {
		s, err := OpenEmbedded(ctx, o)
		if err != nil {
			t.Fatalf("start on %s: %v", what, err)
		}
		closeStore(t, s)
	}
}

func TestEmbeddedListensNowhere(t *testing.T) {
	before := listeners(t)
	openEmbedded(t, t.TempDir())
	if n := listeners(t) - before; n != 0 {
		t.Errorf("it listens on %d sockets", n)
	}
}

// listeners counts the sockets of any kind on which this process listens.
func listeners(t *testing.T) (n int) {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc on this system: %v", err)
	}
	for _, fd := range fds {
		if target, linkErr := os.Readlink("/proc/self/fd/" + fd.Name()); linkErr == nil {
			mine[target] = true
		}
	}
	for file, f := range map[string]struct{ state, inode int }{"tcp": {3, 9}, "tcp6": {3, 9}, "unix": {3, 6}} {
		table, readErr := os.ReadFile("/proc/self/net/" + file)
		if readErr != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			listening := len(fields) > f.inode && (fields[f.state] == "0A" || file == "unix" && fields[f.state] == "00010000")
			if listening && mine["socket:["+fields[f.inode]+"]"] {
				n++
			}
		}
	}
	return n
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openEmbedded(t, dir)
	_, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: runtest.Logger(t)})
	oneLine(t, err, "in use by another process", dir)
}

func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is not one line", err)
	}
}

func TestUnusableDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: filepath.Join(file, "etcd"), Cluster: "test", Logger: runtest.Logger(t)})
	oneLine(t, err, file)
	for _, cluster := range []string{"", "a/b"} {
		_, err = OpenEmbedded(t.Context(), EmbeddedOptions{Dir: t.TempDir(), Cluster: cluster, Logger: runtest.Logger(t)})
		oneLine(t, err, "cluster name")
	}
}

// TestThousandPartitions takes a large topic from its creation in the embedded etcd to the image.
func TestThousandPartitions(t *testing.T) {
	c := open(t, openEmbedded(t, t.TempDir()))
	begin := time.Now()
	result := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "large", Partitions: 1000, ReplicationFactor: 1}}, false)[0]
	took := time.Since(begin)
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	if topic, ok := c.loader.Image().TopicByName("large"); !ok || len(topic.Partitions) != 1000 {
		t.Fatal("the image does not show the topic")
	}
	t.Logf("1,000 partitions created and seen in %v", took)
	if took > time.Minute { // a hang, not a measurement: machines differ
		t.Errorf("it took %v", took)
	}
	begin = time.Now()
	if result = c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "large"}})[0]; result.Err != nil {
		t.Fatal(result.Err)
	}
	t.Logf("deleted in %v", time.Since(begin))

	specs := make([]metadata.TopicSpec, 1000)
	for i := range specs {
		specs[i] = metadata.TopicSpec{Name: fmt.Sprintf("t%d", i), Partitions: 1, ReplicationFactor: 1}
	}
	begin = time.Now()
	for _, result = range c.admin.CreateTopics(t.Context(), specs, false) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	t.Logf("1,000 topics of one partition created and seen in %v", time.Since(begin))
}

// broker has the parts of package metadata that one broker runs.
type broker struct {
	loader       *metadata.Loader
	admin        *metadata.Admin
	registration *metadata.Registration
	stop         func()
}

// open starts a broker's parts and returns when it is the controller.
func open(t *testing.T, s kv.Store) *broker {
	t.Helper()
	b := &broker{loader: metadata.NewLoader(metadata.LoaderOptions{Store: s, Logger: runtest.Logger(t)})}
	b.admin = metadata.NewAdmin(metadata.AdminOptions{Store: s, Loader: b.loader, Now: time.Now})
	b.registration = metadata.NewRegistration(metadata.RegistrationOptions{
		Store: s, BrokerID: 1, DirectoryID: "dir", TTL: time.Hour, Now: time.Now, Logger: runtest.Logger(t),
	})
	epoch, err := b.registration.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	controller := controller.New(controller.Options{
		Store: s, Loader: b.loader, Registration: b.registration, Now: time.Now, Logger: runtest.Logger(t),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{b.loader.Run, b.registration.Run, controller.Run} {
		wg.Go(func() {
			if runErr := run(ctx); runErr != nil {
				t.Errorf("Run: %v", runErr)
			}
		})
	}
	b.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(b.stop)
	b.wait(t, func(m *metadata.Image) bool { return m.Brokers[1].Epoch == epoch && m.ControllerID == 1 })
	return b
}

func (b *broker) wait(t *testing.T, ok func(*metadata.Image) bool) *metadata.Image {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	image, err := b.loader.Wait(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// crashStore stops writing when its process "crashes".
type crashStore struct {
	kv.Store
	crashed atomic.Bool
}

func (s *crashStore) Txn(ctx context.Context, cs []kv.Comparison, ops ...kv.Op) (int64, error) {
	if s.crashed.Load() {
		return 0, errors.New("crashed")
	}
	return s.Store.Txn(ctx, cs, ops...)
}

// TestRestartTakesOverAtOnce: after kill -9 and a restart the predecessor's keys are under leases
// that last for an hour, and must not delay anything.
func TestRestartTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openEmbedded(t, dir)
	crash := &crashStore{Store: s}
	b := open(t, crash)
	if err := b.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Partitions: 200, ReplicationFactor: 1}}, false)[0].Err; err != nil {
		t.Fatal(err)
	}
	crash.crashed.Store(true)
	b.stop() // it neither resigns nor deregisters
	controllerEpoch := b.loader.Image().ControllerEpoch
	closeStore(t, s)

	begin := time.Now()
	again := open(t, openEmbedded(t, dir))
	image := again.wait(t, func(m *metadata.Image) bool {
		topic, _ := m.TopicByName("a")
		for i := range topic.Partitions {
			if _, ok := m.Leader(topic.Partitions[i]); !ok || topic.Partitions[i].LeaderEpoch != 1 {
				return false
			}
		}
		return true
	})
	t.Logf("all leaders again after %v", time.Since(begin))
	if image.ControllerEpoch <= controllerEpoch {
		t.Errorf("controller epoch %d after %d", image.ControllerEpoch, controllerEpoch)
	}
}

// TestDamagedFilesAreSaidInOneLine runs concurrently with no other test: until a child has begun
// its program it holds all sockets of this process, and would keep the port of a server that stops
// and starts again.
func TestDamagedFilesAreSaidInOneLine(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"database": func(t *testing.T, dir string) {
			t.Helper()
			overwrite(t, filepath.Join(dir, "member", "snap", "db"))
		},
		"write-ahead log": func(t *testing.T, dir string) {
			t.Helper()
			logs, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
			if err != nil || len(logs) == 0 {
				t.Fatal("no write-ahead log", err)
			}
			overwrite(t, logs[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openEmbedded(t, dir)
			if _, err := s.Txn(t.Context(), nil, kv.Put("a", nil)); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			damage(t, dir)
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), openInChild+"="+dir)
			said, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v:\n%s", err, said)
			}
			t.Logf("%s", said)
			oneLine(t, errors.New(string(said)), dir, "damaged", "move it and the logs away")
		})
	}
}

// overwrite writes garbage over the beginning of a file.
func overwrite(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 64<<10), 0); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
