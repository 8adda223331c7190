package objstore_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/security/securitytest"
)

// TestS3OverTLS opens a bucket of a server whose authority is known only from a file.
func TestS3OverTLS(t *testing.T) {
	ca, other := securitytest.NewAuthority(t), securitytest.NewAuthority(t)
	pair := ca.Issue(t)
	server := objstoretest.StartS3(t)
	server.BucketURL(t, "secure")
	server.Secure(t, pair.CertFile, pair.KeyFile)
	bucket := server.URL("secure")
	with := func(file string) string { return bucket + "&ca_file=" + url.QueryEscape(file) }
	works := func(rawURL string) {
		t.Helper()
		b := open(t, rawURL)
		defer func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := b.Put(t.Context(), "key", strings.NewReader("value"), objstore.PutOptions{}); err != nil {
			t.Error(err)
		}
		if info, err := b.Stat(t.Context(), "key"); err != nil || info.Size != 5 {
			t.Errorf("%+v, %v", info, err)
		}
	}
	refused := func(rawURL, want string) {
		t.Helper()
		err := openAndCheck(t, rawURL)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	works(with(ca.File))
	refused(bucket, "signed by unknown authority: let the machine trust the authority, or name it with ca_file=FILE")
	refused(with(other.File), "signed by unknown authority")
	refused(with("/absent"), "ca_file: open /absent")
	refused(with(pair.KeyFile), "holds no certificate")
	t.Setenv("AWS_CA_BUNDLE", ca.File)
	works(bucket)
	t.Setenv("AWS_CA_BUNDLE", other.File)
	refused(bucket, "signed by unknown authority")
	works(with(ca.File))
}
