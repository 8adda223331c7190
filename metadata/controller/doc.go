// Package controller owns the work that one broker does for the cluster: it removes dead brokers
// from ISRs, elects leaders, returns leadership to preferred replicas and removes what broken
// creations have left. Each broker runs a Controller, and one of them acts: that of the broker that
// has written the key "controller" under the lease of its registration.
//
// It decides when a partition changes; metadata.Repair decides what the partition becomes. It must
// not know how brokers talk to each other, where hints originate or which settings exist: Options
// has functions for that. It knows no logs, no etcd and no NATS.
//
// # Parts
//
//	Plan        the pure core: an image in; changes out, and what has to be asked first
//	planner     makes the same plan from what has changed since the image before
//	Controller  stands for election, plans on every image and writes the plan
//	suspects    brokers that seem dead, which are probed and fenced (Controller.Suspect)
//	doubts      registrations that are older than the election, see metadata.Doubt
//	recovery    asks replicas for the ends of their logs before an unclean election
//	sightings   markers of creations that make no progress
//
// # A failover
//
// When a connection to another broker breaks, a broker calls Suspect. If the error may mean that
// the other process has ended, all brokers get a hint (Options.Publish). The controller probes the
// suspect at the listener that brokers use among themselves; if the suspect is the controller, the
// live broker with the lowest id probes it. If the connection is refused, the process is gone.
// Options.BeforeFence is called, and then the suspect's lease is revoked. That deletes its
// registration and, if it was the controller, the controller's key at one revision, on which the
// next controller plans. A hint may get lost: the lease then ends by itself.
//
// # Invariants
//
//   - Plan has nothing to change in an image that shows all its changes.
//   - A planner's plan equals Plan's, whatever images in between it has not seen.
//   - Each write compares the controller's key: a deposed controller changes nothing. A controller
//     plans again only on an image that shows its last writes.
//   - A registration is ended before its lease only if the broker's address refuses connections. If
//     the same process registers again after that, it is left to its lease for a while: its process
//     lives, and something else refuses the connections.
//   - A member that certainly lives is not dropped in favor of members that may be dead.
//   - Probes and questions to brokers run concurrently with the controller, which waits for them
//     when it ends. Only the decisions that need an answer wait for it.
//   - A controller measures time by its own clock, beginning with its own election.
package controller
