package objstoretest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/varvelog/varve/objstore/bucketadmin"
)

// S3 is a process that serves S3 on a loopback port.
type S3 struct {
	bucketadmin.Server // endpoint and root keys

	command           func(host string) (*exec.Cmd, error)
	dir               string
	certFile, keyFile string // for TLS; "": without
	process           *exec.Cmd
	exited            chan error // receives once, when the process has ended
	output            *lockedBuffer
}

// StartS3 starts a versitygw over an empty directory and stops it when the test ends. It sets the
// AWS environment variables for the test and its child processes, so the test must not be parallel.
// The server's binary is built from tools/versitygw if it is not there yet, which takes some
// minutes.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	s := &S3{dir: t.TempDir(), output: &lockedBuffer{}}
	binary := buildTool(t, "versitygw", "github.com/versity/versitygw/cmd/versitygw")
	s.command = func(host string) (*exec.Cmd, error) { return s.versitygw(binary, host) }
	return s.begin(t)
}

// StartMinIO is StartS3 with a MinIO. Building MinIO takes a quarter of an hour, so the test is
// skipped unless localstack/up has built it.
func StartMinIO(t testing.TB) *S3 {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(root, ".bin", "minio")
	if _, err = os.Stat(binary); err != nil {
		t.Skipf("no MinIO: %v; localstack/up minio builds it", err)
	}
	s := &S3{dir: t.TempDir(), output: &lockedBuffer{}}
	s.command = func(host string) (*exec.Cmd, error) {
		cmd := exec.Command(binary, "server", "--quiet", "--address", host, "--console-address", "127.0.0.1:0", s.dir) //nolint:noctx // Stop ends it
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey)
		return cmd, nil
	}
	return s.begin(t)
}

// begin starts the server for the first time.
func (s *S3) begin(t testing.TB) *S3 {
	t.Helper()
	s.Region, s.AccessKey, s.SecretKey = "us-east-1", "varve-test", rand.Text()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey, "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_CA_BUNDLE": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_REQUEST_CHECKSUM_CALCULATION": "",
	} {
		t.Setenv(name, value)
	}
	const attempts = 3 // another process may have taken the free port in between
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

// BucketURL creates a bucket and returns its URL for objstore.Open.
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

// Secure restarts the server with a certificate (PEM). From then on it speaks only TLS, so
// BucketURL must be called before.
func (s *S3) Secure(t testing.TB, certFile, keyFile string) {
	t.Helper()
	s.Stop(t)
	s.certFile, s.keyFile = certFile, keyFile
	s.Endpoint = "https" + s.Endpoint[len("http"):]
	s.Start(t)
}

// URL returns the URL of a bucket that already exists.
func (s *S3) URL(bucket string) string { return s.url(bucket) }

// Start starts the server after Stop, on the same port and with the same objects.
func (s *S3) Start(t testing.TB) {
	t.Helper()
	if err := s.run(t.Context()); err != nil {
		t.Fatalf("start the S3 server again: %v\n%s", err, s.output)
	}
}

// Stop ends the server. It does nothing if the server has already ended.
func (s *S3) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	// On SIGTERM the server waits ten seconds for idle connections. A kill leaves no partial
	// object, because objects appear by a rename.
	_ = s.process.Process.Kill() // it may have ended
	_ = <-s.exited
	s.process = nil
}

// run starts the process and waits until it answers.
func (s *S3) run(ctx context.Context) error {
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil {
		return err
	}
	cmd, err := s.command(endpoint.Host)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.output, s.output
	s.process, s.exited, err = startServer(ctx, cmd, s.Endpoint)
	return err
}

func (s *S3) versitygw(binary, host string) (*exec.Cmd, error) {
	objects, metadata := filepath.Join(s.dir, "objects"), filepath.Join(s.dir, "metadata")
	for _, dir := range []string{objects, metadata} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	var secure []string
	if s.certFile != "" {
		secure = []string{"--cert", s.certFile, "--key", s.keyFile}
	}
	// Without a side directory the server keeps its metadata in extended attributes. Some file
	// systems on which tests run do not have them.
	args := slices.Concat([]string{"--quiet", "--keep-alive", "--port", host, "--region", s.Region}, secure, []string{"posix", "--sidecar", metadata, objects})
	cmd := exec.Command(binary, args...) //nolint:noctx // Stop ends it; a context would kill it before the test's clean-ups
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	return cmd, nil
}
