package integration

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// farStore is an HTTP proxy that makes an object store as distant as one in a cloud: the first byte
// takes some time, and each connection has a limited bandwidth. It counts requests by kind.
type farStore struct {
	*httptest.Server
	mu     sync.Mutex
	counts storeCounts
}

// storeCounts are the requests by method and kind of object, and the bytes read from objects.
type storeCounts struct {
	requests map[string]int
	read     int64
}

const (
	farFirstByte = 20 * time.Millisecond
	farBandwidth = 50e6 // bytes per second and connection
)

func startFarStore(t *testing.T, endpoint string) *farStore {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s := &farStore{counts: storeCounts{requests: map[string]int{}}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature covers it
			s.count(r.In)
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
		ModifyResponse: func(r *http.Response) error {
			r.Body = &farBody{ReadCloser: r.Body, first: time.Now().Add(farFirstByte), store: s, counts: r.Request.Method == http.MethodGet}
			return nil
		},
	}
	s.Server = httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return s
}

func (s *farStore) count(r *http.Request) {
	kind := "other"
	switch {
	case isSegment(r.URL.Path):
		kind = "segment"
	case strings.Contains(r.URL.Path, "/manifest/"):
		kind = "manifest"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.requests[r.Method+" "+kind]++
}

func isSegment(key string) bool { return strings.HasSuffix(key, ".segment") }

// take returns the counts since the last call.
func (s *farStore) take() storeCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counts
	s.counts = storeCounts{requests: map[string]int{}}
	return counts
}

// farBody is a response body that arrives with the latency and bandwidth of the distance.
type farBody struct {
	io.ReadCloser
	first  time.Time // time of the first byte
	read   int64
	store  *farStore
	counts bool
}

func (b *farBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if b.counts {
		b.store.mu.Lock()
		b.store.counts.read += int64(n)
		b.store.mu.Unlock()
	}
	time.Sleep(time.Until(b.first.Add(time.Duration(float64(b.read) / farBandwidth * float64(time.Second)))))
	return n, err
}

// The history on a distant, real S3 server must be written and read with few requests, and no byte
// may be read twice. The test logs the speed compared with a plain client; VARVE_LONG=1 uses enough
// data for a meaningful comparison.
func TestColdReadsTakeFewRequests(t *testing.T) {
	const segmentBytes, chunkBytes = 16 << 20, 256 << 10
	segments := testRounds(4, 40)
	s3 := objstoretest.StartS3(t)
	near := s3.BucketURL(t, "far")
	store := startFarStore(t, s3.Endpoint)
	far := strings.Replace(near, url.QueryEscape(s3.Endpoint), url.QueryEscape(store.URL), 1)
	broker := startBroker(t, "--object-store", far)
	createTopic(t, newAdmin(t, broker.bootstrap), "far", 1, "segment.bytes", "16777216", "local.retention.bytes", "1", "retention.ms", "-1")
	store.take()

	value := make([]byte, 1<<10)
	_, _ = rand.Read(value)
	records := segments*segmentBytes/(len(value)+8) + 1000
	producer := newClient(t, broker.bootstrap, kgo.DefaultProduceTopic("far"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range records {
		producer.Produce(t.Context(), kgo.SliceRecord(value), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var row tierRow
	eventually(t, 3*time.Minute, "all closed segments are only in the bucket", func() bool {
		row = broker.tier(t, "far")[0]
		return row.LagBytes == 0 && row.LocalStart == row.RemoteEnd && row.RemoteBytes >= int64(segments-1)*segmentBytes
	})
	put := store.take()
	objects := segmentsIn(t, near)
	n := len(objects)
	t.Logf("%d segments: %v", n, put.requests)
	if got := put.requests["PUT segment"]; got > n+n/20 {
		t.Errorf("%d PUTs of segments, of which there are %d", got, n)
	}
	if got := put.requests["PUT manifest"]; got > n+1 { // the first one is of an empty tier
		t.Errorf("%d PUTs of manifests for %d segments", got, n)
	}

	consumer := newClient(t, broker.bootstrap, kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(16<<20),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"far": {0: kgo.NewOffset().AtStart()}}))
	began := time.Now()
	consume(t, consumer, int(row.RemoteEnd), 2*time.Minute, func(*kgo.Record) {})
	took := time.Since(began)
	got := store.take()
	gets := got.requests["GET segment"]
	t.Logf("%d bytes in %v, %.0f MB/s, by %d GETs: %v", got.read, took, float64(row.RemoteBytes)/took.Seconds()/1e6, gets, got.requests)
	if chunks := int(row.RemoteBytes/chunkBytes) + n; gets > chunks+n {
		t.Errorf("%d GETs for %d chunks of %d segments", gets, chunks, n)
	}
	if most := n * (segmentBytes/(4<<20)*2 + 2); gets > most {
		t.Errorf("%d GETs, want at most %d: two for each that could have brought 4 MiB, and two", gets, most)
	}
	if got.read > row.RemoteBytes*11/10 {
		t.Errorf("%d bytes were read to deliver %d", got.read, row.RemoteBytes)
	}
	began = time.Now()
	size := plainReads(t, far, objects)
	took = time.Since(began)
	t.Logf("a plain client: %d bytes in %v, %.0f MB/s", size, took, float64(size)/took.Seconds()/1e6)
}

func segmentsIn(t *testing.T, bucketURL string) (objects []objstore.ObjectInfo) {
	t.Helper()
	bucket, err := objstore.Open(t.Context(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	for object, listErr := range bucket.List(t.Context(), "") {
		if listErr != nil {
			t.Fatal(listErr)
		}
		if isSegment(object.Key) {
			objects = append(objects, object)
		}
	}
	return objects
}

// plainReads reads the objects of a bucket with requests of 4 MiB, eight at a time, which is the
// read-ahead concurrency of the broker.
func plainReads(t *testing.T, bucketURL string, objects []objstore.ObjectInfo) (size int64) {
	t.Helper()
	const window, atATime = 4 << 20, 8
	bucket, err := objstore.Open(t.Context(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(atATime)
	for _, object := range objects {
		size += object.Size
		for at := int64(0); at < object.Size; at += window {
			group.Go(func() error {
				_, readErr := bucket.GetRange(ctx, object.Key, at, make([]byte, min(window, object.Size-at)))
				return readErr
			})
		}
	}
	if err = group.Wait(); err != nil {
		t.Fatal(err)
	}
	return size
}
