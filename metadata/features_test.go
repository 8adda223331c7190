package metadata

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/runtest"
)

// upTo returns the features of a build that supports varve.version up to a level, and nothing else.
func upTo(level int16) map[string]FeatureRange {
	return map[string]FeatureRange{VarveVersion: {Min: 1, Max: level}}
}

// levelled returns a cluster that supports varve.version up to level 3 and was founded at level 1.
func levelled(t *testing.T) *cluster {
	t.Helper()
	store := kvtest.Open(t)
	if _, err := EnsureClusterID(t.Context(), store, nil); err != nil {
		t.Fatal(err)
	}
	return newClusterOf(t, store, upTo(3))
}

// raise updates only varve.version.
func (c *cluster) raise(t *testing.T, level int16, how UpgradeType) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.admin.UpdateFeatures(ctx, []FeatureUpdate{{Name: VarveVersion, Level: level, Type: how}}, false)[0]
}

// TestFoundingFinalizesTheFeatures: the first broker sets the levels of a new cluster. Later
// brokers accept them or must stop.
func TestFoundingFinalizesTheFeatures(t *testing.T) {
	store := kvtest.Open(t)
	table := []feature{
		{name: VarveVersion, FeatureRange: FeatureRange{Min: 1, Max: 4}, founding: 4},
		{name: "group.version", FeatureRange: FeatureRange{Max: 1}},
	}
	configs := map[string]string{"min.insync.replicas": "2"}
	id, err := ensureCluster(t.Context(), store, founding(table, configs, time.UnixMilli(1000)), table)
	if err != nil || len(id) != 22 {
		t.Fatal(id, err)
	}
	kvs, _, err := store.List(t.Context(), "")
	if err != nil || len(kvs) != 3 || kvs[0].ModRevision != kvs[1].ModRevision || kvs[1].ModRevision != kvs[2].ModRevision {
		t.Errorf("the keys are not of one revision: %+v, %v", kvs, err)
	}
	image := newClusterOf(t, store, supportedOf(table)).loader.Image()
	if !maps.Equal(image.DefaultBrokerConfigs(), configs) {
		t.Errorf("the brokers' settings are %v", image.DefaultBrokerConfigs())
	}
	features := image.Features
	if features.Epoch != 1000 || !maps.Equal(features.Levels, map[string]int16{VarveVersion: 4}) {
		t.Errorf("founded with %+v", features)
	}
	// The next broker accepts the levels, or refuses to run.
	again, err := ensureCluster(t.Context(), store, founding(table, nil, time.UnixMilli(2000)), table)
	if again != id || err != nil {
		t.Errorf("the second broker has %q, %v", again, err)
	}
	for _, other := range [][]feature{
		{{name: VarveVersion, FeatureRange: FeatureRange{Min: 1, Max: 3}}},
		{{name: VarveVersion, FeatureRange: FeatureRange{Min: 5, Max: 6}}},
		{{name: "group.version", FeatureRange: FeatureRange{Max: 1}}},
	} {
		_, err = ensureCluster(t.Context(), store, founding(other, nil, time.UnixMilli(2000)), other)
		if !errors.Is(err, ErrUnsupportedFeature) || !strings.Contains(err.Error(), VarveVersion+" has level 4") {
			t.Errorf("%+v: %v", other, err)
		}
	}
}

// TestUnreleasedFormatIsRefused: a control plane of a build from before the formats were fixed has
// no features key. A broker must not write to it.
func TestUnreleasedFormatIsRefused(t *testing.T) {
	store := kvtest.Open(t)
	if _, err := store.Txn(t.Context(), nil, kv.Put("cluster-id", []byte(`{"v":1,"id":"AQIDBAUGBwgJCgsMDQ4PEA"}`))); err != nil {
		t.Fatal(err)
	}
	_, err := EnsureClusterID(t.Context(), store, nil)
	if !errors.Is(err, ErrUnreleasedFormat) || !strings.Contains(err.Error(), "start with an empty control plane and bucket") {
		t.Error(err)
	}
	if kvs, _, listErr := store.List(t.Context(), ""); listErr != nil || len(kvs) != 1 {
		t.Errorf("it has written something: %+v, %v", kvs, listErr)
	}
}

// TestLevelIsRaisedOnceAllSupportIt: a level that one known broker does not support would make that
// broker misread values, so the update is refused until the broker is upgraded or unregistered.
func TestLevelIsRaisedOnceAllSupportIt(t *testing.T) {
	c := levelled(t)
	r := c.registerWith(t, upTo(3), 1)
	old := c.registerWith(t, upTo(2), 2)[0]
	if err := c.raise(t, 3, Upgrade); !errors.Is(err, ErrInvalidUpdateVersion) || !strings.Contains(err.Error(), "broker 2 only supports levels 1 to 2") {
		t.Errorf("with an old broker: %v", err)
	}
	before := c.loader.Image().Features.Epoch
	if err := c.raise(t, 2, Upgrade); err != nil || c.loader.Image().Feature(VarveVersion) != 2 || c.loader.Image().Features.Epoch <= before {
		t.Errorf("to what all support: %v, %+v", err, c.loader.Image().Features)
	}
	// A broker that is away counts until it is unregistered.
	if err := old.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 })
	err := c.raise(t, 3, Upgrade)
	if !errors.Is(err, ErrInvalidUpdateVersion) || !strings.Contains(err.Error(), "not running") || !strings.Contains(err.Error(), "varve cluster unregister 2") {
		t.Errorf("with an old broker that is away: %v", err)
	}
	if err = c.admin.UnregisterBroker(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err = c.raise(t, 3, Upgrade); err != nil || c.loader.Image().Feature(VarveVersion) != 3 {
		t.Errorf("without it: %v", err)
	}
	// The old broker cannot return; a broker that supports the level can.
	if _, err = old.Register(t.Context()); !errors.Is(err, ErrUnsupportedFeature) {
		t.Errorf("the old broker is back: %v", err)
	}
	if _, err = r[0].Register(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSeedThatNeverStartedHoldsUpNoUpgrade: a seed that has never started has no features yet and
// delays no update.
func TestSeedThatNeverStartedHoldsUpNoUpgrade(t *testing.T) {
	c := levelled(t)
	r := c.registration(t, 1, "d", "")
	r.seeds, r.self.Features = []int32{1, 2, 3}, upTo(3)
	if _, err := r.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 && len(m.Known) == 3 })
	if err := c.raise(t, 3, Upgrade); err != nil {
		t.Error(err)
	}
}

// joiningStore calls between after the check of an update and before its write.
type joiningStore struct {
	kv.Store
	between func()
}

func (s *joiningStore) Txn(ctx context.Context, cs []kv.Comparison, ops ...kv.Op) (int64, error) {
	if between := s.between; between != nil {
		s.between = nil
		between()
	}
	return s.Store.Txn(ctx, cs, ops...)
}

// TestNobodyJoinsBetweenCheckAndWrite: an update notices a broker with less support that joins
// between its check and its write. A registration notices a level that is raised at that point.
func TestNobodyJoinsBetweenCheckAndWrite(t *testing.T) {
	c := levelled(t)
	c.registerWith(t, upTo(3), 1)
	hooked := &joiningStore{Store: c.store}
	admin := NewAdmin(AdminOptions{Store: hooked, Loader: c.loader, Now: time.Now})
	hooked.between = func() { c.registerWith(t, upTo(1), 2) }
	refused := admin.UpdateFeatures(t.Context(), []FeatureUpdate{{Name: VarveVersion, Level: 2, Type: Upgrade}}, false)[0]
	if !errors.Is(refused, ErrInvalidUpdateVersion) || c.loader.Image().Feature(VarveVersion) != 1 {
		t.Errorf("an old broker came in: %v, %+v", refused, c.loader.Image().Features)
	}

	c = levelled(t)
	c.registerWith(t, upTo(3), 1)
	late := c.registration(t, 2, "late", "")
	late.self.Features = upTo(1)
	late.store = &joiningStore{Store: c.store, between: func() {
		if err := c.raise(t, 2, Upgrade); err != nil {
			t.Error(err)
		}
	}}
	if _, err := late.Register(t.Context()); !errors.Is(err, ErrUnsupportedFeature) {
		t.Errorf("the level was raised, and the broker has joined: %v", err)
	}
}

func TestUpdatesThatAreRefused(t *testing.T) {
	c := levelled(t)
	c.admin.features = []feature{{name: VarveVersion, FeatureRange: FeatureRange{Min: 1, Max: 3}, lossy: []int16{3}}}
	c.registerWith(t, upTo(3), 1)
	c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 })
	for _, u := range []struct {
		level int16
		how   UpgradeType
		want  string // "": accepted
	}{
		{4, Upgrade, "only supports levels 1 to 3"},
		{0, UnsafeDowngrade, "only supports levels 1 to 3"},
		{-1, Upgrade, "less than 0"},
		{2, 0, "upgrade type 0"},
		{2, 4, "upgrade type 4"},
		{2, SafeDowngrade, "a downgrade cannot raise it"},
		{3, Upgrade, ""},
		{3, Upgrade, ""},
		{2, Upgrade, "needs the upgrade type"},
		{2, SafeDowngrade, "the downgrade is unsafe"},
		{2, UnsafeDowngrade, ""},
		{1, SafeDowngrade, ""},
	} {
		err := c.raise(t, u.level, u.how)
		switch {
		case u.want == "" && (err != nil || c.loader.Image().Feature(VarveVersion) != u.level):
			t.Errorf("%+v: %v", u, err)
		case u.want != "" && (!errors.Is(err, ErrInvalidUpdateVersion) || !strings.Contains(err.Error(), u.want)):
			t.Errorf("%+v: %v", u, err)
		}
	}
}

// TestUpdateIsAllOrNothing: one update that is refused keeps all others of the request from being
// written.
func TestUpdateIsAllOrNothing(t *testing.T) {
	c := levelled(t)
	c.registerWith(t, upTo(3), 1)
	before := c.loader.Image().Features
	errs := c.admin.UpdateFeatures(t.Context(), []FeatureUpdate{
		{Name: VarveVersion, Level: 2, Type: Upgrade}, {Name: "group.version", Level: 1, Type: Upgrade}, {Name: VarveVersion, Level: 2, Type: Upgrade},
	}, false)
	for i, want := range []error{ErrFeatureUpdateFailed, ErrInvalidUpdateVersion, ErrInvalidUpdateVersion} {
		if !errors.Is(errs[i], want) {
			t.Errorf("update %d: %v, want %v", i, errs[i], want)
		}
	}
	errs = c.admin.UpdateFeatures(t.Context(), []FeatureUpdate{{Name: VarveVersion, Level: 3, Type: Upgrade}}, true)
	pair, err := c.store.Get(t.Context(), featuresKey)
	if errs[0] != nil || err != nil || pair.ModRevision != before.revision {
		t.Errorf("validation has written: %v, %v, %+v", errs, err, pair)
	}
}

// TestEpochOfFeaturesNeverGoesBack: the epoch grows even if the clock does not advance or is
// set back.
func TestEpochOfFeaturesNeverGoesBack(t *testing.T) {
	v := featuresValue{Epoch: 1000}
	for _, step := range []struct{ now, want int64 }{{1000, 1001}, {900, 1002}, {5000, 5000}} {
		if v.advance(time.UnixMilli(step.now)); v.Epoch != step.want {
			t.Errorf("at %d: %d, want %d", step.now, v.Epoch, step.want)
		}
	}
}

// TestEpochIsBeyondThatOfARestoredStore: a backup of etcd has an old epoch. After a restore,
// brokers register again before they serve clients, so clients see a higher epoch than ever before.
func TestEpochIsBeyondThatOfARestoredStore(t *testing.T) {
	c := levelled(t)
	clock := time.Now()
	c.now = func() time.Time { return clock }
	r := c.registerWith(t, upTo(3), 1)[0]
	r.now = c.now
	backup, err := c.store.Get(t.Context(), featuresKey)
	if err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	if err = c.raise(t, 2, Upgrade); err != nil {
		t.Fatal(err)
	}
	seen := c.loader.Image().Features.Epoch
	if _, err = c.store.Txn(t.Context(), nil, kv.Put(featuresKey, backup.Value)); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	epoch, err := r.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image := c.wait(t, func(m *Image) bool { return m.Revision >= epoch })
	if image.Features.Epoch <= seen || image.Feature(VarveVersion) != 1 {
		t.Errorf("clients have seen epoch %d, and are shown %+v", seen, image.Features)
	}
}

// TestManyRegisterAtOnce: brokers that all register at once, as after a pause of the store, all
// succeed.
func TestManyRegisterAtOnce(t *testing.T) {
	c := levelled(t)
	var wg sync.WaitGroup
	for id := range int32(100) {
		r := c.registration(t, id, fmt.Sprint("directory ", id), "")
		// The epoch is old for all of them.
		r.now = func() time.Time { return time.Now().Add(time.Hour) }
		wg.Go(func() {
			if _, err := r.Register(t.Context()); err != nil {
				t.Errorf("broker %d: %v", id, err)
			}
		})
	}
	wg.Wait()
	c.wait(t, func(m *Image) bool { return len(m.Brokers) == 100 })
}

// TestImageOfAHigherLevelIsNotPublished: a broker whose levels have been overtaken publishes no
// image that it may misread, and stops.
func TestImageOfAHigherLevelIsNotPublished(t *testing.T) {
	for _, listed := range []bool{true, false} {
		t.Run(fmt.Sprintf("listed %t", listed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := levelled(t)
				c.registerWith(t, upTo(3), 1)
				f := NewLoader(LoaderOptions{Store: c.store, Logger: runtest.Logger(t), Features: upTo(1)})
				ended := make(chan error, 1)
				if !listed {
					go func() { ended <- f.Run(t.Context()) }()
					synctest.Wait()
				}
				was := f.Image()
				if err := c.raise(t, 2, Upgrade); err != nil {
					t.Fatal(err)
				}
				if listed {
					go func() { ended <- f.Run(t.Context()) }()
				}
				if err := <-ended; !errors.Is(err, ErrUnsupportedFeature) {
					t.Errorf("it ended with %v", err)
				}
				if f.Image() != was {
					t.Errorf("it has published %+v", f.Image().Features)
				}
			})
		})
	}
}

// TestOvertakenRegistrationEnds: an overtaken broker that has lost its lease stops instead of
// registering forever.
func TestOvertakenRegistrationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := levelled(t)
		c.registerWith(t, upTo(3), 1)
		old := c.registerWith(t, upTo(1), 2)[0]
		if err := c.store.Revoke(t.Context(), old.lease()); err != nil {
			t.Fatal(err)
		}
		c.wait(t, func(m *Image) bool { return len(m.Brokers) == 1 })
		if err := c.admin.UnregisterBroker(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if err := c.raise(t, 2, Upgrade); err != nil {
			t.Fatal(err)
		}
		if err := old.Run(t.Context()); !errors.Is(err, ErrUnsupportedFeature) {
			t.Errorf("it ended with %v", err)
		}
	})
}
