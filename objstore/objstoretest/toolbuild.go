package objstoretest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const moduleLine = "module github.com/varvelog/varve\n"

// buildTool returns the binary <repository>/.bin/NAME, built from pkg in the module tools/NAME. It
// builds it if it is missing or if the module has changed. A file lock keeps the tests of several
// packages from building at the same time. Later calls cost almost nothing.
func buildTool(t testing.TB, name, pkg string) string {
	t.Helper()
	binary, err := ensureTool(t, name, pkg)
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return binary
}

func ensureTool(t testing.TB, name, pkg string) (binary string, err error) {
	t.Helper()
	return ensure(t, name, []string{"go.mod", "go.sum"}, func(module, binary string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-C", module, "-trimpath", "-buildvcs=false", "-o", binary, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
		return cmd
	})
}

// ensure returns <repository>/.bin/NAME. A command creates it from tools/NAME if it is missing, or
// if one of the files that pin it has changed.
func ensure(t testing.TB, name string, pins []string, command func(source, target string) *exec.Cmd) (target string, err error) {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "tools", name)
	stamp, err := stampOf(source, pins)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, ".bin")
	if err = os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(bin, name+".lock"))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	target, stampFile := filepath.Join(bin, name), filepath.Join(bin, name+".stamp")
	if _, err = os.Stat(target); err == nil {
		if built, readErr := os.ReadFile(stampFile); readErr == nil && bytes.Equal(built, stamp) {
			return target, nil
		}
	}
	t.Logf("building %s from tools/%s: some minutes, once", target, name)
	cmd := command(source, target)
	if out, buildErr := cmd.CombinedOutput(); buildErr != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, buildErr, out)
	}
	return target, os.WriteFile(stampFile, stamp, 0o644)
}

// moduleRoot returns the root of the repository. It searches upward from the working directory,
// which in a test is that of the package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		switch {
		case err == nil && bytes.HasPrefix(mod, []byte(moduleLine)):
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", err
		case filepath.Dir(dir) == dir:
			return "", errors.New("no go.mod of varve in the working directory or above it")
		}
		dir = filepath.Dir(dir)
	}
}

// stampOf identifies a build by the files that pin it.
func stampOf(dir string, pins []string) ([]byte, error) {
	sum := sha256.New()
	for _, name := range pins {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		_, _ = sum.Write(data) // never fails
	}
	return fmt.Appendf(nil, "%x\n", sum.Sum(nil)), nil
}

// lockFile waits for a lock between processes. The lock is released if its process crashes.
func lockFile(name string) (unlock func() error, err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
