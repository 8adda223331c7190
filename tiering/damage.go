package tiering

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/varvelog/varve/tiering/format"
)

// maxDamage bounds the damaged parts of objects that are remembered for a partition.
const maxDamage = 32

// noChunk, in place of a chunk's position, means everything in an object that is not a chunk.
const noChunk = -1

// Damage is an object that reads have found missing, or different from what was uploaded. A part of
// the partition cannot be read until the object is restored or has expired.
type Damage struct {
	Object string    // its key in the bucket
	Since  time.Time // when this broker first found it
	Err    error     // what it last found
}

// looked records what a read of an object, or of a chunk of it, has found. Damage is logged once.
// It is forgotten when the same read succeeds, or when nothing names the object any more.
func (p *partition) looked(at chunkKey, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, was := p.mu.damage[at]
	switch {
	case err == nil:
		p.wholeLocked(at)
	case !errors.Is(err, ErrCorrupt):
	case was:
		known.Err = err
		p.mu.damage[at] = known
	case p.namesLocked(at.object) && len(p.mu.damage) < maxDamage:
		if p.mu.damage == nil {
			p.mu.damage = map[chunkKey]Damage{}
		}
		p.mu.damage[at] = Damage{Object: at.object, Since: p.m.o.Now(), Err: err}
		p.logger().Error("an object of the remote tier is missing or damaged: what it holds cannot be read",
			slog.String("object", at.object), slog.Any("error", err))
	}
}

// wholeLocked forgets the damage of what was read. After a manifest was read it forgets that of any
// manifest: the pointer then names another one.
func (p *partition) wholeLocked(at chunkKey) {
	if len(p.mu.damage) == 0 {
		return // as nearly always
	}
	isManifest := p.nameOf(at.object).Kind == format.KindManifest
	for known := range p.mu.damage { // any order
		if known == at || isManifest && p.nameOf(known.object).Kind == format.KindManifest {
			delete(p.mu.damage, known)
			p.logger().Info("an object of the remote tier is whole again", slog.String("object", known.object))
		}
	}
}

// nameOf returns the decoded name of an object's key, zero if it is no name.
func (p *partition) nameOf(object string) format.Name {
	name, _ := format.ParseName(strings.TrimPrefix(object, p.prefix))
	return name
}

// namesLocked returns false for a segment that has expired: what reads by an older manifest find of
// it is no damage.
func (p *partition) namesLocked(object string) bool {
	name, current := p.nameOf(object), p.manifest.Load()
	return current == nil || name.Kind != format.KindSegment || name.StartOffset >= current.StartOffset
}

// damaged returns the known damage, one for each object, in the order of their names.
func (p *partition) damaged() []Damage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.damage) == 0 {
		return nil
	}
	var out []Damage
	for at, d := range p.mu.damage { // any order
		if !p.namesLocked(at.object) {
			delete(p.mu.damage, at)
			continue
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Damage) int {
		if c := strings.Compare(a.Object, b.Object); c != 0 {
			return c
		}
		return a.Since.Compare(b.Since) // of one object the earliest is kept
	})
	return slices.CompactFunc(out, func(a, b Damage) bool { return a.Object == b.Object })
}
