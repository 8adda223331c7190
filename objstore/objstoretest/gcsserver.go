package objstoretest

import (
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// GCS is a fake-gcs-server process on a loopback port: Google Cloud Storage, with its objects in
// memory.
type GCS struct{ endpoint string }

// StartGCS starts a server and stops it when the test ends. It sets the variable that makes
// objstore.Open use the server, so the test must not be parallel. The server's binary is built from
// tools/fake-gcs-server if it is not there yet.
func StartGCS(t testing.TB) *GCS {
	t.Helper()
	binary := buildTool(t, "fake-gcs-server", "github.com/fsouza/fake-gcs-server")
	output := &lockedBuffer{}
	const attempts = 3 // another process may have taken the free port in between
	var err error
	for range attempts {
		address := freeAddress(t)
		host, port, splitErr := net.SplitHostPort(address)
		if splitErr != nil {
			t.Fatal(splitErr)
		}
		g := &GCS{endpoint: "http://" + address}
		cmd := exec.Command(binary, "-backend", "memory", "-scheme", "http", "-host", host, "-port", port, "-public-host", address, "-log-level", "warn") //nolint:noctx // ended below; a context would kill it before the test's clean-ups
		cmd.Stdout, cmd.Stderr = output, output
		process, exited, startErr := startServer(t.Context(), cmd, g.endpoint)
		if err = startErr; err != nil {
			continue
		}
		t.Cleanup(func() {
			_ = process.Process.Kill() // it may have ended
			_ = <-exited
			if t.Failed() {
				t.Logf("GCS server:\n%s", output)
			}
		})
		t.Setenv("STORAGE_EMULATOR_HOST", address)
		return g
	}
	t.Fatalf("start the GCS server: %v\n%s", err, output)
	return nil
}

// BucketURL creates a bucket and returns its URL for objstore.Open.
func (g *GCS) BucketURL(t testing.TB, bucket string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.endpoint+"/storage/v1/b?project=test", strings.NewReader(`{"name":"`+bucket+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("create bucket %s: %v", bucket, err)
	}
	if err = resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("create bucket %s: status %d, %v", bucket, resp.StatusCode, err)
	}
	return "gs://" + bucket
}
