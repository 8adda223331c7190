package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// varve starts Varve from a binary.
type varve struct {
	binary string
}

func (v *varve) prepare(context.Context, string) error {
	info, err := os.Stat(v.binary)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: build it with make build, or give another path to -system", v.binary)
	case err != nil:
		return fmt.Errorf("find the binary of Varve: %w", err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program: give the path of a varve binary to -system", v.binary)
	}
	return nil
}

// The ports of a Varve broker after the one for clients. The control plane takes three.
const (
	varveHTTP    = 1
	varveControl = 2
)

func (v *varve) node(_ context.Context, s nodeSpec) ([]string, error) {
	var control []string
	if s.size > 1 {
		seeds := make([]string, s.size)
		for i := range seeds {
			seeds[i] = fmt.Sprintf("%d=%s", i+1, s.address(i+1, varveControl))
		}
		control = []string{"--control", s.address(s.id, varveControl), "--seeds", strings.Join(seeds, ",")}
	}
	return append([]string{
		v.binary, "broker", "start",
		"--node-id", strconv.Itoa(s.id),
		"--data-dir", filepath.Join(s.dir, "data"),
		"--listen", s.address(s.id, 0),
		"--http", s.address(s.id, varveHTTP),
		"--object-store", "file://" + filepath.Join(s.shared, "objects"),
	}, control...), nil
}
