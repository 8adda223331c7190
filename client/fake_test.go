package client

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBroker is a cluster of one broker. It answers each API with the test's function, at the
// version of the request.
type fakeBroker struct {
	addr     string
	answers  map[int16]func(kmsg.Request) kmsg.Response
	features func(*kmsg.ApiVersionsResponse) // fills in the features; may be nil
}

// newFakeBroker serves on a loopback port until the test ends. Its answers include metadata with
// the given topics, all led by node 1.
func newFakeBroker(t *testing.T, partitions map[string]int, answers ...func(kmsg.Request) kmsg.Response) *fakeBroker {
	t.Helper()
	f := &fakeBroker{answers: map[int16]func(kmsg.Request) kmsg.Response{}}
	f.addr = serve(t, f.serve)
	f.answers[int16(kmsg.Metadata)] = func(r kmsg.Request) kmsg.Response { return f.metadata(r.(*kmsg.MetadataRequest), partitions) }
	for _, answer := range answers {
		for _, key := range []kmsg.Key{
			kmsg.ListOffsets, kmsg.DescribeLogDirs, kmsg.DescribeConfigs, kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.FindCoordinator,
			kmsg.DescribeGroups, kmsg.OffsetFetch, kmsg.IncrementalAlterConfigs, kmsg.ListGroups,
			kmsg.DescribeCluster, kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments, kmsg.ElectLeaders,
			kmsg.AlterReplicaLogDirs,
		} {
			if answer(kmsg.RequestForKey(int16(key))) != nil {
				f.answers[int16(key)] = answer
			}
		}
	}
	return f
}

// serve accepts connections until the test ends, and waits for their handlers.
func serve(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var open struct {
		sync.Mutex
		conns []net.Conn
	}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Lock()
			open.conns = append(open.conns, conn)
			open.Unlock()
			wg.Go(func() { defer conn.Close(); handle(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Lock()
		for _, conn := range open.conns {
			conn.Close()
		}
		open.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func (f *fakeBroker) serve(conn net.Conn) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		if _, err := conn.Write(f.answer(frame)); err != nil {
			return
		}
	}
}

func (f *fakeBroker) answer(frame []byte) []byte {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	correlation := frame[4:8]
	body := frame[10+int(binary.BigEndian.Uint16(frame[8:])):] // after the client id
	request := kmsg.RequestForKey(key)
	request.SetVersion(version)
	if request.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := request.ReadFrom(body); err != nil {
		panic(err)
	}
	var response kmsg.Response
	if key == int16(kmsg.ApiVersions) {
		response = f.apiVersions()
	} else {
		response = f.answers[key](request)
	}
	response.SetVersion(version)
	out := append(make([]byte, 4), correlation...)
	if response.IsFlexible() && key != int16(kmsg.ApiVersions) {
		out = append(out, 0)
	}
	out = response.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

func (f *fakeBroker) apiVersions() kmsg.Response {
	r := kmsg.NewPtrApiVersionsResponse()
	for key := range f.answers {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MaxVersion = key, kmsg.RequestForKey(key).MaxVersion()
		r.ApiKeys = append(r.ApiKeys, k)
	}
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MaxVersion = int16(kmsg.ApiVersions), 4
	r.ApiKeys = append(r.ApiKeys, k)
	if f.features != nil {
		f.features(r)
	}
	return r
}

func (f *fakeBroker) metadata(request *kmsg.MetadataRequest, partitions map[string]int) kmsg.Response {
	r := kmsg.NewPtrMetadataResponse()
	host, port, _ := net.SplitHostPort(f.addr)
	number, _ := strconv.Atoi(port)
	broker := kmsg.NewMetadataResponseBroker()
	broker.NodeID, broker.Host, broker.Port = 1, host, int32(number)
	r.Brokers, r.ControllerID = []kmsg.MetadataResponseBroker{broker}, 1
	names := []string{}
	for _, t := range request.Topics {
		if t.Topic != nil {
			names = append(names, *t.Topic)
			continue
		}
		for name := range partitions {
			if topicID(name) == t.TopicID {
				names = append(names, name)
			}
		}
	}
	if request.Topics == nil {
		for name := range partitions {
			names = append(names, name)
		}
	}
	for _, name := range names {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID, t.IsInternal = &name, topicID(name), name == "__internal"
		n, exists := partitions[name]
		if !exists {
			t.ErrorCode = 3
		}
		for i := range n {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.Replicas, p.ISR = int32(i), 1, []int32{1}, []int32{1}
			t.Partitions = append(t.Partitions, p)
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

func topicID(name string) [16]byte {
	id := [16]byte{}
	copy(id[:], name)
	return id
}

// connect opens a client of the address with a short timeout.
func connect(t *testing.T, addr string) *Client {
	t.Helper()
	c, err := Open(Options{Bootstrap: []string{addr}, Timeout: 5e9})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
