package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

type consumeOptions struct {
	topic     string
	from      string
	start     position // parsed from
	until     string
	partition int32
	group     string
	count     int64
	format    string
}

func newConsumeCommand(a *app) *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use: "consume TOPIC", Short: "Read records and print them", Args: takes(1, 1, "one TOPIC"),
		Example: "  varve consume layers --from beginning --until end\n" +
			"  varve consume layers --from @1h -n 10 -f '%p/%o at %T: %k=%s\\n'\n" +
			"  varve consume layers --group readers",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.topic = args[0]
			print, err := o.check(a, time.Now())
			if err != nil {
				return err
			}
			return consume(cmd.Context(), a, o, print)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "end", "where to begin: beginning, end, an OFFSET, or @TIME (RFC 3339, ms since 1970, or how long ago: 90s, 1h, 7d);\nwith --group only where it has no offset yet")
	flags.StringVar(&o.until, "until", "", `"end" stops at what is the end of the log now; else reading goes on`)
	flags.Int32Var(&o.partition, "partition", -1, "read one partition; -1 is all of them")
	flags.StringVar(&o.group, "group", "", "read as a member of this group and commit how far it came")
	flags.Int64VarP(&o.count, "count", "n", 0, "stop after so many records; 0 is no limit")
	flags.StringVarP(&o.format, "format", "f", `%s\n`, formatHelp)
	return cmd
}

// check rejects contradictory flags and returns how to print.
func (o *consumeOptions) check(a *app, now time.Time) (printer, error) {
	var err error
	if o.start, err = parsePosition(o.from, now); err != nil {
		return nil, err
	}
	print, err := parseFormat(o.format)
	if err != nil {
		return nil, err
	}
	if a.json() {
		print = printJSONRecord
	}
	switch {
	case o.until != "" && o.until != "end":
		return nil, fmt.Errorf("--until %s: only \"end\" is possible", o.until)
	case o.until != "" && o.group != "":
		return nil, errors.New("--until end reads from fixed offsets, --group from where the group is: leave one out")
	case o.partition >= 0 && o.group != "":
		return nil, errors.New("--group shares out the partitions itself: leave out --partition")
	case o.partition < -1:
		return nil, fmt.Errorf("--partition %d: want a partition's number, or -1 for all", o.partition)
	case o.count < 0:
		return nil, fmt.Errorf("--count %d: want a number of records, or 0 for no limit", o.count)
	}
	return print, nil
}

func consume(ctx context.Context, a *app, o consumeOptions, print printer) error {
	plan, err := planReading(ctx, a, o)
	if err != nil {
		return err
	}
	if plan.finished() {
		return nil
	}
	c, err := a.connect(plan.options...)
	if err != nil {
		return err
	}
	defer c.Close() // leaves the group
	r := reading{app: a, options: o, plan: plan, client: c, print: print, shown: a.newProgress("read", true)}
	defer r.shown.done()
	return r.run(ctx)
}

// reading is a running consume command.
type reading struct {
	*app
	options consumeOptions
	plan    *readPlan
	client  *client.Client
	print   printer
	shown   *progress
	buf     []byte
	printed int64
}

// pollRecords is how many records are handled before the output is flushed.
const pollRecords = 10_000

func (r *reading) run(ctx context.Context) error {
	for !r.enough() {
		fetches, err := r.poll(ctx)
		if err != nil {
			return err
		}
		if err := r.write(fetches); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break // interrupted: the normal end of a command without an end
		}
	}
	if r.options.group == "" {
		return nil
	}
	committing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	return r.client.Explain(r.client.Kafka().CommitMarkedOffsets(committing))
}

func (r *reading) enough() bool {
	return r.plan.finished() || (r.options.count > 0 && r.printed >= r.options.count)
}

// poll waits for records. Without an end it waits until ctx ends. With one, the records are known
// to exist, so it waits no longer than the timeout.
func (r *reading) poll(ctx context.Context) (kgo.Fetches, error) {
	polling, most := ctx, pollRecords
	if r.plan.ends != nil {
		var cancel context.CancelFunc
		polling, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	if left := r.options.count - r.printed; r.options.count > 0 && left < int64(most) {
		most = int(left)
	}
	fetches := r.client.Kafka().PollRecords(polling, most)
	var failed error
	fetches.EachError(func(topic string, partition int32, err error) {
		if failed == nil && !errors.Is(err, context.Canceled) {
			failed = r.client.Explain(err)
			if topic != "" {
				failed = fmt.Errorf("read %s-%d: %w", topic, partition, failed)
			}
		}
	})
	return fetches, failed
}

// write prints a whole fetch in one write, so that a slow reader of the output does not delay every
// record.
func (r *reading) write(fetches kgo.Fetches) error {
	r.buf = r.buf[:0]
	var failed error
	fetches.EachRecord(func(record *kgo.Record) {
		wanted := r.plan.pass(record)
		if failed != nil || !wanted || record.Attrs.IsControl() || (r.options.count > 0 && r.printed >= r.options.count) {
			return
		}
		r.buf, failed = r.print(r.buf, record)
		r.printed++
		r.shown.add(1, int64(len(record.Value)))
		if r.options.group != "" {
			r.client.Kafka().MarkCommitRecords(record)
		}
	})
	if failed != nil {
		return failed
	}
	_, err := r.out.Write(r.buf)
	return err
}
