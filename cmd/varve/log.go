package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newLogCommand(a *app) *cobra.Command {
	var records bool
	cmd := &cobra.Command{
		Use: "dump FILE…", Short: "Print segment files: .log, .index, .timeindex, .txnindex, .snapshot", Args: takes(1, anyNumber, "FILEs"),
		Long: "Print the content of segment files, one line for a batch or an entry, and check it on the way.\n" +
			"The broker may be running: what it writes meanwhile may show as a batch that the file ends in.",
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range args {
				if err := dumpFile(a, name, records); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&records, "records", false, "also the records of the batches")
	return group("log", "Look into the files of a log", cmd, newStraysCommand(a))
}

// errDamaged ends a dump at bytes that cannot be valid.
var errDamaged = errors.New("damaged")

func dumpFile(a *app, name string, records bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	out := bufio.NewWriter(a.out)
	d := &dumper{out: out, asJSON: a.json(), file: f, size: info.Size()}
	extension := filepath.Ext(name)
	switch extension {
	case ".log":
		err = d.batches(records, a.newProgress("read", true))
	case ".index", ".timeindex", ".txnindex":
		err = d.index(extension, name)
	case ".snapshot":
		err = d.snapshot()
	default:
		err = errors.New("want a .log, .index, .timeindex, .txnindex or .snapshot file")
	}
	// What precedes the damage is printed too.
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// dumper prints one file.
type dumper struct {
	out    io.Writer
	asJSON bool
	file   io.ReaderAt
	size   int64
}

// line prints one entry: as text, or as a line of JSON.
func (d *dumper) line(indent string, fields ...field) error {
	var b strings.Builder
	if d.asJSON {
		b.WriteByte('{')
		for i, f := range fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Quote(f.name) + ":" + f.json())
		}
		b.WriteString("}\n")
	} else {
		b.WriteString(indent)
		for i, f := range fields {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s: %v", f.name, f.value)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(d.out, b.String())
	return err
}

// baseOffset returns the offset in the name of a segment's file.
func baseOffset(name string) (int64, error) {
	base := filepath.Base(name)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	offset, err := strconv.ParseInt(base, 10, 64)
	if err != nil || offset < 0 || len(base) != 20 {
		return 0, errors.New("the name is not that of a segment: want 20 digits, its first offset")
	}
	return offset, nil
}
