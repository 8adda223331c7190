package tiering

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// search is a search for the newest whole manifest.
type search struct {
	Rebuilt

	p        *partition
	pointer  *format.Pointer // as it was read; one that cannot be decoded counts as none
	revision int64           // of the pointer, 0: there is none
	manifest *format.Manifest
	stored   format.Stored
}

// search finds the manifest that the pointer has to name. It changes nothing.
func (p *partition) search(ctx context.Context) (*search, error) {
	s := &search{p: p}
	if err := s.readPointer(ctx); err != nil {
		return s, err
	}
	present, err := s.present(ctx)
	if err != nil {
		return s, err
	}
	manifests, err := p.listManifests(ctx)
	if err != nil {
		return s, err
	}
	for _, l := range manifests {
		if present != nil && l.name.String() == s.Was { // all newer ones were skipped
			return s, s.keep(ctx, present)
		}
		m, stored, err := p.wholeManifest(ctx, l)
		if err == nil && present != nil {
			err = p.succeeds(ctx, m, present)
		}
		switch {
		case err == nil:
			s.found(m, stored)
			return s, nil
		case errors.Is(err, ErrCorrupt), errors.Is(err, errNoSuccessor):
			s.Skipped = append(s.Skipped, Skipped{l.name.String(), err})
		default:
			return s, err
		}
	}
	if len(manifests) == 0 && s.revision == 0 {
		return s, s.nothing(ctx)
	}
	return s, fmt.Errorf("%w: there are %d manifests", ErrNoManifest, len(manifests))
}

// nothing prepares a pointer that names no manifest, if there are objects. A manifest is written
// before the pointer names it, and exists until the next one is named. So the lost pointer named
// none, and the objects are from interrupted uploads. Without objects there may have been a pointer
// all the same: a leader that had claimed it takes its loss for the end of the topic, and stops.
func (s *search) nothing(ctx context.Context) error {
	switch key, err := s.p.anyObject(ctx); {
	case err != nil:
		return err
	case key == "" && s.p.state() != StateDeposed:
		return fmt.Errorf("%w: there is no object", ErrNoManifest)
	}
	s.manifest, s.Changed = s.p.freshManifest(), true
	return nil
}

// found records the manifest that the pointer is to name.
func (s *search) found(m *format.Manifest, stored format.Stored) {
	s.manifest, s.stored = m, stored
	s.Manifest, s.Changed = stored.Name, stored != s.named()
	s.StartOffset, s.EndOffset, s.Segments, s.Bytes = m.StartOffset, m.EndOffset, m.Segments, m.Bytes
}

// named returns the object that the pointer names.
func (s *search) named() format.Stored {
	return format.Stored{Name: s.pointer.Manifest, Size: s.pointer.Size, CRC32C: s.pointer.CRC32C}
}

// readPointer reads the pointer, and fails if this leader must not replace it.
func (s *search) readPointer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.p.m.o.RequestTimeout)
	defer cancel()
	pair, err := s.p.m.store.Get(ctx, s.p.key)
	if err != nil {
		return fmt.Errorf("%w: read tier pointer: %w", ErrUnavailable, err)
	}
	s.pointer = &format.Pointer{LastEpoch: -1}
	if !pair.Exists() {
		return nil
	}
	s.revision = pair.ModRevision
	ptr, err := format.ParsePointer(pair.Value)
	switch {
	case errors.Is(err, ErrCorrupt): // no leader can claim it
		return nil
	case err != nil:
		return fmt.Errorf("read tier pointer %s: %w", s.p.key, err)
	case ptr.DeletedMs != 0:
		return fmt.Errorf("%w: the topic was deleted", ErrDeposed)
	case ptr.LeaderEpoch > s.p.LeaderEpoch:
		return fmt.Errorf("%w: broker %d has leader epoch %d, this is %d", ErrDeposed, ptr.BrokerID, ptr.LeaderEpoch, s.p.LeaderEpoch)
	}
	s.pointer, s.Was = ptr, ptr.Manifest
	return ptr.Writable()
}

// present returns the manifest that the pointer names, or nil if it names none, or the manifest is
// missing or damaged.
func (s *search) present(ctx context.Context) (*format.Manifest, error) {
	if s.Was == "" {
		return nil, nil //nolint:nilnil // as it says
	}
	m, err := s.p.loadManifest(ctx, objectOf(s.pointer))
	switch {
	case errors.Is(err, objstore.ErrNotFound): // a damaged one is found again in the listing
		s.Skipped = append(s.Skipped, Skipped{s.Was, err})
		return nil, nil //nolint:nilnil // as it says
	case errors.Is(err, ErrCorrupt):
		return nil, nil //nolint:nilnil // as it says
	case err != nil:
		return nil, err
	}
	return m, m.Writable()
}

// keep leaves the pointer as it is. A manifest that exists and is not whole is no reason to go back
// to an older one, which usually names the same missing objects, and has less.
func (s *search) keep(ctx context.Context, present *format.Manifest) error {
	if err := s.p.checkWhole(ctx, present); err != nil {
		return fmt.Errorf("the pointer names the newest manifest, %s, which is not whole: %w", s.Was, err)
	}
	s.found(present, s.named())
	return nil
}

// listed is a manifest in the listing of the bucket.
type listed struct {
	name     format.Name
	size     int64
	modified time.Time
}

// listManifests lists the partition's manifests, the newest first.
func (p *partition) listManifests(ctx context.Context) ([]listed, error) {
	var all []listed
	for info, err := range p.m.objects.bucket.List(ctx, p.prefix+format.KindManifest.String()+"/") {
		if err != nil {
			return nil, classify("list", p.prefix, err)
		}
		if name, ok := format.ParseName(strings.TrimPrefix(info.Key, p.prefix)); ok && name.Kind == format.KindManifest {
			all = append(all, listed{name, info.Size, info.ModTime})
		}
	}
	slices.SortFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(b.name.LeaderEpoch, a.name.LeaderEpoch), cmp.Compare(b.name.Sequence, a.name.Sequence), b.modified.Compare(a.modified))
	})
	return all, nil
}

// wholeManifest loads a manifest, and fails if it is not whole.
func (p *partition) wholeManifest(ctx context.Context, l listed) (*format.Manifest, format.Stored, error) {
	stored := format.Stored{Name: l.name.String(), Size: l.size}
	b, err := p.m.objects.readDocument(ctx, "manifest", p.prefix+stored.Name, l.size)
	if err != nil {
		return nil, stored, err
	}
	stored.CRC32C = format.Checksum(b)
	m, err := p.loadManifest(ctx, stored)
	if err != nil {
		return nil, stored, err
	}
	return m, stored, p.checkWhole(ctx, m)
}

// checkWhole returns nil if the bucket has all pages and segments that the manifest names, and this
// build may change it. It returns ErrCorrupt if one is missing, or has another size.
func (p *partition) checkWhole(ctx context.Context, m *format.Manifest) error {
	if err := m.Writable(); err != nil {
		return fmt.Errorf("manifest %s: %w", m.Name(), err)
	}
	there := p.listSizes(ctx)
	defer there.stop()
	for s, err := range m.Tree(p.readWritable).SegmentsFrom(ctx, m.StartOffset, nil) {
		if err == nil {
			err = s.Supported()
		}
		if err != nil {
			return fmt.Errorf("manifest %s: %w", m.Name(), err)
		}
		switch size, err := there.size(p.prefix + s.Name); {
		case err != nil:
			return classify("list", p.prefix, err)
		case size < 0:
			return fmt.Errorf("%w: segment %s is missing", ErrCorrupt, s.Name)
		case size != s.At+s.ObjectBytes:
			return fmt.Errorf("%w: segment %s has %d bytes, not %d", ErrCorrupt, s.Name, size, s.At+s.ObjectBytes)
		}
	}
	return nil
}

// readWritable reads a page from the bucket, bypassing the caches.
func (p *partition) readWritable(ctx context.Context, ref *format.PageRef) (*format.Page, error) {
	pg, err := p.m.objects.readPage(ctx, p.prefix+ref.Name, ref)
	if err != nil {
		return nil, err
	}
	return pg, pg.Writable()
}

// errNoSuccessor means that a manifest does not have everything that the pointer's manifest has.
var errNoSuccessor = errors.New("it does not go on from the manifest that the pointer names")

// succeeds returns nil if a manifest has everything that another one has, except what has expired
// since. One comparison is enough: if the leader epoch at the other's end is the same, all records
// up to there are, see package lineage.
func (p *partition) succeeds(ctx context.Context, m, other *format.Manifest) error {
	switch {
	case m.StartOffset < other.StartOffset || m.EndOffset < other.EndOffset:
		return fmt.Errorf("%w: it has [%d, %d), that one [%d, %d)", errNoSuccessor, m.StartOffset, m.EndOffset, other.StartOffset, other.EndOffset)
	case other.Empty() || other.EndOffset <= m.StartOffset:
		return nil
	}
	last := other.EndOffset - 1
	s, err := m.Tree(p.readWritable).Find(ctx, last)
	if err != nil {
		return err
	}
	epoch := s.FirstEpoch()
	for _, e := range s.Epochs {
		if e.StartOffset() <= last {
			epoch = e.LeaderEpoch()
		}
	}
	if epoch != other.LastEpoch {
		return fmt.Errorf("%w: at offset %d it has leader epoch %d, that one %d", errNoSuccessor, last, epoch, other.LastEpoch)
	}
	return nil
}

// sizes looks up objects in a listing, in the order of their keys: so a history of any length
// takes no memory.
type sizes struct {
	next func() (objstore.ObjectInfo, error, bool)
	stop func()

	at    objstore.ObjectInfo
	ended bool
}

func (p *partition) listSizes(ctx context.Context) *sizes {
	s := &sizes{}
	s.next, s.stop = iter.Pull2(p.m.objects.bucket.List(ctx, p.prefix))
	return s
}

// size returns an object's size in bytes, -1 if there is none. The keys have to ascend over the
// calls.
func (s *sizes) size(key string) (int64, error) {
	for s.at.Key < key && !s.ended {
		info, err, ok := s.next()
		if err != nil {
			return -1, err
		}
		s.at, s.ended = info, !ok
	}
	if s.at.Key != key {
		return -1, nil
	}
	return s.at.Size, nil
}
