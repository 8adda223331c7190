package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/lineage"
)

// Suspect is a leader whose log may be missing records that the remote tier has: an unclean
// election chose it among what was left. It serves no request until its log continues the tier. The
// methods may be called repeatedly.
type Suspect interface {
	// Continues says that the log continues the tier. It must not block.
	Continues()
	// StartFromRemote makes the log begin where the tier ends: the log has nothing else.
	StartFromRemote(ctx context.Context, state storage.RemoteState) error
}

// cutGrace is how long what is cut off the tier is kept: it is the only copy of records that were
// once acknowledged.
const cutGrace = 7 * 24 * time.Hour

// compare determines whether the log continues the tier, see package lineage. A leader's log that
// once did continues to. A suspect log is made to continue it: a history from which the log has
// diverged is cut off the tier, and an end that the log has lost is taken over from the tier. For
// any other log both are errors that need an operator. compare is called in every phase in which
// the manifest is known, before the log is informed of it.
func (p *partition) compare(ctx context.Context) error {
	m := p.manifest.Load()
	if m.Sequence > 0 && p.CommittedEnd != nil {
		p.CommittedEnd(m.EndOffset)
	}
	if p.chores.continues {
		return nil
	}
	if !p.fenced(p.chores.pointer) {
		return fmt.Errorf("compare the log with the remote tier: the leader before may change it: %w", ErrReadOnly)
	}
	relation, state, err := p.relate(ctx, m)
	if err != nil {
		return fmt.Errorf("compare the log with the remote tier: %w", err)
	}
	switch {
	case relation.Kind == lineage.Holed:
		err = p.gap(relation.At)
	case relation.Kind == lineage.Completed && p.Suspect != nil:
		err = p.complete(ctx, state)
	case relation.Kind == lineage.Completed:
		err = fmt.Errorf("%w: it ends at offset %d, the tier at %d", ErrGap, relation.At, m.EndOffset)
	case relation.Kind == lineage.Diverged:
		err = p.cut(ctx, m, relation.At)
	}
	if err != nil {
		return err
	}
	p.noteContinues()
	return nil
}

func (p *partition) noteContinues() {
	if p.chores.continues {
		return
	}
	p.chores.continues = true
	if p.Suspect != nil {
		p.Suspect.Continues()
	}
}

// compareFacts is compare by the pointer alone, without the bucket: it can only find that the log
// continues the tier.
func (p *partition) compareFacts(ptr *format.Pointer) {
	if p.chores.continues || ptr.Manifest == "" || ptr.LeaderEpoch > p.LeaderEpoch || !p.fenced(ptr) {
		return
	}
	if lineage.ContinuesFrom(ptr.EndOffset, ptr.LastEpoch, p.localHistory()) {
		p.noteContinues()
	}
}

// fenced reports whether no earlier leader can commit any more, or none has anything that the log
// may be missing.
func (p *partition) fenced(ptr *format.Pointer) bool {
	claim, suspect := p.own.Fences()
	return !suspect || ptr.Claim == claim
}

// localHistory returns the log's side of the comparison.
func (p *partition) localHistory() lineage.Log {
	return lineage.Log{
		Start: p.log.StartOffset(), LocalStart: p.log.LocalStartOffset(), End: p.log.EndOffset(), Epochs: p.log.EpochEntries(),
	}
}

// relate compares the log with a manifest. state is that at the tier's end, if it was needed.
func (p *partition) relate(ctx context.Context, m *format.Manifest) (r lineage.Relation, state storage.RemoteState, err error) {
	log, tier := p.localHistory(), lineage.Tier{Start: m.StartOffset, End: m.EndOffset}
	switch {
	case m.Sequence == 0 || m.Empty():
		// No replica or tier has records of the partition, so the log needs none from
		// before its own.
		state = storage.RemoteState{StartOffset: m.EndOffset, EndOffset: m.EndOffset}
		return lineage.Compare(tier, log), state, nil
	case lineage.ContinuesFrom(m.EndOffset, m.LastEpoch, log):
		return lineage.Relation{Kind: lineage.Continues, At: m.EndOffset}, state, nil
	}
	if m, err = p.wholeForWork(ctx); err != nil {
		return r, state, err
	}
	last, err := p.lastSegment(ctx, m)
	if err != nil {
		return r, state, err
	}
	if tier.Epochs, err = last.leaderEpochs(ctx); err != nil {
		return r, state, err
	}
	if r = lineage.Compare(tier, log); r.Kind == lineage.Completed && p.Suspect != nil {
		state, err = last.state(ctx)
		state.StartOffset = m.LogStart
	}
	return r, state, err
}

// complete makes the log continue where the tier ends.
func (p *partition) complete(ctx context.Context, state storage.RemoteState) error {
	if err := p.Suspect.StartFromRemote(ctx, state); err != nil {
		return fmt.Errorf("take over what the log has lost from the remote tier: %w", err)
	}
	return nil
}

// cut ends the tier where the log has another history. That can only be a history from before the
// newest election that may have lost records.
func (p *partition) cut(ctx context.Context, m *format.Manifest, at int64) error {
	if p.Suspect == nil || m.LastEpoch >= p.LossyEpoch {
		return fmt.Errorf("%w: from offset %d on the log has other records than the tier, which has some of leader epoch %d",
			ErrDiverged, at, m.LastEpoch)
	}
	if !p.owns() {
		return fmt.Errorf("%w: from offset %d on the log has other records, and the tier must not be changed", ErrDiverged, at)
	}
	n, edit, err := p.nextManifest(ctx)
	if err != nil {
		return fmt.Errorf("cut the remote tier at offset %d: %w", at, err)
	}
	edit.CutMs = p.m.o.Now().Add(max(cutGrace, p.m.o.DeleteDelay)).UnixMilli()
	if err = n.Cut(ctx, edit, at, p.lookAtWritable); err != nil {
		return fmt.Errorf("cut the remote tier at offset %d: %w", at, err)
	}
	if err = p.commit(ctx, n, ""); err != nil {
		return fmt.Errorf("cut the remote tier at offset %d: %w", at, err)
	}
	p.logger().Error("the log has other records than the remote tier since an election that lost records: the tier is cut, and what was cut off is kept for a while",
		slog.Int64("at", at), slog.Int64("tier_end", m.EndOffset), slog.Int("leader_epoch", int(m.LastEpoch)))
	return nil
}

// gap returns the error of a log that begins above the tier's end, with records missing from both.
func (p *partition) gap(at int64) error {
	return fmt.Errorf("%w: the local log begins at offset %d, and from %d on the records are in neither; see 'varve tier rebuild'",
		ErrGap, p.log.LocalStartOffset(), at)
}

// lookForObjects returns ErrLostPointer if there is no pointer, but there are objects to
// which one has led.
func (p *partition) lookForObjects(ctx context.Context) error {
	if p.chores.pointer.Claim != "" || !p.Config().RemoteStorageEnable {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.m.o.RequestTimeout)
	defer cancel()
	key, err := p.anyObject(ctx)
	if err != nil || key == "" {
		return err
	}
	if _, revision, readErr := p.readPointer(ctx); readErr != nil || revision != 0 {
		return errors.Join(kv.ErrConflict, readErr) // another leader was as fast
	}
	return fmt.Errorf("%w: there is %s; see 'varve tier rebuild'", ErrLostPointer, key)
}

// anyObject returns the key of an object of the partition, "" if the bucket has none.
func (p *partition) anyObject(ctx context.Context) (string, error) {
	for info, err := range p.m.objects.bucket.List(ctx, p.prefix) {
		if err != nil {
			return "", classify("list", p.prefix, err)
		}
		return info.Key, nil
	}
	return "", nil
}

// needsRepair reports whether an error says that the tier and the log do not belong together.
func needsRepair(err error) bool {
	return errors.Is(err, ErrGap) || errors.Is(err, ErrDiverged) || errors.Is(err, ErrLostPointer)
}
