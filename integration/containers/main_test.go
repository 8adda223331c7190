package containers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

// errNoEngine is the reason why there is no Docker engine to test with, or nil.
var errNoEngine error

// The images that the tests run.
const (
	varveImage = "varve:containers-test"
	etcdImage  = "varve-test/etcd"
	natsImage  = "varve-test/nats-server"
	s3Image    = "varve-test/versitygw"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	local := os.Getenv("DOCKER_HOST") == "" || strings.HasPrefix(os.Getenv("DOCKER_HOST"), "unix:")
	for name, value := range map[string]string{
		"TESTCONTAINERS_RYUK_DISABLED": "true", // its image is only in a registry
		// A machine that looks like a container would otherwise be taken for one.
		"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",
		"AWS_ACCESS_KEY_ID":            s3Key, "AWS_SECRET_ACCESS_KEY": s3Secret,
	} {
		if os.Getenv(name) == "" && (local || !strings.HasPrefix(name, "TESTCONTAINERS_HOST")) {
			if err := os.Setenv(name, value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	if errNoEngine = engine(ctx); errNoEngine == nil {
		if err := buildImages(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "build the images: %v\n", err)
			return 1
		}
	}
	return m.Run()
}

// engine returns an error if no Docker engine answers.
func engine(ctx context.Context) error {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer func() { _ = provider.Close() }()
	return provider.Health(ctx)
}

// needsEngine skips the test if there is no Docker engine.
func needsEngine(t *testing.T) {
	t.Helper()
	if errNoEngine != nil {
		t.Skipf("no Docker engine answers, so nothing of this package is tested (the same checks over plain processes: go test ./integration): %v", errNoEngine)
	}
}

// buildImages builds the product's image as users do, and the images of the servers it needs.
func buildImages(ctx context.Context) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if err = command(ctx, "make", "-C", root, "image", "VERSION=containers-test"); err != nil {
		return err
	}
	for _, server := range []struct{ image, module, pkg, dirs, entrypoint string }{
		{etcdImage, "etcd", "go.etcd.io/etcd/server/v3", "data", `["/server", "--data-dir", "/data"]`},
		{natsImage, "nats-server", "github.com/nats-io/nats-server/v2", "data", `["/server", "-m", "8222"]`},
		{s3Image, "versitygw", "github.com/versity/versitygw/cmd/versitygw", "objects metadata", `["/server"]`},
	} {
		if err = buildImage(ctx, filepath.Join(root, "tools", server.module), server.image, server.pkg, strings.Fields(server.dirs), server.entrypoint); err != nil {
			return err
		}
	}
	return nil
}

// buildImage builds an image from one static binary and some empty directories.
func buildImage(ctx context.Context, module, image, pkg string, dirs []string, entrypoint string) (err error) {
	dir, err := os.MkdirTemp("", "varve-image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err = command(ctx, "go", "build", "-C", module, "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "server"), pkg); err != nil {
		return err
	}
	var dockerfile strings.Builder
	dockerfile.WriteString("FROM scratch\nCOPY server /server\n")
	for _, d := range dirs {
		if err = os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
		dockerfile.WriteString("COPY " + d + " /" + d + "\n")
	}
	if err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile.String()+"ENTRYPOINT "+entrypoint+"\n"), 0o644); err != nil {
		return err
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer func() { _ = provider.Close() }()
	_, err = provider.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{Context: dir, Repo: image, Tag: "latest", KeepImage: true}})
	return err
}

// command runs a build step. Its output is part of the error.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "DOCKER_BUILDKIT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
