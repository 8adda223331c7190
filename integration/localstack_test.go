package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The tour of localstack/README.md must work as written, over each S3 server of localstack/up that
// is on this machine: versitygw always, MinIO and Moto if they have been built.
func TestLocalstackTour(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for kind, server := range map[string]string{"versitygw": "versitygw", "minio": "minio", "localstack": "moto/bin/moto_server"} {
		t.Run(kind, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(root, ".bin", server)); err != nil && kind != "versitygw" {
				t.Skipf("%v; localstack/up %s builds it", err, kind)
			}
			// Files are written next to the links, not to the checkout.
			dir := t.TempDir()
			for _, name := range []string{".bin", "tools", "localstack"} {
				if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			document := filepath.Join(t.TempDir(), "README.md")
			text, err := os.ReadFile("../localstack/README.md")
			if err != nil {
				t.Fatal(err)
			}
			if err = os.WriteFile(document, []byte(strings.ReplaceAll(string(text), "localstack/up versitygw", "localstack/up "+kind)), 0o644); err != nil {
				t.Fatal(err)
			}
			base := freeBase(t)
			t.Cleanup(func() {
				// It bounds itself. The test's context has ended.
				down := exec.Command("localstack/down")
				down.Dir = dir
				if out, downErr := down.CombinedOutput(); downErr != nil {
					t.Errorf("localstack/down: %v\n%s", downErr, out)
				}
			})
			tour{
				document: document, least: 5, dir: dir, bootstrap: "127.0.0.1:" + strconv.Itoa(base),
				env: []string{"VARVE_LOCAL_PORT=" + strconv.Itoa(base)},
			}.run(t)
			if _, err = os.Stat(filepath.Join(dir, "varve-local")); !os.IsNotExist(err) {
				t.Errorf("localstack/down has left varve-local: %v", err)
			}
		})
	}
}

// freeBase returns a port from which all ports of localstack/up are free.
func freeBase(t *testing.T) int {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		_, text, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		base, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		free := base > 1100 && base < 64000
		for _, more := range []int{-92, 8, 9, 10, 108, 109, 110, 208, 209, 210, 0, 100, 200, 552, 652, 752} {
			if !free {
				break
			}
			l, listenErr := lc.Listen(t.Context(), "tcp", "127.0.0.1:"+strconv.Itoa(base+more))
			if free = listenErr == nil; free {
				_ = l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}
