package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

func newTierDumpCommand(a *app) *cobra.Command {
	var bucket string
	var verify bool
	cmd := &cobra.Command{
		Use: "dump OBJECT…", Short: "Print objects of the bucket: segments, manifests, pages, trash, topics", Args: takes(1, anyNumber, "OBJECTs"),
		Long: "Print what objects of the remote tier say, and check it on the way: of a segment its description, its parts and the directory of its\n" +
			"chunks, of everything else the JSON. OBJECTs are files, or keys of the bucket that --bucket names. No broker is asked.",
		RunE: func(cmd *cobra.Command, args []string) error {
			source, closeSource, err := a.tierSource(cmd.Context(), bucket)
			if err != nil {
				return err
			}
			for _, name := range args {
				if dumpErr := a.dumpObject(cmd.Context(), source, name, verify); dumpErr != nil {
					err = fmt.Errorf("%s: %w", name, dumpErr)
					break
				}
			}
			return errors.Join(err, closeSource())
		},
	}
	cmd.Flags().StringVar(&bucket, "bucket", "", "URL of the bucket, as a broker's --object-store (default: OBJECTs are files)")
	cmd.Flags().BoolVar(&verify, "verify", false, "read segments as a whole and check every checksum")
	return cmd
}

// tierSource opens objects by name.
type tierSource func(ctx context.Context, name string) (tierObject, error)

// tierObject is an object of a bucket or a file.
type tierObject struct {
	size  int64
	read  func(p []byte, at int64) error
	close func()
}

func (a *app) tierSource(ctx context.Context, bucketURL string) (tierSource, func() error, error) {
	if bucketURL == "" {
		return openObjectFile, func() error { return nil }, nil
	}
	bucket, err := objstore.Open(ctx, bucketURL)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, key string) (tierObject, error) {
		limited, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		info, err := bucket.Stat(limited, key)
		if err != nil {
			return tierObject{}, err
		}
		read := func(p []byte, at int64) error {
			limited, cancel := context.WithTimeout(ctx, a.timeout)
			defer cancel()
			_, err := bucket.GetRange(limited, key, at, p)
			return err
		}
		return tierObject{size: info.Size, read: read, close: func() {}}, nil
	}, bucket.Close, nil
}

func openObjectFile(_ context.Context, name string) (tierObject, error) {
	f, err := os.Open(name)
	if err != nil {
		return tierObject{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a file")
	}
	if err != nil {
		_ = f.Close() // only read
		return tierObject{}, err
	}
	read := func(p []byte, at int64) error {
		_, err := f.ReadAt(p, at)
		return err
	}
	return tierObject{size: info.Size(), read: read, close: func() { _ = f.Close() }}, nil
}

// section reads the bytes from one position up to another.
func (o *tierObject) section(from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	if len(b) == 0 {
		return b, nil
	}
	return b, o.read(b, from)
}

func (a *app) dumpObject(ctx context.Context, source tierSource, name string, verify bool) error {
	o, err := source(ctx, name)
	if err != nil {
		return err
	}
	defer o.close()
	out := bufio.NewWriter(a.out)
	d := &tierDumper{dumper: dumper{out: out, asJSON: a.json()}, o: o}
	start, err := o.section(0, min(o.size, 64))
	if err == nil {
		if kind, isText := format.DocumentOf(start); isText {
			err = d.document(kind)
		} else {
			err = d.segment(verify)
		}
	}
	// What precedes the damage is printed too.
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// tierDumper prints one object.
type tierDumper struct {
	dumper

	o tierObject
}

// document prints the JSON of a text document of any kind. Then it returns the error that this
// build has with it, if any.
func (d *tierDumper) document(kind format.Document) error {
	if d.o.size > format.MaxDocumentBytes {
		return fmt.Errorf("%w: %s is too large for a %s", errDamaged, byteSize(d.o.size), kind)
	}
	content, err := d.o.section(0, d.o.size)
	if err != nil {
		return err
	}
	body, err := kind.Unwrap(content)
	if err != nil {
		return err
	}
	if err = d.line("", field{"document", string(kind)}, field{"version", format.Version}, field{"bytes", d.o.size}, field{"crc32c", format.Checksum(content)}); err != nil {
		return err
	}
	if err = d.json(body); err != nil {
		return err
	}
	switch kind {
	case format.DocumentManifest:
		_, err = format.ParseManifest(content)
	case format.DocumentPage:
		_, err = format.OpenPage(content)
	case format.DocumentTrash:
		_, err = format.OpenTrashPage(content)
	case format.DocumentBucket:
		_, err = format.ParseBucket(content)
	case format.DocumentTopic:
		_, err = format.ParseTopic(content)
	case format.DocumentOrphan:
		_, err = format.ParseOrphan(content)
	}
	return err
}

// json prints an object: indented for people, in one line otherwise.
func (d *tierDumper) json(object []byte) error {
	var b bytes.Buffer
	var err error
	if d.asJSON {
		err = json.Compact(&b, object)
	} else {
		err = json.Indent(&b, object, "", "  ")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	b.WriteByte('\n')
	_, err = d.out.Write(b.Bytes())
	return err
}

// segment prints what follows the log in a segment object.
func (d *tierDumper) segment(verify bool) error {
	if d.o.size < format.TrailerSize {
		return fmt.Errorf("%w: %d bytes are no object of the remote tier", errDamaged, d.o.size)
	}
	end := d.o.size - format.TrailerSize
	b, err := d.o.section(end, d.o.size)
	if err != nil {
		return err
	}
	trailer, err := format.ParseTrailer(b, d.o.size)
	if err != nil {
		return err
	}
	if b, err = d.o.section(trailer.TablePosition, end); err != nil {
		return err
	}
	parts, err := trailer.ParseTable(b)
	if err != nil {
		return err
	}
	hot, err := format.HotBytes(parts, d.o.size)
	if err != nil {
		return err
	}
	if b, err = d.o.section(d.o.size-hot, d.o.size); err != nil {
		return err
	}
	index, err := format.ParseIndex(b, d.o.size)
	if err != nil {
		return err
	}
	if err = d.line("", field{"document", "segment"}, field{"bytes", d.o.size}, field{"hotBytes", hot}, field{"crc32c", format.Checksum(b)}); err != nil {
		return err
	}
	description, err := json.Marshal(index.Description)
	if err != nil {
		return err
	}
	if err = d.json(description); err != nil {
		return err
	}
	return d.index(index, verify)
}

// index prints parts and chunks, and checks their checksums if verify is set.
func (d *tierDumper) index(x *format.Index, verify bool) error {
	check := func(what string, position, n int64, want uint32) error {
		if !verify {
			return nil
		}
		b, err := d.o.section(position, position+n)
		if err == nil && format.Checksum(b) != want {
			err = fmt.Errorf("%w: %s at byte %d has CRC32C %#08x, want %#08x", errDamaged, what, position, format.Checksum(b), want)
		}
		return err
	}
	for _, p := range x.Parts {
		err := d.line("", field{"part", p.Type.String()}, field{"position", p.Position}, field{"bytes", p.Bytes},
			field{"critical", p.Flags&format.PartCritical != 0}, field{"crc32c", p.CRC32C})
		if err != nil {
			return err
		}
		if err = check(p.Type.String(), p.Position, p.Bytes, p.CRC32C); err != nil {
			return err
		}
	}
	for i, c := range x.Chunks {
		err := d.line("", field{"chunk", i}, field{"position", c.Position}, field{"storedBytes", c.StoredBytes}, field{"plainBytes", c.PlainBytes},
			field{"baseOffset", c.BaseOffset}, field{"maxTimestamp", c.MaxTimestamp}, field{"batches", c.Batches}, field{"crc32c", c.CRC32C})
		if err != nil {
			return err
		}
		if err = check(fmt.Sprintf("chunk %d", i), c.Position, int64(c.StoredBytes), c.CRC32C); err != nil {
			return err
		}
	}
	return nil
}
