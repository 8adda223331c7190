// Package telemetry exports the broker's state under the names that dashboards and alerts for Kafka
// use: those of kafka_exporter and those of Kafka's JMX metrics as the JMX exporter (and Strimzi)
// spells them. It counts nothing itself: everything is looked up at a scrape. Most metrics under
// Varve's own names (varve_…) are in the packages that they are about.
//
// Invariants:
//
//   - Every series of the cluster is exported by one broker, so that sums over brokers are right.
//     The leader exports a partition's, or the controller while there is no leader; the coordinator
//     a group's; the controller the cluster's. While leadership moves, as long as the images of two
//     brokers differ, both or neither may export a series.
//   - Labels are names of existing things: topics, groups, brokers, directories. Names that a
//     client makes up never become labels.
//   - A scrape is bounded: in series (maxTopics, maxPartitions, maxGroupOffsets;
//     varve_telemetry_omitted_count has the number of those left out) and in what it asks other
//     brokers (endOffsetsTimeout). It holds a lock that requests need only while it reads some
//     fields.
//
// What it must not know: the wire protocol, and how any of these numbers are computed.
package telemetry
