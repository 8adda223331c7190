package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// rivals returns a stopped broker with a partition in two directories: in /more, with the log that
// first has filled, and in /data, with the log of second.
func rivals(t *testing.T, first, second func(k *kit, l *Log)) *kit {
	t.Helper()
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.Dirs = []string{"/data", "/more"}
	for i, part := range []func(*kit, *Log){first, second} {
		k.open()
		l := k.log()
		part(k, l)
		if err := errors.Join(l.Flush(t.Context(), l.EndOffset()), k.m.Close(), k.fs.Rename(l.path(), []string{"/first", "/second"}[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(k.fs.Rename("/first", "/more/t-0"), k.fs.Rename("/second", "/data/t-0")); err != nil {
		t.Fatal(err)
	}
	return k
}

func filled(n int, epoch int32) func(*kit, *Log) {
	return func(k *kit, l *Log) {
		k.t.Helper()
		for range n {
			if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()), epoch); err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

// TestOlderLogOfTwoIsSetAside starts a broker that has a partition in two directories: it must keep
// the newer log, and the other one as a stray.
func TestOlderLogOfTwoIsSetAside(t *testing.T) {
	beyond := func(start int64, n int) func(*kit, *Log) {
		return func(k *kit, l *Log) {
			if err := l.TruncateFully(start); err != nil {
				k.t.Fatal(err)
			}
			filled(n, 3)(k, l)
		}
	}
	for name, c := range map[string]struct {
		more, data func(*kit, *Log)
		failed     string // the directory with the marker of a failure
		want       string // the directory whose log is kept
	}{
		"newer leader epoch, /data": {filled(9, 3), filled(2, 4), "", "/data"},
		"newer leader epoch, /more": {filled(2, 4), filled(9, 3), "", "/more"},
		"more is deleted, /data":    {beyond(5, 9), beyond(7, 1), "", "/data"},
		"more is deleted, /more":    {beyond(7, 1), beyond(5, 9), "", "/more"},
		"the longer one, /data":     {filled(3, 3), filled(4, 3), "", "/data"},
		"the longer one, /more":     {filled(4, 3), filled(3, 3), "", "/more"},
		"/data had failed":          {filled(1, 3), filled(9, 4), "/data", "/more"},
		"/more had failed":          {filled(9, 4), filled(1, 3), "/more", "/data"},
		"both are alike":            {filled(3, 3), filled(3, 3), "", "/data"},
	} {
		t.Run(name, func(t *testing.T) {
			k := rivals(t, c.more, c.data)
			if c.failed != "" {
				if err := vfs.WriteFile(k.fs, c.failed+"/"+failedFile, []byte("broken\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second start finds no rivals
				k.open()
				l, ok := k.m.Log("t", 0)
				if !ok || l.dir().path != c.want {
					t.Fatalf("log there: %t, in %s", ok, l.dir().path)
				}
				all := k.m.Strays()
				if len(all) != 1 || strings.HasPrefix(all[0].Path, c.want) || all[0].TopicID != testID {
					t.Fatalf("strays %+v", all)
				}
				for _, usage := range k.m.DirUsage() {
					if n := len(usage.Logs); (n == 1) != (usage.Path == c.want) {
						t.Errorf("%d logs in %s", n, usage.Path)
					}
				}
				if err := k.m.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestLogMadeBesideAFailedDirectoryIsTheNewerOne: while the directory of a log was offline, its
// topic was deleted and another one of the same name was created. The log of the new topic must
// win.
func TestLogMadeBesideAFailedDirectoryIsTheNewerOne(t *testing.T) {
	other := [16]byte{9}
	k := newKit(t, vfs.NewMem(), nil)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.Dirs = []string{"/data", "/more"}
	k.open()
	filled(9, 7)(k, k.log())
	home, away := k.log().dir().path, k.otherDir(k.log()).path
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	half := k.offline(home)
	half.open()
	l, err := half.m.Create("t", 0, other)
	if err != nil {
		t.Fatal(err)
	}
	filled(1, 0)(half, l)
	// The machine dies before anything was flushed.
	k = k.on(k.mem().CrashClone(1))
	for range 2 {
		k.open()
		l, ok := k.m.Log("t", 0)
		if !ok || l.dir().path != away || l.TopicID() != other || len(l.supersedes) != 0 {
			t.Fatalf("log there: %t, in %s, of topic %v, supersedes %v", ok, l.dir().path, l.TopicID(), l.supersedes)
		}
		if all := k.m.Strays(); len(all) != 1 || all[0].TopicID != testID {
			t.Fatalf("strays %+v", all)
		}
		for seed := range uint64(20) { // and dies again
			dead := k.on(k.mem().CrashClone(seed))
			dead.open()
			if l, ok = dead.m.Log("t", 0); !ok || l.dir().path != away {
				t.Fatalf("seed %d: log there: %t, in %s", seed, ok, l.dir().path)
			}
		}
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemovedLogDoesNotComeBackBesideItsSuccessor: a topic was deleted, and another one of the same
// name was created in another directory. After a crash the start must not find the deleted log
// again.
func TestRemovedLogDoesNotComeBackBesideItsSuccessor(t *testing.T) {
	for seed := range uint64(20) {
		k := newKit(t, vfs.NewMem(), nil)
		if err := k.m.Close(); err != nil {
			t.Fatal(err)
		}
		k.options.Dirs = []string{"/data", "/more"}
		k.open()
		l := k.log()
		filled(9, 7)(k, l)
		home, away := l.dir().path, k.otherDir(l)
		if err := errors.Join(l.Flush(t.Context(), 9), k.m.Delete("t", 0)); err != nil {
			t.Fatal(err)
		}
		// The error says that there is no log and that it will be created there.
		_ = k.m.Move("t", 0, away.path)
		next, err := k.m.Create("t", 0, [16]byte{9})
		if err != nil {
			t.Fatal(err)
		}
		if next.dir().path == home {
			t.Fatalf("the log is in %s", home)
		}
		filled(3, 0)(k, next)
		if err = next.Flush(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		dead := k.on(k.mem().CrashClone(seed))
		dead.open()
		if l, ok := dead.m.Log("t", 0); !ok || l.dir().path == home {
			t.Fatalf("seed %d: log there: %t, in %s", seed, ok, l.dir().path)
		}
	}
}
