package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

const (
	maxLine          = 64 << 20 // bytes of input; a topic's max.message.bytes is far below
	producerBuffer   = 64 << 20 // bytes that wait for acknowledgement
	producerInFlight = 100_000  // records that wait for acknowledgement
)

type produceOptions struct {
	delimiter   string
	partition   int32
	acks        string
	compression string
	headers     []string
	file        string
}

func newProduceCommand(a *app) *cobra.Command {
	var o produceOptions
	cmd := &cobra.Command{
		Use: "produce TOPIC", Short: "Write a record for every line of the input", Args: takes(1, 1, "one TOPIC"),
		Example: "  seq 1000 | varve produce numbers\n  varve produce users -K : -H source=import --file users.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := o.kgo()
			if err != nil {
				return err
			}
			template, err := o.template(args[0])
			if err != nil {
				return err
			}
			in := a.in
			if o.file != "" {
				var f *os.File
				if f, err = os.Open(o.file); err != nil {
					return err
				}
				defer func() { _ = f.Close() }() // only read
				in = f
			}
			c, err := a.connect(append(options, kgo.RecordDeliveryTimeout(a.timeout))...)
			if err != nil {
				return err
			}
			defer c.Close()
			return produce(cmd.Context(), a, c, template, unescape(o.delimiter), in)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.delimiter, "key-delimiter", "K", "", `what separates the key from the value in a line, such as : or \t; without it there are no keys`)
	flags.Int32Var(&o.partition, "partition", -1, "the partition to write to; -1 chooses by key, or any")
	flags.StringVar(&o.acks, "acks", "all", "what to wait for: all, 1 or 0")
	flags.StringVar(&o.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	flags.StringArrayVarP(&o.headers, "header", "H", nil, "KEY=VALUE, a header of every record; may be repeated")
	flags.StringVar(&o.file, "file", "", "read from this file instead of the standard input")
	return cmd
}

// kgo turns the flags into options of the producer.
func (o produceOptions) kgo() ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.MaxBufferedBytes(producerBuffer), kgo.MaxBufferedRecords(producerInFlight)}
	switch o.acks {
	case "all", "-1":
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, fmt.Errorf("--acks %s: want all, 1 or 0", o.acks)
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[o.compression]
	if !ok {
		return nil, fmt.Errorf("--compression %s: want one of %s", o.compression, strings.Join(sortedKeys(codecs), ", "))
	}
	options = append(options, kgo.ProducerBatchCompression(codec))
	if o.partition < -1 {
		return nil, fmt.Errorf("--partition %d: want a partition's number, or -1 for any", o.partition)
	}
	if o.partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return options, nil
}

// template returns what all records of the command have in common.
func (o produceOptions) template(topic string) (kgo.Record, error) {
	r := kgo.Record{Topic: topic}
	if o.partition >= 0 {
		r.Partition = o.partition
	}
	for _, header := range o.headers {
		key, value, ok := strings.Cut(header, "=")
		if !ok || key == "" {
			return r, fmt.Errorf("--header %s: want KEY=VALUE", header)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	return r, nil
}

// produce writes a record for every line until the input ends, a record fails or ctx is done. Lines
// read before that are still written.
func produce(ctx context.Context, a *app, c *client.Client, template kgo.Record, delimiter string, in io.Reader) error {
	if err := checkPartition(ctx, c, template.Topic, template.Partition); err != nil {
		return err
	}
	shown := a.newProgress("wrote", false)
	result := &delivery{}
	// The records do not use ctx: an interrupt ends the input, but earlier records are still
	// delivered.
	delivering := context.WithoutCancel(ctx)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	lines, ended := readLines(reading, in)
	var readErr error
	for more := true; more && !result.failed(); {
		select {
		case line, ok := <-lines:
			if !ok {
				readErr, more = <-ended, false
				break
			}
			r := template
			r.Key, r.Value = splitLine(line, delimiter)
			c.Kafka().Produce(delivering, &r, result.record) // blocks while the buffer is full
			shown.add(1, int64(len(line)))
		case <-ctx.Done():
			more = false
		}
	}
	// Each record has its own deadline, so the flush ends.
	flushErr := c.Kafka().Flush(delivering)
	shown.done()
	if err := result.err(); err != nil {
		return fmt.Errorf("produce to %s: %w (%s written)", template.Topic, c.Explain(err), plural(result.count(), "record"))
	}
	if flushErr != nil {
		return c.Explain(flushErr)
	}
	if readErr != nil {
		return fmt.Errorf("read the input: %w (%s written)", readErr, plural(result.count(), "record"))
	}
	if a.json() {
		return a.printJSON(map[string]any{"topic": template.Topic, "records": result.count()})
	}
	return nil
}

// checkPartition reports a missing topic or partition early and in plain words.
func checkPartition(ctx context.Context, c *client.Client, topic string, partition int32) error {
	topics, err := c.Topics(ctx, topic)
	if err != nil {
		return err
	}
	if n := len(topics[0].Partitions); int(partition) >= n {
		return fmt.Errorf("topic %s has no partition %d: it has %s, counted from 0", topic, partition, plural(int64(n), "partition"))
	}
	return nil
}

// readLines sends the lines of in, without their line feeds, then the error that ended them, and
// closes the lines. It ends early when ctx is done. But a read of a terminal cannot be interrupted:
// then the goroutine waits until the process ends, which follows at once.
func readLines(ctx context.Context, in io.Reader) (<-chan []byte, <-chan error) {
	lines, ended := make(chan []byte, 1024), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 64<<10), maxLine)
		scanner.Split(splitAtLineFeed)
		for scanner.Scan() {
			select {
			case lines <- bytes.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
		err := scanner.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line is longer than %s", byteSize(maxLine))
		}
		ended <- err
	}()
	return lines, ended
}

// splitAtLineFeed is bufio.ScanLines without its removal of carriage returns: they are data.
func splitAtLineFeed(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// splitLine separates the key. A line without the delimiter has none.
func splitLine(line []byte, delimiter string) (key, value []byte) {
	if delimiter == "" {
		return nil, line
	}
	before, after, ok := bytes.Cut(line, []byte(delimiter))
	if !ok {
		return nil, line
	}
	return before, after
}

// delivery collects the results of the records.
type delivery struct {
	mu struct {
		sync.Mutex
		written int64
		first   error
	}
}

func (d *delivery) record(_ *kgo.Record, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.mu.written++
	case d.mu.first == nil:
		d.mu.first = err
	}
}

func (d *delivery) failed() bool { return d.err() != nil }

func (d *delivery) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.first
}

func (d *delivery) count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.written
}
