package bucketadmin_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore/bucketadmin"
	"github.com/varvelog/varve/objstore/objstoretest"
)

func TestEnsureBucket(t *testing.T) {
	s3 := objstoretest.StartS3(t)
	for range 2 {
		if err := s3.EnsureBucket(t.Context(), "made-once"); err != nil {
			t.Fatal(err)
		}
	}
	wrong := s3.Server
	wrong.SecretKey = "wrong"
	if err := wrong.EnsureBucket(t.Context(), "denied"); err == nil || !strings.Contains(err.Error(), "denied at "+s3.Endpoint) {
		t.Errorf("%v", err)
	}
	for _, endpoint := range []string{"", "127.0.0.1:9000", "http://"} {
		if err := (bucketadmin.Server{Endpoint: endpoint}).EnsureBucket(t.Context(), "b"); err == nil || !strings.Contains(err.Error(), "endpoint") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	s3.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := s3.EnsureBucket(ctx, "nobody-there"); err == nil {
		t.Error("a bucket on a server that is down")
	}
}
