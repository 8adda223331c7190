// Package controller owns what one broker does for all: it takes dead brokers out, has
// partitions led, gives leadership back to preferred replicas and removes what broken
// creations leave. Every broker runs a Controller, and one of them acts: the broker whose
// key "controller" it is, which hangs on the lease of its registration.
//
// It decides when; what a partition becomes, and who may lead it, is metadata.Repair. It
// must not know how brokers talk to each other, where hints come from or which settings
// there are: Options has functions for that. It knows no logs, no etcd and no NATS.
//
// # Parts
//
//	Plan        the pure core: an image in, changes out; and what has to be asked first
//	Controller  stands for election, plans on every image and writes the plan
//	suspects    brokers that seem dead, which are probed and fenced (Controller.Suspect)
//	doubts      registrations that are older than the election, see metadata.Doubt
//	recovery    asks replicas for the ends of their logs before an unclean election
//	sightings   markers of creations that make no progress
//
// # A failover
//
// A broker whose connection to another one breaks calls Suspect. If the error says that
// nobody listens there any more, the hint goes to all brokers (Options.Publish), and the
// controller, or the live broker with the lowest id if the controller is the suspect,
// probes the listener at which brokers reach each other. If that refuses, the process is
// gone: what has to precede the end is called (Options.BeforeFence), and its lease is
// revoked. That takes registration and controllership at one revision, and the next
// controller plans on that revision. A hint may get lost, as the lease ends by itself.
//
// # Invariants
//
//   - An image that shows all that Plan called for calls for nothing more.
//   - Everything that is written compares the controller's key: a deposed controller
//     changes nothing. What it wrote is in the image before it plans again.
//   - A registration is ended before its lease is over only if the broker's address
//     refuses connections. A process that registers again after that is left to its
//     lease for a while: what refuses is not its process.
//   - What is known to be there is not outvoted by what may be dead.
//   - Nothing waits for an answer of another broker but that answer's own decision: probes
//     and questions run beside the controller, which ends after them.
//   - What a controller has seen of time is by its own clock, from its election on.
package controller
