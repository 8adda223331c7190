package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

func newTierOrphansCommand(a *app) *cobra.Command {
	var o orphanSearch
	cmd := &cobra.Command{
		Use: "orphans [TOPIC-ID…]", Short: "List, or delete, objects of the bucket that belong to no topic", Args: takes(0, anyNumber, "any TOPIC-IDs"),
		Long: "List the topics of which the bucket has objects and which the cluster does not know. This reads the bucket itself, and changes nothing.\n\n" +
			"The controller finds them too, notes them in the bucket, and deletes them varve.tier.orphan.grace.ms after that. STATE says how far that\n" +
			"is: new (no note yet; a topic that was deleted just now is cleaned in its own time), waits, due, or suspect: the bucket's catalogue has the topic,\n" +
			"so that the metadata may have been restored to an older state. Beside a suspect topic nothing is deleted.\n\n" +
			"--delete deletes those that are due. TOPIC-IDs limit it to these, and say of those that are suspect that the metadata are right.",
		Example: "  varve tier orphans --bucket s3://bucket?region=eu-central-1\n  varve tier orphans --bucket s3://bucket --delete",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				view, err := readClusterView(ctx, c)
				if err != nil {
					return err
				}
				return a.orphans(ctx, o, view, args)
			})
		},
	}
	cmd.Flags().StringVar(&o.url, "bucket", "", "URL of the bucket, as a broker's --object-store")
	cmd.Flags().BoolVar(&o.remove, "delete", false, "delete what is due")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask before --delete")
	_ = cmd.MarkFlagRequired("bucket") // it exists
	return cmd
}

// orphanSearch has the values of the flags.
type orphanSearch struct {
	url         string
	remove, yes bool
}

// clusterView is what the command knows of the bucket's cluster.
type clusterView struct {
	id     string
	topics map[string]bool // by id
	grace  time.Duration   // the longest of all brokers
}

func readClusterView(ctx context.Context, c *client.Client) (clusterView, error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return clusterView{}, err
	}
	topics, err := c.Topics(ctx)
	if err != nil {
		return clusterView{}, err
	}
	view := clusterView{id: cluster.ID, topics: make(map[string]bool, len(topics))}
	for _, t := range topics {
		view.topics[t.ID] = true
	}
	var brokers []int32
	for _, b := range cluster.Brokers {
		if !b.Fenced {
			brokers = append(brokers, b.ID)
		}
	}
	resources, err := c.BrokerConfigs(ctx, brokers...)
	if err != nil {
		return clusterView{}, err
	}
	for _, r := range resources {
		for _, s := range r.Configs {
			if s.Name != "varve.tier.orphan.grace.ms" {
				continue
			}
			ms, err := strconv.ParseInt(s.Value, 10, 64)
			if err != nil {
				return clusterView{}, fmt.Errorf("broker %s: %s is %q", r.Name, s.Name, s.Value)
			}
			view.grace = max(view.grace, time.Duration(ms)*time.Millisecond)
		}
	}
	view.grace = cmp.Or(view.grace, catalogue.DefaultGrace)
	return view, nil
}

// orphans lists the topics that the cluster does not know, and deletes those that are due if remove
// is set.
func (a *app) orphans(ctx context.Context, o orphanSearch, view clusterView, names []string) (err error) {
	bucket, err := objstore.Open(ctx, o.url)
	if err != nil {
		return err
	}
	bucket = objstore.Harden(bucket, objstore.DefaultHardenOptions())
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if err = ownedBy(ctx, bucket, o.url, view.id); err != nil {
		return err
	}
	s := &catalogue.Sweep{Bucket: bucket, ClusterID: view.id, Grace: view.grace, Now: time.Now}
	s.Known = func(context.Context) (func(catalogue.TopicID) bool, error) {
		return func(id catalogue.TopicID) bool { return view.topics[id.String()] }, nil
	}
	r, err := s.Find(ctx)
	if err != nil {
		return err
	}
	var named []catalogue.TopicID
	for _, name := range names {
		id, parseErr := catalogue.ParseTopicID(name)
		if parseErr != nil {
			return parseErr
		}
		named = append(named, id)
	}
	if err = a.printOrphans(ctx, s, r, named); err != nil || !o.remove || len(r.Orphans) == 0 {
		return err
	}
	if err = a.confirm("delete those that are due?", o.yes); err != nil {
		return err
	}
	done, err := s.Delete(ctx, r, named...)
	if _, printErr := fmt.Fprintf(a.errOut, "deleted %d topics, %d objects, %s\n", done.Topics, done.Objects, byteSize(done.Bytes)); err == nil {
		err = printErr
	}
	return err
}

// ownedBy returns an error unless the bucket has the marker of the cluster.
func ownedBy(ctx context.Context, bucket objstore.Bucket, url, cluster string) error {
	marker, err := catalogue.ReadMarker(ctx, bucket, "")
	switch {
	case err != nil:
		return err
	case marker == nil:
		return fmt.Errorf("%s has no marker %s: it is no cluster's bucket, or the prefix is missing", url, format.BucketKey(""))
	case marker.ClusterID != cluster:
		return fmt.Errorf("%s is the bucket of cluster %s, and --bootstrap leads to cluster %s", url, marker.ClusterID, cluster)
	}
	return marker.Writable()
}

// orphanRow is, as JSON, a topic that only the bucket has.
type orphanRow struct {
	TopicID  string `json:"topic_id"`
	Name     string `json:"name,omitempty"` // from the catalogue
	Objects  int64  `json:"objects"`
	Bytes    int64  `json:"bytes"`
	NewestMs *int64 `json:"newest_ms"` // when the last object was written
	NotedMs  *int64 `json:"noted_ms"`  // when a sweep found it
	DueMs    *int64 `json:"due_ms"`    // when it may be deleted
	State    string `json:"state"`     // new, waits, due, suspect
}

func (a *app) printOrphans(ctx context.Context, s *catalogue.Sweep, r *catalogue.Report, named []catalogue.TopicID) error {
	list := make([]orphanRow, 0, len(r.Orphans))
	rows := make([][]string, 0, len(r.Orphans))
	for i := range r.Orphans {
		o := &r.Orphans[i]
		if len(named) > 0 && !slices.Contains(named, o.TopicID) {
			continue
		}
		due := o.Due(s.Grace)
		row := orphanRow{
			TopicID: o.TopicID.String(), Objects: o.Objects, Bytes: o.Bytes,
			NewestMs: known(milliseconds(o.Newest)), NotedMs: known(milliseconds(o.Noted)), DueMs: known(milliseconds(due)), State: "waits",
		}
		switch {
		case o.Suspect():
			row.State = "suspect"
		case due.IsZero():
			row.State = "new"
		case !s.Now().Before(due):
			row.State = "due"
		}
		if o.Described {
			row.Name = topicName(ctx, s, o.TopicID)
		}
		list = append(list, row)
		rows = append(rows, []string{
			row.TopicID, orAbsent(row.Name), strconv.FormatInt(o.Objects, 10), byteSize(o.Bytes),
			instant(milliseconds(o.Newest)), instant(milliseconds(o.Noted)), instant(milliseconds(due)), row.State,
		})
	}
	if a.json() {
		return a.printJSON(list)
	}
	return a.printTable([]string{"TOPIC ID", "NAME", "OBJECTS", "BYTES", "NEWEST", "NOTED", "DUE", "STATE"}, rows)
}

// topicName returns the catalogue's name of a topic, or "" if it cannot be read.
func topicName(ctx context.Context, s *catalogue.Sweep, id catalogue.TopicID) string {
	newest, err := catalogue.NewestTopic(ctx, s.Bucket, s.Prefix, id)
	if err != nil || newest == nil {
		return ""
	}
	return newest.Name
}

// milliseconds converts a time for the rows: -1 is unknown.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return client.Unknown
	}
	return t.UnixMilli()
}

func newTierMarkCommand(a *app) *cobra.Command {
	var url string
	var marker format.Bucket
	cmd := &cobra.Command{
		Use: "mark", Short: "Give a bucket that was emptied its marker back", Args: takes(0, 0, "no arguments"),
		Long: "Write the object " + format.BucketKey("") + " of a bucket that has lost it, for the cluster and with the bucket's id that a broker names when it refuses to start.\n" +
			"What the bucket had is not restored by that: reads of it fail. A marker that is there is never replaced.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			bucket, err := objstore.Open(cmd.Context(), url)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, bucket.Close()) }()
			limited, cancel := context.WithTimeout(cmd.Context(), a.timeout)
			defer cancel()
			marker.CreatedMs = time.Now().UnixMilli()
			if err = catalogue.Mark(limited, bucket, "", marker); errors.Is(err, objstore.ErrExists) {
				return fmt.Errorf("%s has a marker: `varve tier dump --bucket URL %s` shows whose", url, format.BucketKey(""))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s is bucket %s of cluster %s\n", url, marker.ID, marker.ClusterID)
			return err
		},
	}
	cmd.Flags().StringVar(&url, "bucket", "", "URL of the bucket, as a broker's --object-store")
	cmd.Flags().StringVar(&marker.ID, "bucket-id", "", "the id that the cluster knows the bucket by")
	cmd.Flags().StringVar(&marker.ClusterID, "cluster-id", "", "the cluster's id")
	for _, name := range []string{"bucket", "bucket-id", "cluster-id"} {
		_ = cmd.MarkFlagRequired(name) // it exists
	}
	return cmd
}
