package objstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore/bucketadmin"
)

// S3 is a versitygw process that serves S3 on a loopback port.
type S3 struct {
	bucketadmin.Server // endpoint and root keys

	binary, dir       string
	certFile, keyFile string // with TLS
	process           *exec.Cmd
	exited            chan error // receives once, when the process has ended
	output            *lockedBuffer
}

// StartS3 starts an S3 server over an empty directory and ends it with the
// test. It sets the AWS environment variables for the test and for the
// processes that the test starts, which is why the test must not be parallel.
// The server's binary is built from tools/versitygw when it is not there yet,
// which takes some minutes.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	s := &S3{binary: buildTool(t, "versitygw", "github.com/versity/versitygw/cmd/versitygw"), dir: t.TempDir(), output: &lockedBuffer{}}
	s.Region, s.AccessKey, s.SecretKey = "us-east-1", "varve-test", rand.Text()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey, "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_CA_BUNDLE": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(name, value)
	}
	const attempts = 3 // the free port may be taken by the time the server wants it
	var err error
	for range attempts {
		s.Endpoint = "http://" + freeAddress(t)
		if err = s.run(t.Context()); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("start the S3 server: %v\n%s", err, s.output)
	}
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("S3 server:\n%s", s.output)
		}
	})
	return s
}

// BucketURL makes a bucket and returns the URL that objstore.Open takes.
func (s *S3) BucketURL(t testing.TB, bucket string) string {
	t.Helper()
	if err := s.EnsureBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	return s.url(bucket)
}

func (s *S3) url(bucket string) string {
	query := url.Values{"endpoint": {s.Endpoint}, "region": {s.Region}, "path_style": {"true"}}
	return (&url.URL{Scheme: "s3", Host: bucket, RawQuery: query.Encode()}).String()
}

// Secure starts the server again with a certificate (PEM), after which it
// speaks TLS only. BucketURL is for before that.
func (s *S3) Secure(t testing.TB, certFile, keyFile string) {
	t.Helper()
	s.Stop(t)
	s.certFile, s.keyFile = certFile, keyFile
	s.Endpoint = "https" + s.Endpoint[len("http"):]
	s.Start(t)
}

// URL is that of a bucket that is there already.
func (s *S3) URL(bucket string) string { return s.url(bucket) }

// Start starts the server again after Stop, on the same port and with the same
// objects.
func (s *S3) Start(t testing.TB) {
	t.Helper()
	if err := s.run(t.Context()); err != nil {
		t.Fatalf("start the S3 server again: %v\n%s", err, s.output)
	}
}

// Stop ends the server; when it has ended already, nothing happens.
func (s *S3) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	// Asked politely, it waits ten seconds for idle connections. Objects appear by
	// a rename, so that a kill leaves none in part.
	_ = s.process.Process.Kill() // it may have ended
	_ = <-s.exited
	s.process = nil
}

// run starts the process and waits until it answers.
func (s *S3) run(ctx context.Context) error {
	objects, metadata := filepath.Join(s.dir, "objects"), filepath.Join(s.dir, "metadata")
	for _, dir := range []string{objects, metadata} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil {
		return err
	}
	var secure []string
	if s.certFile != "" {
		secure = []string{"--cert", s.certFile, "--key", s.keyFile}
	}
	// Not every file system that tests run on has the extended attributes that
	// the server keeps its metadata in without a side directory.
	args := slices.Concat([]string{"--quiet", "--keep-alive", "--port", endpoint.Host, "--region", s.Region}, secure, []string{"posix", "--sidecar", metadata, objects})
	cmd := exec.Command(s.binary, args...) //nolint:noctx // Stop ends it; a context would kill it before the test's clean-ups
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	s.process, s.exited, err = startServer(ctx, cmd, s.Endpoint)
	return err
}

// startServer starts the process and waits until something answers at the
// endpoint. The channel receives once, when the process has ended; when
// startServer fails, it has ended already.
func startServer(ctx context.Context, cmd *exec.Cmd, endpoint string) (*exec.Cmd, chan error, error) {
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			return nil, nil, fmt.Errorf("the process ended: %w", errors.Join(err, errors.New("see its output")))
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			_ = <-exited
			return nil, nil, fmt.Errorf("no answer within %v", patience)
		case <-tick.C:
		}
		if answers(ctx, endpoint) {
			return cmd, exited, nil
		}
	}
}

// answers says whether an HTTP server is there; that it denies access is fine.
func answers(ctx context.Context, endpoint string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", http.NoBody)
	if err != nil {
		return false
	}
	insecure := &tls.Config{InsecureSkipVerify: true} // who is there is for the tests to find out
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: insecure}}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// freeAddress is a loopback address that nothing listens on at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// lockedBuffer collects a process's output; it may be read while it is written.
type lockedBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Write(p)
}

// String is what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.String()
}
