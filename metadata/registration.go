package metadata

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/stepped"
)

// DefaultLeaseTTL is how long a dead broker counts as live unless a probe finds out sooner.
const DefaultLeaseTTL = 6 * time.Second

// RegistrationOptions are the options of a Registration.
type RegistrationOptions struct {
	Store       kv.Store
	BrokerID    int32
	DirectoryID string // drawn once per data directory, which only one process can hold
	Rack        string
	Listeners   []Listener
	// Seeds are the ids of the brokers that the cluster begins with. The first registration of one
	// of them makes all of them known, until they are unregistered. So a topic that is created
	// before all of them have started can have replicas on all of them.
	Seeds  []int32
	TTL    time.Duration // DefaultLeaseTTL if zero
	Now    func() time.Time
	Logger *slog.Logger
	// Directories are the data directories that work.
	Directories []DirectoryID
	Past
	// Registered is called with the broker epoch after each registration; may be nil.
	Registered func(epoch int64)
	Features   map[string]FeatureRange // what the broker supports; nil: Supported
	// Healthy is called before each renewal; nil: the broker is always healthy. While it returns an
	// error, the registration is not renewed. If that lasts for TTL, the registration ends and
	// other brokers take over. The broker registers again when Healthy returns nil. Healthy must
	// not block.
	Healthy func() error
}

// Past describes what a broker's directories have kept since its earlier registrations. The fields
// are as in Broker.
type Past struct {
	PreviousBrokerEpoch int64
	KeptBrokerEpoch     int64
	LostSinceKept       []DirectoryID
	LostDirectories     []DirectoryID
	LostBrokerEpoch     int64
}

// Registration keeps one broker registered. The registration is a key under a lease, which lasts
// while Run renews it. The create revision of the key is the broker epoch.
type Registration struct {
	store        kv.Store
	ttl          time.Duration
	now          func() time.Time
	logger       *slog.Logger
	self         Broker
	seeds        []int32
	onRegistered func(brokerEpoch int64)
	// healthy and unwell belong to Run's goroutine.
	healthy func() error
	unwell  bool

	// writing is held during each write of the key, so that no older value overwrites a newer one.
	// It is locked before mu.
	writing sync.Mutex
	mu      struct {
		sync.Mutex
		lease                kv.LeaseID
		brokerEpoch          int64
		past                 Past // of the newest registration
		directories          []DirectoryID
		failed               []DirectoryID // directories that have failed in this process
		inControlledShutdown bool
	}
}

// NewRegistration returns a registration. Register writes it to the store.
func NewRegistration(o RegistrationOptions) *Registration {
	if o.TTL == 0 {
		o.TTL = DefaultLeaseTTL
	}
	if o.Features == nil {
		o.Features = Supported()
	}
	r := &Registration{
		store: o.Store, ttl: o.TTL, now: o.Now, logger: o.Logger, seeds: o.Seeds, healthy: o.Healthy,
		self: Broker{
			ID: o.BrokerID, Incarnation: rand.Text(), DirectoryID: o.DirectoryID,
			Rack: o.Rack, Listeners: o.Listeners, StartedAt: o.Now(), Features: o.Features,
		},
	}
	r.onRegistered = o.Registered
	if r.onRegistered == nil {
		r.onRegistered = func(int64) {}
	}
	r.mu.past, r.mu.directories = o.Past, slices.Clone(o.Directories)
	return r
}

// BrokerID returns the id that is registered.
func (r *Registration) BrokerID() int32 { return r.self.ID }

// TTL returns how long a registration lasts without a renewal.
func (r *Registration) TTL() time.Duration { return r.ttl }

// BrokerEpoch returns the newest broker epoch, or 0 before Register.
func (r *Registration) BrokerEpoch() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.brokerEpoch
}

// lease returns the newest lease. Keys that must end with the registration are under it.
func (r *Registration) lease() kv.LeaseID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.lease
}

// Register registers the broker and returns its broker epoch. It replaces an earlier registration
// of the same data directory at once, with all keys under its lease: a directory has one process at
// a time, so the earlier process is dead. It returns ErrBrokerIDInUse if another live broker has
// the id, and ErrUnsupportedFeature if this broker does not support the finalized features.
func (r *Registration) Register(ctx context.Context) (int64, error) {
	if err := r.knowSeeds(ctx); err != nil {
		return 0, fmt.Errorf("register broker %d: make its seeds known: %w", r.self.ID, err)
	}
	epoch, err := r.register(ctx, true)
	if err != nil {
		return 0, fmt.Errorf("register broker %d: %w", r.self.ID, err)
	}
	return epoch, nil
}

// seedsKnownValue records that the seeds have been made known.
type seedsKnownValue struct {
	kept
	V version `json:"v"`
}

// knowSeeds makes the seeds known brokers, once in the life of a cluster. A seed that has been
// unregistered does not become known again when another seed starts. If a crash leaves only some of
// them known, the next start of a seed makes the others known.
func (r *Registration) knowSeeds(ctx context.Context) error {
	if len(r.seeds) == 0 {
		return nil
	}
	done, err := r.store.Get(ctx, seedsKnownKey)
	if err != nil || done.Exists() {
		return err
	}
	for _, id := range r.seeds {
		key := knownKey(id)
		value := encode(knownValue{V: valueVersion})
		_, err = r.store.Txn(ctx, []kv.Comparison{kv.Absent(seedsKnownKey), kv.Absent(key)}, kv.Put(key, value))
		if err != nil && !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
	_, err = r.store.Txn(ctx, []kv.Comparison{kv.Absent(seedsKnownKey)}, kv.Put(seedsKnownKey, encode(seedsKnownValue{V: valueVersion})))
	if errors.Is(err, kv.ErrConflict) {
		return nil // another seed has done it
	}
	return err
}

// Run keeps the broker registered until ctx ends, and then returns nil. If the lease has ended, as
// after a pause of the store or of this process, Run registers the broker again under a new broker
// epoch. The broker must stop if Run returns an error: ErrBrokerIDInUse if another broker has taken
// the id, ErrWentBack if the store has another history, ErrUnsupportedFeature if the cluster has
// finalized a feature level that this broker does not support.
func (r *Registration) Run(ctx context.Context) error {
	wait := backoff.Backoff{Min: r.ttl / 64, Max: r.ttl / 4}
	for next := r.ttl / 3; stepped.Pause(ctx, next); {
		next = r.ttl / 3
		if !r.mayRenew() {
			continue
		}
		began := time.Now()
		if err := r.renewAtLast(ctx, &wait); err != nil {
			return fmt.Errorf("keep broker %d registered: %w", r.self.ID, err)
		}
		next = max(0, next-time.Since(began)) // renewals keep their rate
	}
	return nil
}

// renewAtLast renews until it succeeds or ctx ends. After an error the broker must stop.
func (r *Registration) renewAtLast(ctx context.Context, wait *backoff.Backoff) error {
	for {
		err := r.renew(ctx)
		if err == nil {
			wait.Reset()
			return nil
		}
		if ctx.Err() == nil {
			if errors.Is(err, ErrBrokerIDInUse) || errors.Is(err, ErrUnsupportedFeature) || errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrWentBack) {
				return err
			}
			r.logger.Warn("the registration of this broker cannot be renewed; trying again",
				slog.Int("broker_id", int(r.self.ID)), slog.Any("error", err))
		}
		if !wait.Sleep(ctx) {
			return nil
		}
	}
}

// BeginControlledShutdown announces that this broker is about to stop. The controller then moves
// leadership to other brokers; Image.ShouldShutDown reports when that is done. The broker keeps its
// registration and its broker epoch.
func (r *Registration) BeginControlledShutdown(ctx context.Context) error {
	r.mu.Lock()
	r.mu.inControlledShutdown = true // also in a later registration
	r.mu.Unlock()
	if err := r.rewrite(ctx); err != nil {
		return fmt.Errorf("announce the stop of broker %d: %w", r.self.ID, err)
	}
	return nil
}

// SetDirectories writes to the registration which data directories still work. Other brokers then
// lead the partitions whose logs are in the failed ones. Until then these have no leader, so
// SetDirectories retries until ctx ends. The registration keeps its broker epoch, and later
// registrations have the same directories.
func (r *Registration) SetDirectories(ctx context.Context, working []DirectoryID) error {
	r.mu.Lock()
	for _, id := range r.mu.directories {
		if !slices.Contains(working, id) {
			r.mu.failed = append(r.mu.failed, id)
			// If nothing is registered yet, logs of any earlier epoch may be lost.
			r.mu.past.LostBrokerEpoch = cmp.Or(r.mu.brokerEpoch, math.MaxInt64)
		}
	}
	r.mu.directories = slices.Clone(working)
	r.mu.Unlock()
	wait := backoff.Backoff{Min: tellMin, Max: tellMax}
	for {
		err := r.rewrite(ctx)
		if err == nil {
			return nil
		}
		r.logger.Warn("the cluster does not know yet which directories of this broker work; trying again",
			slog.Int("broker_id", int(r.self.ID)), slog.Any("error", err))
		if !wait.Sleep(ctx) {
			return fmt.Errorf("tell the directories of broker %d: %w", r.self.ID, err)
		}
	}
}

// Pauses between attempts to report a failed directory.
const (
	tellMin = 20 * time.Millisecond
	tellMax = time.Second
)

// rewrite writes the key again, with the present state of the registration.
func (r *Registration) rewrite(ctx context.Context) error {
	stepped.Lock(ctx, &r.writing)
	defer r.writing.Unlock()
	key := brokerKey(r.self.ID)
	return swap(ctx, "rewrite "+key, func(ctx context.Context) error {
		value, lease, epoch := r.value()
		if epoch == 0 {
			return nil // not registered yet: Register writes this state
		}
		_, err := r.store.Txn(ctx, []kv.Comparison{kv.CreatedAt(key, epoch)}, kv.PutLeased(key, value, lease))
		if errors.Is(err, kv.ErrLeaseNotFound) {
			return fmt.Errorf("%w: %w", kv.ErrConflict, err) // Run is about to register again
		}
		return err
	})
}

// value returns the value of the broker's key, with its lease and its broker epoch.
func (r *Registration) value() (value []byte, lease kv.LeaseID, epoch int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.encodeLocked(r.mu.past), r.mu.lease, r.mu.brokerEpoch
}

// nextValue returns the value of a new registration's key, and the past that it contains. A process
// that continues after its registration has ended has lost only the directories that have failed.
func (r *Registration) nextValue() (value []byte, past Past) {
	r.mu.Lock()
	defer r.mu.Unlock()
	past = r.mu.past
	if r.mu.brokerEpoch != 0 {
		if past.KeptBrokerEpoch == 0 {
			past.KeptBrokerEpoch = r.mu.brokerEpoch
		}
		past.PreviousBrokerEpoch, past.LostDirectories = r.mu.brokerEpoch, nil
	}
	return r.encodeLocked(past), past
}

// encodeLocked returns the key's value. Directories that have failed in this process count as lost,
// whatever the epochs of past are. The caller holds r.mu.
func (r *Registration) encodeLocked(past Past) []byte {
	self := r.self
	self.InControlledShutdown, self.Directories = r.mu.inControlledShutdown, r.mu.directories
	self.PreviousBrokerEpoch, self.KeptBrokerEpoch, self.LostBrokerEpoch = past.PreviousBrokerEpoch, past.KeptBrokerEpoch, past.LostBrokerEpoch
	self.LostDirectories = slices.Concat(past.LostDirectories, r.mu.failed)
	self.LostSinceKept = slices.Concat(past.LostSinceKept, r.mu.failed)
	return self.encode()
}

// Deregister ends the registration at once. It retries until ctx ends. If it fails, the
// registration ends when its lease expires.
func (r *Registration) Deregister(ctx context.Context) error {
	lease := r.lease()
	if lease == 0 {
		return nil
	}
	wait := backoff.Backoff{Min: r.ttl / 64, Max: r.ttl / 4}
	for {
		err := r.store.Revoke(ctx, lease)
		if err == nil {
			return nil
		}
		if !errors.Is(err, kv.ErrUnavailable) || !wait.Sleep(ctx) {
			return fmt.Errorf("deregister broker %d: %w", r.self.ID, err)
		}
	}
}

// mayRenew reports whether the broker is healthy, and logs when that changes.
func (r *Registration) mayRenew() bool {
	var err error
	if r.healthy != nil {
		err = r.healthy()
	}
	switch {
	case err != nil && !r.unwell:
		r.logger.Error("this broker does not renew its registration, so that others take over",
			slog.Int("broker_id", int(r.self.ID)), slog.Any("error", err))
	case err == nil && r.unwell:
		r.logger.Warn("this broker renews its registration again", slog.Int("broker_id", int(r.self.ID)))
	}
	r.unwell = err != nil
	return err == nil
}

func (r *Registration) renew(ctx context.Context) error {
	err := r.keepAlive(ctx)
	if !errors.Is(err, kv.ErrLeaseNotFound) {
		return err
	}
	epoch, err := r.register(ctx, false)
	if err != nil {
		return err
	}
	r.logger.Warn("the registration of this broker had expired; it is registered again",
		slog.Int("broker_id", int(r.self.ID)), slog.Int64("broker_epoch", epoch))
	return nil
}

// keepAlive renews the lease. Its timeout leaves time for another attempt before the lease ends.
func (r *Registration) keepAlive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.ttl/3)
	defer cancel()
	return r.store.KeepAlive(ctx, r.lease())
}

// register creates the key. starting is true for the first registration of the process: only that
// one may replace another process of the same directory. Later, a key of another process means that
// this process is the older one.
func (r *Registration) register(ctx context.Context, starting bool) (_ int64, err error) {
	lease, err := r.store.Grant(ctx, r.ttl)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			// Without its key the lease is of no use. If this fails, the lease expires.
			_ = r.store.Revoke(context.WithoutCancel(ctx), lease)
		}
	}()
	stepped.Lock(ctx, &r.writing)
	defer r.writing.Unlock()
	key := brokerKey(r.self.ID)
	var epoch int64
	var past Past
	err = swap(ctx, "create "+key, func(ctx context.Context) error {
		present, swapErr := r.store.Get(ctx, key)
		if swapErr != nil {
			return swapErr
		}
		if present.Exists() {
			if swapErr = r.replace(ctx, present, starting); swapErr != nil {
				return swapErr
			}
		}
		guards, ops, swapErr := r.joining(ctx)
		if swapErr != nil {
			return swapErr
		}
		var value []byte
		value, past = r.nextValue()
		epoch, swapErr = r.store.Txn(ctx, append(guards, kv.Absent(key)), append(ops, kv.PutLeased(key, value, lease))...)
		return swapErr
	})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.mu.lease, r.mu.brokerEpoch, r.mu.past = lease, epoch, past
	r.mu.Unlock()
	r.onRegistered(epoch)
	return epoch, nil
}

// replace removes a registration of this process or, when starting, of an earlier process with one
// of its directories. For any other registration it returns ErrBrokerIDInUse.
func (r *Registration) replace(ctx context.Context, present kv.Pair, starting bool) error {
	other, err := decodeBroker(r.self.ID, present)
	if err != nil {
		return err
	}
	mine := other.Incarnation == r.self.Incarnation // written by an attempt whose reply was lost
	if !mine && (!starting || !r.succeeds(other)) {
		return inUse(other)
	}
	if present.Lease != 0 {
		// The key ends with its lease, and so does the controller's key under the same lease.
		return r.store.Revoke(ctx, present.Lease)
	}
	_, err = r.store.Txn(ctx, []kv.Comparison{kv.ModifiedAt(present.Key, present.ModRevision)}, kv.Delete(present.Key))
	return err
}

// succeeds reports whether this process holds a directory that the other one held. A directory has
// one process at a time, so the other one has ended.
func (r *Registration) succeeds(other Broker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := func(id DirectoryID) bool { return slices.Contains(r.mu.directories, id) }
	return other.DirectoryID == r.self.DirectoryID || slices.ContainsFunc(other.Directories, held)
}

func inUse(other Broker) error {
	at := make([]string, len(other.Listeners))
	for i, l := range other.Listeners {
		at[i] = l.Address()
	}
	return fmt.Errorf("%w: a live broker %d at %s, started %s with data directory %s, is registered; "+
		"give this broker another node id, or stop that one and wait for its registration to expire",
		ErrBrokerIDInUse, other.ID, strings.Join(at, ", "), other.StartedAt.UTC().Format(time.RFC3339), other.DirectoryID)
}
