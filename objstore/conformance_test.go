package objstore_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

func open(t *testing.T, rawURL string) objstore.Bucket {
	t.Helper()
	b, err := objstore.Open(t.Context(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMemory(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket { t.Helper(); return open(t, "mem://") })
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket { t.Helper(); return open(t, "file://"+t.TempDir()+"/objects") })
}

func TestDirectoryWithPrefix(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return open(t, "file://"+t.TempDir()+"?prefix=some/where")
	})
}

func TestDecorators(t *testing.T) {
	t.Parallel()
	harden := func(b objstore.Bucket, attempt time.Duration) objstore.Bucket {
		o := objstore.DefaultHardenOptions()
		o.AttemptTimeout, o.MaxRequests, o.Registerer = attempt, 3, prometheus.NewRegistry()
		o.Retry = objstore.RetryOptions{Attempts: 500, FirstWait: time.Microsecond, MaxWait: time.Microsecond}
		return objstore.Harden(b, o)
	}
	t.Run("OverMemory", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket { t.Helper(); return harden(open(t, "mem://"), time.Minute) })
	})
	t.Run("Faults", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket { t.Helper(); return objstoretest.NewFaults(open(t, "mem://")) })
	})
	// A store that fails now and then, before or after the work, must look perfect from outside.
	t.Run("OverFaults", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
			t.Helper()
			b := objstoretest.NewFaults(open(t, "mem://"))
			for _, kind := range []objstoretest.Kind{objstoretest.Fail, objstoretest.FailAfter, objstoretest.PartialRead} {
				b.Add(objstoretest.Fault{Kind: kind, Times: 40})
			}
			return harden(b, time.Minute)
		})
	})
}

func TestS3(t *testing.T) { conforms(t, objstoretest.StartS3(t).BucketURL, "&") }

// The buckets of AWS receive the SDK's checksums; so does this one.
func TestS3WithChecksums(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	var n atomic.Int64
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return open(t, s3.BucketURL(t, fmt.Sprintf("bucket-%d", n.Add(1)))+"&checksum=when_supported")
	})
}

func TestMinIO(t *testing.T) { conforms(t, objstoretest.StartMinIO(t).BucketURL, "&") }

func TestGCS(t *testing.T) { conforms(t, objstoretest.StartGCS(t).BucketURL, "?") }

func TestAzure(t *testing.T) { conforms(t, objstoretest.StartAzure(t).BucketURL, "?") }

// conforms runs the suite on fresh buckets of a server, plain and with the decorators of a broker.
// separator precedes an additional parameter of their URLs.
func conforms(t *testing.T, bucketURL func(t testing.TB, name string) string, separator string) {
	t.Helper()
	var n atomic.Int64
	fresh := func(t *testing.T, more string) objstore.Bucket {
		t.Helper()
		return open(t, bucketURL(t, fmt.Sprintf("bucket-%d", n.Add(1)))+more)
	}
	t.Run("Plain", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket { t.Helper(); return fresh(t, "") })
	})
	t.Run("HardenedWithPrefix", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
			t.Helper()
			return objstore.Harden(fresh(t, separator+"prefix=some/where/"), objstore.DefaultHardenOptions())
		})
	})
}
