package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/objstore/objstoretest"
)

// Any bytes sent to the port must yield an error or a closed connection, and the broker must
// continue to serve others.
func TestHostileBytes(t *testing.T) {
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "hostile", 1)

	frame := func(length int32, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(length)), body...)
	}
	random := func(n int) []byte {
		b := make([]byte, n)
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for name, sent := range map[string][]byte{
		"random bytes":          random(4096),
		"random frame":          frame(1000, random(1000)...),
		"negative length":       frame(-1, random(100)...),
		"length of 2 GiB":       frame(0x7fffffff, random(100)...),
		"zero length":           frame(0),
		"truncated frame":       frame(100, random(50)...),
		"header cut short":      frame(3, 0, 1, 0),
		"unknown api":           frame(10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"metadata, cut arrays":  frame(14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff),
		"produce, cut arrays":   frame(24, 0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 0),
		"an HTTP request":       []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a TLS hello":           {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"nothing, just closing": {},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, broker.bootstrap)
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Log(err) // the broker may have reset the connection already
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection hangs")
			}
		})
	}
	stillServes(t, broker)
}

// Connections that announce a large frame and send nothing must cost almost no memory, and must not
// affect other connections.
func TestAnnouncedFramesCostNothing(t *testing.T) {
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "hostile", 1)
	stillServes(t, broker)
	before := residentBytes(t, broker)
	for range 200 {
		if _, err := dial(t, broker.bootstrap).Write(binary.BigEndian.AppendUint32(nil, 100<<20)); err != nil {
			t.Fatal(err)
		}
	}
	stillServes(t, broker)
	if grown := residentBytes(t, broker) - before; grown > 64<<20 && !raceEnabled {
		t.Errorf("200 announced frames of 100 MiB cost %d MiB", grown>>20)
	}
}

func TestBadProduceRequests(t *testing.T) {
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "hostile", 1, "max.message.bytes", "10000")
	client := newClient(t, broker.bootstrap, kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(4<<20), kgo.UnknownTopicRetries(0))

	produce := func(topic string, batch []byte) error {
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 5000
		rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		rt.Topic, rp.Records = topic, batch
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		req.SetVersion(12)
		broker := client.Broker(1)
		resp, err := broker.Request(t.Context(), pinned{req})
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
	}
	batch := func() []byte {
		rec := kmsg.NewRecord()
		rec.Value = []byte("hello")
		rec.Length = int32(len(rec.AppendTo(nil)) - 1)
		b := kmsg.NewRecordBatch()
		b.Magic, b.NumRecords, b.Records, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 2, 1, rec.AppendTo(nil), -1, -1, -1
		b.FirstTimestamp, b.MaxTimestamp = time.Now().UnixMilli(), time.Now().UnixMilli()
		b.Length = int32(len(b.AppendTo(nil)) - 12)
		raw := b.AppendTo(nil)
		binary.BigEndian.PutUint32(raw[17:], crc32c(raw[21:]))
		return raw
	}
	if err := produce("hostile", batch()); err != nil {
		t.Fatalf("a good batch: %v", err)
	}
	wrongCRC := batch()
	wrongCRC[len(wrongCRC)-1] ^= 1
	oldMagic := batch()
	oldMagic[16] = 1
	for _, c := range []struct {
		name  string
		topic string
		batch []byte
		want  error
	}{
		{"wrong CRC", "hostile", wrongCRC, kerr.CorruptMessage},
		{"truncated batch", "hostile", batch()[:50], kerr.InvalidRecord},
		{"old magic", "hostile", oldMagic, kerr.InvalidRecord},
		{"unknown topic", "nowhere", batch(), kerr.UnknownTopicOrPartition},
	} {
		if err := produce(c.topic, c.batch); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	big := &kgo.Record{Topic: "hostile", Value: bytes.Repeat([]byte("x"), 20000)}
	if err := client.ProduceSync(t.Context(), big).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("oversized batch: got %v, want %v", err, kerr.MessageTooLarge)
	}
	stillServes(t, broker)
}

// Settings that cannot work must end the start with one line that says what to do.
func TestStartErrorsNameTheRemedy(t *testing.T) {
	broker := startBroker(t)
	s3 := objstoretest.StartS3(t)
	notADirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notADirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"data directory in use", []string{"--data-dir", broker.dataDir}, "in use"},
		{"data directory is a file", []string{"--data-dir", notADirectory}, "not a directory"},
		{"data directory cannot be written", []string{"--data-dir", "/proc/varve"}, "/proc/varve"},
		{"bucket of no such scheme", []string{"--object-store", "ftp://bucket"}, "ftp"},
		{"address in use", []string{"--listen", broker.bootstrap}, "in use"},
		{"two listeners of one name", []string{"--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, "the listener PLAINTEXT is there twice"},
		{"a listener with TLS", []string{"--set", "listener.security.protocol.map=PLAINTEXT:SSL"}, "the security protocol SSL needs a certificate: set ssl.keystore.location"},
		{"unknown setting", []string{"--set", "log.segment.byte=1"}, "log.segment.bytes"},
		{"bad value", []string{"--set", "log.segment.bytes=many"}, "log.segment.bytes"},
		{"no such bucket", []string{"--object-store", s3.URL("nowhere")}, "s3://nowhere"},
		{"no such directory", []string{"--object-store", "file:///nowhere/at/all"}, "/nowhere/at does not exist: create it"},
		{"a bucket in memory", []string{"--object-store", "mem://"}, "mem://"},
		{"several brokers without a bucket", []string{"--etcd", "http://127.0.0.1:1"}, "--object-store is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"broker", "start", "--data-dir", filepath.Join(t.TempDir(), "d"), "--http", "127.0.0.1:0"}, c.args...)
			if c.args[0] != "--listen" { // two of them would be two listeners
				args = append(args, "--listen", "127.0.0.1:0")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, varveBinary, args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("ended with %v, want exit status 1\n%s", err, &stderr)
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if message := lines[len(lines)-1]; !strings.Contains(message, c.want) || len(message) > 400 {
				t.Errorf("the message does not name %q in one line: %s", c.want, message)
			}
		})
	}
}

// pinned keeps the version of a raw request that the test has set.
type pinned struct{ *kmsg.ProduceRequest }

func (p pinned) MaxVersion() int16 { return p.GetVersion() }

func stillServes(t *testing.T, broker *process) {
	t.Helper()
	client := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("hostile"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.ProduceSync(ctx, kgo.StringRecord("still here")).FirstErr(); err != nil {
		t.Fatalf("the broker no longer serves: %v", err)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: time.Minute}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// residentBytes returns the process's resident set, as counted by Linux.
func residentBytes(t *testing.T, p *process) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
