package broker

import (
	"io"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// benchCluster returns a broker with its logs on the real file system, and one client connection
// over loopback.
func benchCluster(b *testing.B, partitions int) (*dataCluster, metadata.TopicID, *client) {
	b.Helper()
	c := newDataClusterIn(b, 1, vfs.OS{}, b.TempDir())
	id := c.topic("bench", partitions)
	var lc net.ListenConfig
	ln, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	r := serveListener(b, c.Broker, ln)
	b.Cleanup(func() { r.finish(b, c.Broker) })
	var d net.Dialer
	conn, err := d.DialContext(b.Context(), "tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return c, id, &client{t: b, Conn: conn}
}

// exchange sends one encoded request and drops its response, so that the client costs almost
// nothing.
func (c *client) exchange(request []byte, response []byte) int {
	if _, err := c.Write(request); err != nil {
		c.t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		c.t.Fatal(err)
	}
	size := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	for left := size; left > 0; {
		n, err := c.Read(response[:min(left, len(response))])
		if err != nil {
			c.t.Fatal(err)
		}
		left -= n
	}
	return size
}

func encoded(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// BenchmarkProduceSmall sends one record of 100 bytes in each request, over loopback: it measures
// the cost of a request beyond its bytes.
func BenchmarkProduceSmall(b *testing.B) {
	_, _, conn := benchCluster(b, 1)
	request := encoded(produceRequest(12, -1, "bench", metadata.TopicID{}, 0, batchOf(b, string(make([]byte, 100)))))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		conn.exchange(request, buf)
	}
}

// BenchmarkFetchHot fetches 16 MiB of one partition from the page cache in each request, over
// loopback.
func BenchmarkFetchHot(b *testing.B) {
	c, id, conn := benchCluster(b, 16)
	benchmarkFetchHot(b, c, id, conn)
}

func benchmarkFetchHot(b *testing.B, c *dataCluster, id metadata.TopicID, conn *client) {
	b.Helper()
	batch := batchOf(b, slices.Repeat([]string{string(make([]byte, 1000))}, 64)...)
	for partition := range int32(16) {
		for range 17 {
			c.exchange(&Request{}, produceRequest(12, -1, "bench", metadata.TopicID{}, partition, slices.Clone(batch)))
		}
	}
	req := fetchRequest(17, "", id)
	for partition := range int32(16) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = partition, 1<<20
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	request, buf := encoded(req), make([]byte, 256<<10)
	b.SetBytes(int64(conn.exchange(request, buf)))
	b.ReportAllocs()
	for b.Loop() {
		conn.exchange(request, buf)
	}
}

// BenchmarkFetchIdleSession1000 fetches 1,000 partitions without news in a session: the cost of
// each poll of an idle consumer.
func BenchmarkFetchIdleSession1000(b *testing.B) {
	_, id, conn := benchCluster(b, 1000)
	req := fetchRequest(17, "", id)
	for partition := range int32(1000) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = partition, 1<<20
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	req.SessionEpoch, req.MaxWaitMillis = 0, 0
	if _, err := conn.Write(encoded(req)); err != nil {
		b.Fatal(err)
	}
	_, body, err := conn.receive()
	if err != nil {
		b.Fatal(err)
	}
	opened := req.ResponseKind()
	if err := opened.ReadFrom(body[1:]); err != nil {
		b.Fatal(err)
	}
	again := fetchRequest(17, "", id)
	again.Topics = nil
	again.SessionID, again.SessionEpoch = opened.(*kmsg.FetchResponse).SessionID, 1
	again.MaxWaitMillis = 1
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if n := conn.exchange(encoded(again), buf); n > 100 {
			b.Fatalf("response of %d bytes", n)
		}
		again.SessionEpoch++
	}
}
