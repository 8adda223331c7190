package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// liveTopic is a topic of one partition whose settings change while it is in use.
type liveTopic struct {
	*testing.T
	broker *process
	admin  *kadm.Client
	client *kgo.Client
	name   string
	now    time.Time
}

func (l *liveTopic) set(key, value string) {
	l.Helper()
	responses, err := l.admin.AlterTopicConfigs(l.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, l.name)
	if err == nil {
		err = responses[0].Err
	}
	if err != nil {
		l.Fatalf("set %s=%s: %v", key, value, err)
	}
}

// produce writes one batch of one record, with the timestamp now + age.
func (l *liveTopic) produce(age time.Duration, value []byte) error {
	return l.client.ProduceSync(l.Context(), &kgo.Record{Topic: l.name, Key: []byte("k"), Value: value, Timestamp: l.now.Add(age)}).FirstErr()
}

func (l *liveTopic) write(age time.Duration, value []byte) {
	l.Helper()
	if err := l.produce(age, value); err != nil {
		l.Fatal(err)
	}
}

func (l *liveTopic) refused(age time.Duration, value []byte, want error) {
	l.Helper()
	if err := l.produce(age, value); !errors.Is(err, want) {
		l.Errorf("got %v, want %v", err, want)
	}
}

func (l *liveTopic) path(name string) string {
	return filepath.Join(l.broker.dataDir, "logs", l.name+"-0", name)
}

// files returns the names of the partition's files with a suffix.
func (l *liveTopic) files(suffix string) []string {
	l.Helper()
	entries, err := os.ReadDir(l.path(""))
	if err != nil {
		l.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// segments checks the base offsets of the segments.
func (l *liveTopic) segments(bases ...int) {
	l.Helper()
	want := make([]string, len(bases))
	for i, base := range bases {
		want[i] = fmt.Sprintf("%020d.log", base)
	}
	if got := l.files(".log"); !slices.Equal(got, want) {
		l.Fatalf("segments %v, want %v", got, want)
	}
}

// last returns the latest batch on the disk.
func (l *liveTopic) last() record.Batch {
	l.Helper()
	content, err := os.ReadFile(l.path(slices.Max(l.files(".log"))))
	if err != nil {
		l.Fatal(err)
	}
	var last record.Batch
	for len(content) > 0 {
		if last, content, err = record.Split(content); err != nil {
			l.Fatal(err)
		}
	}
	return last
}

// withinDefaults is less than the default of file.delete.delay.ms and others, a minute. The default
// thus cannot pass for the setting.
const withinDefaults = 40 * time.Second

func (l *liveTopic) startsAt(offset int64) {
	l.Helper()
	eventually(l.T, withinDefaults, fmt.Sprintf("the log starts at %d", offset), func() bool {
		offsets, err := l.admin.ListStartOffsets(l.Context(), l.name)
		start, ok := offsets.Lookup(l.name, 0)
		return err == nil && ok && start.Offset >= offset
	})
}

// flushed waits until a checkpoint states that everything is on the disk.
func (l *liveTopic) flushed(end int64) {
	l.Helper()
	eventually(l.T, withinDefaults, "the recovery point is at the end", func() bool {
		content, err := os.ReadFile(filepath.Join(l.broker.dataDir, "logs", "recovery-point-offset-checkpoint"))
		return err == nil && strings.Contains(string(content), fmt.Sprintf("\n%s 0 %d\n", l.name, end))
	})
}

// Every setting of the log must take effect on a log in use. The test checks the behavior of the
// broker, not the answers of DescribeConfigs.
func TestTopicSettingsActOnALiveLog(t *testing.T) {
	const week = 7 * 24 * time.Hour
	small, large := []byte("v"), make([]byte, 700_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range large {
		large[i] = "abcdefgh"[random.IntN(8)]
	}
	var numbers []byte // gzip compresses this better at higher levels
	for i := range 5000 {
		numbers = fmt.Appendf(numbers, "%d and %d,", i*7919%1000, i*104729%500)
	}
	broker := startBroker(t, "--set", "log.flush.offset.checkpoint.interval.ms=100", "--set", "log.remote.storage.enable=false")
	for _, c := range []struct {
		key     string
		configs []string // of the topic at its creation
		run     func(l *liveTopic)
	}{
		{"segment.bytes", nil, func(l *liveTopic) {
			l.write(0, large)
			l.write(0, large)
			l.segments(0)
			l.set("segment.bytes", "1048576")
			l.write(0, large)
			l.segments(0, 2)
		}},
		{"segment.ms", nil, func(l *liveTopic) {
			l.write(-time.Hour, small)
			l.write(-time.Hour+time.Minute, small)
			l.segments(0)
			l.set("segment.ms", "1000")
			l.write(-time.Hour+time.Minute, small)
			l.segments(0, 2)
		}},
		{"segment.jitter.ms", []string{"retention.ms", "-1"}, func(l *liveTopic) {
			l.write(-5*week, small)
			l.write(-4*week, small) // exactly segment.ms later is not late enough
			l.segments(0)
			l.set("segment.jitter.ms", fmt.Sprint(week.Milliseconds()))
			l.write(-3*week, small) // the new segment draws how much earlier it is closed
			l.write(-2*week, small)
			l.segments(0, 2, 3)
		}},
		{"segment.index.bytes", []string{"index.interval.bytes", "0"}, func(l *liveTopic) {
			for range 3 {
				l.write(0, small)
			}
			l.segments(0)
			l.set("segment.index.bytes", "8")
			l.write(0, small)
			l.segments(0, 3)
		}},
		{"index.interval.bytes", []string{"segment.ms", "1000"}, func(l *liveTopic) {
			for range 3 {
				l.write(-time.Hour, small)
			}
			l.set("index.interval.bytes", "0")
			for range 3 {
				l.write(-time.Minute, small)
			}
			l.write(0, small)
			l.segments(0, 3, 6)
			for base, want := range map[int]int64{0: 0, 3: 16} {
				if info, err := os.Stat(l.path(fmt.Sprintf("%020d.index", base))); err != nil || info.Size() != want {
					l.Errorf("the index of segment %d has %d bytes, want %d, %v", base, info.Size(), want, err)
				}
			}
		}},
		{"retention.ms", nil, func(l *liveTopic) {
			l.write(-time.Hour, small)
			l.set("retention.ms", "60000")
			l.startsAt(1)
		}},
		{"retention.bytes", []string{"segment.bytes", "1048576"}, func(l *liveTopic) {
			l.write(0, large)
			l.write(0, large)
			l.set("retention.bytes", "1")
			l.startsAt(1)
		}},
		{"local.retention.bytes", []string{"segment.bytes", "1048576", "remote.storage.enable", "true"}, func(l *liveTopic) {
			l.write(0, large)
			l.write(0, large)
			l.set("local.retention.bytes", "1")
			eventually(l.T, withinDefaults, "the first segment is in the bucket only", func() bool { return broker.tier(l.T, l.name)[0].LocalStart == 1 })
			l.startsAt(0)
		}},
		{"file.delete.delay.ms", nil, func(l *liveTopic) {
			l.write(-time.Hour, small)
			l.set("file.delete.delay.ms", "0")
			l.set("retention.ms", "60000")
			eventually(l.T, withinDefaults, "the files are gone", func() bool {
				return len(l.files(".deleted")) == 0 && !slices.Contains(l.files(".log"), fmt.Sprintf("%020d.log", 0))
			})
		}},
		{"max.message.bytes", nil, func(l *liveTopic) {
			l.write(0, large)
			l.set("max.message.bytes", "1000")
			l.refused(0, large, kerr.MessageTooLarge)
			l.write(0, small)
		}},
		{"flush.messages", nil, func(l *liveTopic) {
			l.write(0, small)
			l.set("flush.messages", "1")
			l.write(0, small)
			l.flushed(2)
		}},
		{"flush.ms", nil, func(l *liveTopic) {
			l.write(0, small)
			l.set("flush.ms", "0")
			l.flushed(1)
		}},
		{"compression.type", nil, func(l *liveTopic) {
			for name, want := range map[string]record.Codec{"gzip": record.CodecGzip, "zstd": record.CodecZstd, "uncompressed": record.CodecNone, "producer": record.CodecNone} {
				l.set("compression.type", name)
				l.write(0, large[:1000])
				if b := l.last(); b.Codec() != want || b.Check() != nil {
					l.Errorf("%s is stored as %v, %v", name, b.Codec(), b.Check())
				}
			}
		}},
		{"compression.gzip.level", []string{"compression.type", "gzip"}, func(l *liveTopic) {
			var sizes []int
			for _, level := range []string{"1", "9"} {
				l.set("compression.gzip.level", level)
				l.write(0, numbers)
				sizes = append(sizes, len(l.last()))
			}
			if sizes[1] >= sizes[0] {
				l.Errorf("levels 1 and 9 take %v bytes", sizes)
			}
		}},
		{"message.timestamp.type", nil, func(l *liveTopic) {
			l.write(-time.Hour, small)
			l.set("message.timestamp.type", "LogAppendTime")
			l.write(-time.Hour, small)
			if b := l.last(); !b.IsLogAppendTime() || b.MaxTimestamp() < l.now.UnixMilli() || b.Check() != nil {
				l.Errorf("append time %t, %d, %v", b.IsLogAppendTime(), b.MaxTimestamp(), b.Check())
			}
			found, err := l.admin.ListOffsetsAfterMilli(l.Context(), l.now.UnixMilli(), l.name)
			if at, ok := found.Lookup(l.name, 0); err != nil || !ok || at.Offset != 1 {
				l.Errorf("by time: %+v, %v", at, err)
			}
		}},
		{"message.timestamp.before.max.ms", nil, func(l *liveTopic) {
			l.write(-time.Hour, small)
			l.set("message.timestamp.before.max.ms", "60000")
			l.refused(-time.Hour, small, kerr.InvalidTimestamp)
		}},
		{"message.timestamp.after.max.ms", nil, func(l *liveTopic) {
			l.refused(2*time.Hour, small, kerr.InvalidTimestamp)
			l.set("message.timestamp.after.max.ms", "86400000")
			l.write(2*time.Hour, small)
		}},
		{"preallocate", []string{"segment.ms", "1000", "segment.bytes", "4194304"}, func(l *liveTopic) {
			if !canPreallocate(l.T, l.broker.dataDir) {
				l.Skip("the volume cannot reserve space")
			}
			l.write(-time.Hour, small)
			l.set("preallocate", "true")
			l.write(0, small)
			l.segments(0, 1)
			info, err := os.Stat(l.path(fmt.Sprintf("%020d.log", 1)))
			if err != nil || info.Size() > 1000 || info.Sys().(*syscall.Stat_t).Blocks*512 < 4<<20 {
				l.Errorf("%+v, %v", info.Sys(), err)
			}
		}},
	} {
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			l := &liveTopic{T: t, broker: broker, admin: newAdmin(t, broker.bootstrap), name: strings.ReplaceAll(c.key, ".", "-"), now: time.Now()}
			l.client = newClient(t, broker.bootstrap, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
			createTopic(t, l.admin, l.name, 1, c.configs...)
			c.run(l)
		})
	}
}

func canPreallocate(t *testing.T, dir string) bool {
	t.Helper()
	f, err := vfs.OS{}.OpenFile(filepath.Join(dir, "probe"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return vfs.Preallocate(f, 1<<20) == nil
}
