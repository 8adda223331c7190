package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	// enoughFree is the free memory at which the page cache counts as full.
	enoughFree = 400 << 20
	fillPiece  = 1 << 20
	checkEvery = 64 // pieces
)

// fillPageCache reads a file of holes until little memory is free. A virtual machine gives free
// memory back to its host, and the first write to a page that it must get again costs the writer
// much more than the write: a broker would be measured with a cost that one which runs for an hour
// no longer has. The file stays in dir, since its pages go with it, and needs no space on the disk.
func fillPageCache(ctx context.Context, dir string, memory memoryFunc) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fill the page cache: %w", err)
		}
	}()
	total, free, err := memory()
	if err != nil || free <= enoughFree {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, "page-cache"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err = file.Truncate(total); err != nil {
		return err
	}
	piece := make([]byte, fillPiece)
	for read := 0; ctx.Err() == nil; read++ {
		if _, err = io.ReadFull(file, piece); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil // the file is as large as the memory
			}
			return err
		}
		if read%checkEvery != 0 {
			continue
		}
		if _, free, err = memory(); err != nil || free <= enoughFree {
			return err
		}
	}
	return ctx.Err()
}

// memoryFunc is the function memory, or a test's.
type memoryFunc func() (total, free int64, err error)

// memory returns the memory of the machine and what of it is free.
func memory() (total, free int64, err error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	if total, err = parseKilobytes(text, "MemTotal"); err != nil {
		return 0, 0, err
	}
	free, err = parseKilobytes(text, "MemFree")
	return total, free, err
}
