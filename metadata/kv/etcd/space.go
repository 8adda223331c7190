package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/varvelog/varve/backoff"
)

// A member whose database has reached its quota raises an alarm, and etcd takes no more writes
// until there is room and the alarm is cleared. No operator can reach the member of a single
// broker, and a broker that has lost its lease cannot even register: so each embedded member makes
// room for itself.
const (
	spaceInterval = 2 * time.Second // between two checks of the database's size
	spacePauseMax = time.Minute     // between two attempts to make room
	spaceTimeout  = 5 * time.Minute // of one attempt: it copies the whole database
	// A database that has this percentage of live data keeps the alarm: the next writes would raise
	// it again.
	spacePercent = 90
)

// spaceKeeper clears an embedded member's alarm.
type spaceKeeper struct {
	server *etcdserver.EtcdServer
	client *clientv3.Client
	quota  int64
	logger *slog.Logger

	listed bool // the alarms were listed since the start; owned by run
}

// start runs the keeper until stop is called, which waits for its end.
func (k *spaceKeeper) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { k.run(ctx) })
	return func() { cancel(); running.Wait() }
}

func (k *spaceKeeper) run(ctx context.Context) {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	pause := backoff.Backoff{Min: spaceInterval, Max: spacePauseMax}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if k.listed && k.server.Backend().Size() < k.quota/2 {
			continue // a database reaches its quota before it raises the alarm
		}
		alarmed, err := k.alarmed(ctx)
		if k.listed = k.listed || err == nil; !alarmed {
			if err == nil {
				pause.Reset()
			}
			continue
		}
		if pause.First() {
			k.logger.Warn("etcd's database has reached its quota and takes no writes; making room")
		}
		if err = k.makeRoom(ctx); err == nil {
			k.logger.Warn("etcd's database has room again")
			continue
		}
		if ctx.Err() == nil {
			k.logger.Error("no metadata can be written: etcd's database is full, and no room could be made", slog.Any("error", err))
		}
		if !pause.Sleep(ctx) {
			return
		}
	}
}

// alarmed reports whether this member is out of space. Its request goes through the log: a member
// that takes over a snapshot replaces its alarms, and etcd does not guard the alarms in memory
// against concurrent readers.
func (k *spaceKeeper) alarmed(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, spaceInterval)
	defer cancel()
	list, err := k.client.AlarmList(ctx)
	if err != nil {
		return false, fmt.Errorf("list the alarms of etcd: %w", err)
	}
	for _, alarm := range list.Alarms {
		if alarm.Alarm == etcdserverpb.AlarmType_NOSPACE && alarm.MemberID == uint64(k.server.MemberID()) {
			return true, nil
		}
	}
	return false, nil
}

// makeRoom drops all old revisions, shrinks the database, and clears the alarm. A crash in between
// leaves the alarm set, and the next start completes the work.
func (k *spaceKeeper) makeRoom(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, spaceTimeout)
	defer cancel()
	revision := k.server.KV().Rev()
	// Watchers that have not reached this revision list everything again.
	_, err := k.client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(rpctypes.Error(err), rpctypes.ErrCompacted) {
		return fmt.Errorf("compact to revision %d: %w", revision, err)
	}
	if err = k.server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	if size := k.server.Backend().Size(); size > k.quota/100*spacePercent {
		return fmt.Errorf("what is there takes %d bytes of %d: delete topics", size, k.quota)
	}
	own := uint64(k.server.MemberID())
	if _, err = k.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: own, Alarm: etcdserverpb.AlarmType_NOSPACE}); err != nil {
		return fmt.Errorf("take the alarm back: %w", err)
	}
	return nil
}
