package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// UpgradeType limits an update of a feature. The numbers are Kafka's.
type UpgradeType int8

// The types of updates.
const (
	// Upgrade raises the level.
	Upgrade UpgradeType = iota + 1
	// SafeDowngrade lowers the level if the lower level still reads everything that is stored.
	SafeDowngrade
	// UnsafeDowngrade lowers the level in any case.
	UnsafeDowngrade
)

// FeatureUpdate sets a feature's level. Level 0 takes the feature out of use.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  UpgradeType
}

// UpdateFeatures changes the finalized levels of features, all or none, and returns one error per
// update in their order: ErrInvalidUpdateVersion if the update is not possible, and
// ErrFeatureUpdateFailed if it is possible but another one is not. All known brokers, live and
// fenced, must support the new levels. UpdateFeatures returns when this broker's image shows them.
// With validateOnly it checks and changes nothing.
//
// The write compares the revision of the features key. Every registration changes that revision, so
// no broker with less support joins between the check and the write.
func (a *Admin) UpdateFeatures(ctx context.Context, updates []FeatureUpdate, validateOnly bool) []error {
	errs := make([]error, len(updates))
	err := swap(ctx, "update features", func(ctx context.Context) error {
		pair, image, err := a.finalized(ctx)
		if err != nil {
			return err
		}
		value, err := decode[featuresValue](pair)
		if err != nil {
			return err
		}
		next := maps.Clone(value.Levels)
		if errs = a.applyUpdates(image, next, updates); errors.Join(errs...) != nil || validateOnly || maps.Equal(next, value.Levels) {
			return nil //nolint:nilerr // errs has it
		}
		value.Levels = next
		value.advance(a.now())
		revision, err := a.store.Txn(ctx, []kv.Comparison{kv.ModifiedAt(featuresKey, pair.ModRevision)}, kv.Put(featuresKey, encode(value)))
		if err == nil {
			_, err = a.loader.WaitRevision(ctx, revision)
		}
		return err
	})
	if err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("update features: %w", err)
		}
	}
	return errs
}

// finalized reads the features key. The image that it returns shows all brokers that had registered
// when the key was read.
func (a *Admin) finalized(ctx context.Context) (kv.Pair, *Image, error) {
	pair, err := a.store.Get(ctx, featuresKey)
	if err != nil {
		return kv.Pair{}, nil, err
	}
	if !pair.Exists() {
		return kv.Pair{}, nil, fmt.Errorf("%w: the metadata was %w", ErrFeatureUpdateFailed, ErrUnreleasedFormat)
	}
	image, err := a.loader.WaitRevision(ctx, pair.ModRevision)
	return pair, image, err
}

// applyUpdates changes levels in place and returns one error per update. After an error levels must
// not be used.
func (a *Admin) applyUpdates(image *Image, levels map[string]int16, updates []FeatureUpdate) []error {
	errs := make([]error, len(updates))
	seen := map[string]bool{}
	failed := false
	for i, u := range updates {
		if err := a.checkUpdate(image, levels[u.Name], u, seen[u.Name]); err != nil {
			errs[i], failed = fmt.Errorf("%w %d for feature %s: %w", ErrInvalidUpdateVersion, u.Level, u.Name, err), true
		}
		seen[u.Name] = true
	}
	for i, u := range updates {
		switch {
		case failed && errs[i] == nil:
			errs[i] = fmt.Errorf("%w: another feature of the request cannot be updated", ErrFeatureUpdateFailed)
		case u.Level == 0:
			delete(levels, u.Name)
		default:
			levels[u.Name] = u.Level
		}
	}
	return errs
}

// checkUpdate checks one update against the present level and against all brokers.
func (a *Admin) checkUpdate(image *Image, present int16, u FeatureUpdate, twice bool) error {
	switch {
	case twice:
		return errors.New("the feature is named twice")
	case u.Type < Upgrade || u.Type > UnsafeDowngrade:
		return fmt.Errorf("the upgrade type %d is not known", u.Type)
	case u.Level < 0:
		return errors.New("a level cannot be less than 0")
	}
	if err := image.reasonNotSupported(u.Name, u.Level); err != nil {
		return err
	}
	switch {
	case u.Level < present && u.Type == Upgrade:
		return fmt.Errorf("the level is %d: a lower one needs the upgrade type safe or unsafe downgrade", present)
	case u.Level > present && u.Type != Upgrade:
		return fmt.Errorf("the level is %d: a downgrade cannot raise it", present)
	case u.Level < present && u.Type == SafeDowngrade:
		return a.checkLoss(u.Name, u.Level, present)
	}
	return nil
}

// checkLoss refuses a downgrade below a level whose values lower levels ignore.
func (a *Admin) checkLoss(name string, level, present int16) error {
	for _, f := range a.features {
		for _, lossy := range f.lossy {
			if f.name == name && level < lossy && lossy <= present {
				return fmt.Errorf("what level %d has stored has no meaning at level %d: the downgrade is unsafe", lossy, level)
			}
		}
	}
	return nil
}

// reasonNotSupported returns an error that names the first known broker, live or fenced, that does
// not support a level. A seed that has never started has no features to check: its first
// registration checks them.
func (m *Image) reasonNotSupported(name string, level int16) error {
	named := false
	brokers := maps.Clone(m.Known)
	maps.Copy(brokers, m.Brokers)
	for _, id := range slices.Sorted(maps.Keys(brokers)) {
		b := brokers[id]
		fenced, remedy := "", ""
		if m.IsFenced(id) {
			if b.Features == nil {
				continue
			}
			fenced, remedy = ", which is not running,", fmt.Sprintf(": upgrade it, or unregister it if it is gone for good (varve cluster unregister %d)", id)
		}
		r, ok := b.Features[name]
		named = named || ok
		switch {
		case !ok && level > 0:
			return fmt.Errorf("broker %d%s does not support this feature%s", id, fenced, remedy)
		case ok && (level < r.Min || level > r.Max):
			return fmt.Errorf("broker %d%s only supports levels %d to %d%s", id, fenced, r.Min, r.Max, remedy)
		}
	}
	if !named {
		return errors.New("no broker supports this feature")
	}
	return nil
}
