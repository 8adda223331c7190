package simulation

import (
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
)

// verb is a kind of action.
type verb struct {
	args []argument
	play func(w *world, a Action)
}

// verbs lists everything that can happen.
var verbs = map[string]verb{
	"produce":  {[]argument{topic, partitions}, (*world).produce},
	"read":     {[]argument{topic, number, number}, func(w *world, a Action) { w.client.read(a.tp(), a.n(2)) }},
	"delete":   {[]argument{topic, number, number}, func(w *world, a Action) { w.client.delete(a.tp(), a.n(2)) }},
	"create":   {[]argument{topic, number, number, number}, (*world).create},
	"remove":   {[]argument{topic}, (*world).remove},
	"elect":    {[]argument{topic, number}, (*world).elect},
	"reassign": {[]argument{topic, number, list}, (*world).reassign},
	"cancel":   {[]argument{topic, number}, (*world).cancel},
	"minimum":  {[]argument{topic, number}, (*world).minimum},
	"kill":     {[]argument{number}, func(w *world, a Action) { w.host(a).stop(Killed) }},
	"crash":    {[]argument{number}, func(w *world, a Action) { w.host(a).stop(Crashed) }},
	"stop":     {[]argument{number}, (*world).leave},
	"start":    {[]argument{number}, func(w *world, a Action) { w.host(a).start() }},
	"fail":     {[]argument{number, number}, func(w *world, a Action) { w.host(a).fail(a.n(1)) }},
	"lose":     {[]argument{number, number}, func(w *world, a Action) { w.host(a).lose(a.n(1)) }},
	"freeze":   {[]argument{number, duration}, func(w *world, a Action) { w.host(a).freeze(a.d(1)) }},
	"busy":     {[]argument{number, duration}, func(w *world, a Action) { w.host(a).busy = w.sched.now + a.d(1) }},
	"skew":     {[]argument{number, duration}, func(w *world, a Action) { w.host(a).skew = a.d(1) }},
	"cut":      {[]argument{number, number, duration}, (*world).cut},
	"mute":     {[]argument{number, number, duration}, (*world).mute},
	"lossy":    {[]argument{number, number, number, duration}, (*world).lossy},
	"outage":   {[]argument{duration}, (*world).outage},
	"backup":   {nil, func(w *world, _ Action) { w.etcd.backup() }},
	"mistake":  {[]argument{duration}, func(w *world, a Action) { w.etcd.mistake(a.d(0), w.leastSeen()) }},
	"unstore":  {[]argument{duration}, (*world).unstore},
	"flaky":    {[]argument{number, duration}, (*world).flaky},
	"forget":   {[]argument{topic, number}, func(w *world, a Action) { w.forget(a.tp()) }},
	"unclean":  {[]argument{topic, number}, (*world).unclean},
	"rebuild":  {[]argument{topic, number}, func(w *world, a Action) { w.rebuild(a.tp()) }},
	"compact":  {nil, func(w *world, _ Action) { w.etcd.compact(w.etcd.state.revision) }},
}

func (w *world) play(a Action) { verbs[a.Verb].play(w, a) }

// host returns the host that the first argument names.
func (w *world) host(a Action) *host { return w.hosts[a.n(0)-1] }

// tp returns the partition that the first two arguments name.
func (a Action) tp() metadata.TopicPartition {
	return metadata.TopicPartition{Topic: a.Args[0], Partition: int32(a.n(1))}
}

func (w *world) produce(a Action) {
	tps := make([]metadata.TopicPartition, len(a.Args)-1)
	for i := range tps {
		tps[i] = metadata.TopicPartition{Topic: a.Args[0], Partition: int32(a.n(i + 1))}
	}
	w.client.produce(tps)
}

// adminTimeout is how long an administrator waits.
const adminTimeout = 10 * time.Second

// administer makes an administrative call at a random broker.
func (w *world) administer(what string, do func(ctx context.Context, a *metadata.Admin) error) {
	live := w.live()
	if len(live) == 0 {
		return
	}
	p := live[w.sched.draw("admin", int64(len(live)))]
	w.sched.spawn(p.ctx, p, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		err := do(ctx, p.admin)
		if !p.dead {
			w.trace("%s: %s at %s", short(err), what, p.name)
		}
	})
}

func (w *world) create(a Action) {
	spec := metadata.TopicSpec{
		Name: a.Args[0], Partitions: int32(a.n(1)), ReplicationFactor: int16(a.n(2)),
		Configs: map[string]string{minISRKey: a.Args[3]},
	}
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		return admin.CreateTopics(ctx, []metadata.TopicSpec{spec}, false)[0].Err
	})
}

func (w *world) remove(a Action) {
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		return admin.DeleteTopics(ctx, []metadata.TopicRef{{Name: a.Args[0]}})[0].Err
	})
}

func (w *world) elect(a Action) {
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		return admin.ElectLeaders(ctx, metadata.PreferredElection, []metadata.TopicPartition{a.tp()})[0]
	})
}

func (w *world) reassign(a Action) {
	w.alter(a, metadata.Reassignment{TopicPartition: a.tp(), Replicas: a.ids(2), AllowFactorChange: true})
}

func (w *world) cancel(a Action) {
	w.alter(a, metadata.Reassignment{TopicPartition: a.tp(), Cancel: true})
}

func (w *world) alter(a Action, r metadata.Reassignment) {
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		return admin.AlterPartitionReassignments(ctx, []metadata.Reassignment{r})[0]
	})
}

func (w *world) minimum(a Action) {
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		resource := metadata.ConfigResource{Kind: metadata.TopicConfig, Topic: a.Args[0]}
		return admin.UpdateConfigs(ctx, resource, func(old map[string]string) (map[string]string, error) {
			old[minISRKey] = strconv.Itoa(int(a.n(1)))
			return old, nil
		})
	})
}

// leave shuts a broker down in order: it announces the shutdown, waits for other leaders for a
// while, and has everything on disk at the end.
func (w *world) leave(a Action) {
	h := w.host(a)
	p := h.process
	if p == nil || p.lapse == nil {
		return
	}
	p.leaving = true
	w.sched.spawn(p.ctx, p, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		if err := p.registration.BeginControlledShutdown(ctx); err == nil {
			// After the timeout the broker leaves anyway.
			_, _ = p.loader.Wait(ctx, func(image *metadata.Image) bool { return image.ShouldShutDown(h.id) })
		}
		p.lapse()
		_ = p.registration.Deregister(ctx) // or the lease ends
		w.sched.after(0, nil, func() {
			if h.process == p {
				h.stop(Clean)
			}
		})
	})
}

// cut separates two hosts in both directions; host 0 is etcd.
func (w *world) cut(a Action) {
	from, to, until := int32(a.n(0)), int32(a.n(1)), w.sched.now+a.d(2)
	w.net.cut(link{from, to}, until)
	w.net.cut(link{to, from}, until)
}

// mute loses the messages of one direction between two hosts.
func (w *world) mute(a Action) {
	w.net.cut(link{int32(a.n(0)), int32(a.n(1))}, w.sched.now+a.d(2))
}

// lossy loses a percentage of the messages of one direction between two hosts, and delays the
// others.
func (w *world) lossy(a Action) {
	w.net.lost[link{int32(a.n(0)), int32(a.n(1))}] = lossy{
		until: w.sched.now + a.d(3), percent: a.n(2), delay: 2 * time.Second,
	}
}

func (w *world) outage(a Action) {
	if w.etcd.down {
		return
	}
	w.etcd.serve(false)
	w.sched.after(a.d(0), nil, func() {
		if w.etcd.down {
			w.etcd.serve(true)
		}
	})
}

// unstore makes the bucket unavailable for a while.
func (w *world) unstore(a Action) {
	if w.bucket.away {
		return
	}
	w.bucket.away = true
	w.sched.after(a.d(0), nil, func() { w.bucket.away = false })
}

// flaky makes the bucket lose a percentage of the requests or answers.
func (w *world) flaky(a Action) {
	w.bucket.flaky = flaky{until: w.sched.now + a.d(1), percent: a.n(0)}
}

// unclean makes an administrator run an unclean election for a partition, but only if all disks
// that had all its records have lost something. While such a disk is only away, the cluster waits
// for it.
func (w *world) unclean(a Action) {
	tp := a.tp()
	t, ok := w.truth.TopicByName(tp.Topic)
	if !ok {
		return
	}
	if p := w.check.partitions[partitionID{t.ID, tp.Partition}]; p == nil || p.state == nil || slices.ContainsFunc(members(p.state), w.check.intact) {
		return
	}
	w.administer(a.String(), func(ctx context.Context, admin *metadata.Admin) error {
		return admin.ElectLeaders(ctx, metadata.UncleanElection, []metadata.TopicPartition{tp})[0]
	})
}

// leastSeen returns the lowest of the etcd revisions that the brokers have seen. A broker that has
// seen none has no records either, and does not count.
func (w *world) leastSeen() int64 {
	least := int64(math.MaxInt64)
	for _, h := range w.hosts {
		if h.seen > 0 {
			least = min(least, h.seen)
		}
	}
	return least
}

// forget deletes the pointer to a partition's tier.
func (w *world) forget(tp metadata.TopicPartition) {
	t, ok := w.truth.TopicByName(tp.Topic)
	if !ok || w.etcd.mistaken || w.etcd.down {
		return
	}
	key := metadata.TierKey(t.ID, tp.Partition)
	if !w.etcd.get(key).Exists() {
		return
	}
	w.trace("the pointer to the tier of %s is gone: %v", tp, short(w.etcd.txn(nil, []kv.Op{kv.Delete(key)})))
}

// rebuild makes a partition's leader set the pointer to what the bucket has.
func (w *world) rebuild(tp metadata.TopicPartition) {
	t, ok := w.truth.TopicByName(tp.Topic)
	if !ok {
		return
	}
	state, ok := t.Partition(tp.Partition)
	if !ok || state.Leader < 1 || w.process(state.Leader) == nil {
		return
	}
	p := w.process(state.Leader)
	w.sched.spawn(p.ctx, p, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		err := p.node.Rebuild(ctx, t.ID, tp)
		if !p.dead {
			w.trace("%s: rebuild of the tier of %s at %s", short(err), tp, p.name)
		}
	})
}
