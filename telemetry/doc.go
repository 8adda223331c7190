// Package telemetry exports what the broker knows under the names that dashboards and alerts for Kafka have: those of kafka_exporter and those
// of Kafka's JMX metrics as the JMX exporter (and Strimzi) spells them. It counts nothing itself: everything is looked up when somebody
// scrapes. The metrics under our own names are with the packages that they are about.
//
// Invariants:
//
//   - Every series of the cluster comes from one broker, so that sums over brokers are right: what is about a partition from its leader, or
//     from the controller while it has none; what is about a group from its coordinator; what is about the cluster from the controller.
//     While leadership moves, for as long as the images of two brokers differ, a series may come from both or from neither.
//   - Labels are names of what there is: topics, groups, brokers, directories. Nothing that a client makes up becomes a label.
//   - A scrape is bounded: in series (maxTopics, maxPartitions, maxGroupOffsets; varve_telemetry_omitted_count tells what was left out) and in what it
//     asks other brokers (endOffsetsTimeout). It holds no lock that requests need for longer than it takes to read some fields.
//
// What it must not know: the wire protocol, and how any of these numbers come about.
package telemetry
