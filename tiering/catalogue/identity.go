package catalogue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// Identity compares a bucket with what the cluster's metadata say about it.
type Identity struct {
	Bucket    objstore.Bucket
	Prefix    string // of all keys, "" for the whole bucket
	URL       string // for error texts
	Store     kv.Store
	ClusterID string
	Now       func() time.Time
}

// ReadMarker returns the marker of a bucket, or nil if there is none.
func ReadMarker(ctx context.Context, b objstore.Bucket, prefix string) (*format.Bucket, error) {
	content, found, err := readDocument(ctx, b, format.BucketKey(prefix))
	if err != nil || !found {
		return nil, err
	}
	return format.ParseBucket(content)
}

// Verify returns nil if the bucket belongs to the cluster. A bucket without a marker becomes the
// cluster's if the cluster has no bucket yet. Verify can be repeated after any error. An error that
// is not Temporary does not go away by itself.
func (i *Identity) Verify(ctx context.Context) error {
	// The metadata are read first: a marker is always written before its id is noted in them.
	known, err := metadata.ReadBucket(ctx, i.Store)
	if err != nil {
		return err
	}
	marker, err := i.marker(ctx)
	if err != nil {
		return err
	}
	if marker == nil && known.ID != "" {
		return i.missing(known)
	}
	if marker == nil {
		if marker, err = i.mark(ctx); err != nil {
			return err
		}
	}
	if marker.ClusterID != i.ClusterID {
		return i.foreign(marker, known)
	}
	if known.ID == "" {
		if known, err = metadata.NoteBucket(ctx, i.Store, metadata.Bucket{ID: marker.ID, URL: i.URL, CreatedMs: marker.CreatedMs}); err != nil {
			return err
		}
	}
	if known.ID != marker.ID {
		return i.another(marker, known)
	}
	return nil
}

// Founding returns nil if a cluster may be founded with the bucket: it has no owner, or a cluster
// has been founded since.
func (i *Identity) Founding(ctx context.Context) error {
	marker, err := i.marker(ctx)
	if err != nil || marker == nil {
		return err
	}
	// The cluster id is read after the marker, because a marker is written after its cluster's id.
	if id, err := metadata.ReadClusterID(ctx, i.Store); err != nil || id != "" {
		return err
	}
	return fmt.Errorf("%w: %s, and there are no metadata of any cluster, so that a new one would be founded, and nothing has been. "+
		"If the metadata of cluster %s are lost, restore etcd from a backup; for a new cluster give another bucket or another prefix= in --object-store",
		ErrRefused, i.owned(marker), marker.ClusterID)
}

// marker is ReadMarker for a caller that has to understand the marker.
func (i *Identity) marker(ctx context.Context) (*format.Bucket, error) {
	marker, err := ReadMarker(ctx, i.Bucket, i.Prefix)
	if err == nil && marker != nil {
		err = marker.Writable()
	}
	switch {
	case errors.Is(err, format.ErrCorrupt):
		return nil, fmt.Errorf("%w: the marker %s in %s cannot be read, so that it is not known whose it is: restore that object, from a version or a copy: %w",
			ErrRefused, format.BucketKey(i.Prefix), i.URL, err)
	case errors.Is(err, format.ErrUnsupportedFormat), errors.Is(err, format.ErrReadOnly):
		return nil, fmt.Errorf("%w: a newer version of Varve has marked %s: %w", ErrRefused, i.URL, err)
	case err != nil:
		return nil, fmt.Errorf("look whose the bucket is: %w", err)
	}
	return marker, nil
}

// mark makes the bucket this cluster's unless another cluster is faster, and returns the marker
// that is there afterwards.
func (i *Identity) mark(ctx context.Context) (*format.Bucket, error) {
	content, err := (&format.Bucket{ID: rand.Text(), ClusterID: i.ClusterID, CreatedMs: i.Now().UnixMilli()}).Encode()
	if err != nil {
		return nil, err
	}
	if err = writeDocument(ctx, i.Bucket, format.BucketKey(i.Prefix), content); err != nil && !errors.Is(err, objstore.ErrExists) {
		return nil, fmt.Errorf("mark the bucket as that of cluster %s: %w", i.ClusterID, err)
	}
	marker, err := i.marker(ctx)
	if err == nil && marker == nil {
		err = fmt.Errorf("%w: the marker of the bucket was written and is not there", objstore.ErrUnavailable)
	}
	return marker, err
}

// owned describes the marker of a bucket, and its owner.
func (i *Identity) owned(marker *format.Bucket) string {
	return fmt.Sprintf("%s has the marker %s of cluster %s (bucket %s, since %s)",
		i.URL, format.BucketKey(i.Prefix), marker.ClusterID, marker.ID, day(marker.CreatedMs))
}

// foreign is the error for a bucket of another cluster.
func (i *Identity) foreign(marker *format.Bucket, known metadata.Bucket) error {
	do := "give this cluster another bucket or another prefix= in --object-store: each of two clusters deletes what the other one has stored"
	if known.ID != "" {
		do = "correct --object-store: this cluster's history is in " + described(known)
	}
	return fmt.Errorf("%w: %s, and this is cluster %s; %s", ErrRefused, i.owned(marker), i.ClusterID, do)
}

// another is the error for a bucket of this cluster that is not the one in the metadata.
func (i *Identity) another(marker *format.Bucket, known metadata.Bucket) error {
	return fmt.Errorf("%w: %s, which this is, and the cluster's history is in another one, %s: correct --object-store, all brokers share one bucket and prefix",
		ErrRefused, i.owned(marker), described(known))
}

// missing is the error for a bucket without a marker when the cluster already has a bucket.
func (i *Identity) missing(known metadata.Bucket) error {
	return fmt.Errorf("%w: %s has no marker %s, and the history of cluster %s is in %s. If this is another bucket, another prefix or a directory of this broker alone, "+
		"correct --object-store; if the bucket was emptied, restore it, the marker too. If the history is lost for good, "+
		"`varve tier mark --bucket URL --bucket-id %s --cluster-id %s` makes the empty bucket the cluster's again",
		ErrRefused, i.URL, format.BucketKey(i.Prefix), i.ClusterID, described(known), known.ID, i.ClusterID)
}

// described describes a bucket as the metadata know it.
func described(b metadata.Bucket) string {
	if b.URL == "" {
		return "bucket " + b.ID
	}
	return fmt.Sprintf("bucket %s (when it was marked, on %s, at %s)", b.ID, day(b.CreatedMs), b.URL)
}

func day(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

// Mark writes the marker of a bucket that has lost it. It returns objstore.ErrExists if there is
// one.
func Mark(ctx context.Context, b objstore.Bucket, prefix string, marker format.Bucket) error {
	content, err := marker.Encode()
	if err != nil {
		return err
	}
	return writeDocument(ctx, b, format.BucketKey(prefix), content)
}
