package protocol

import "math"

// shape is the layout of one request: its fields, and its first flexible version (compact lengths,
// tagged fields).
type shape struct {
	flexible int16
	fields   []field
}

var (
	boolean = fixed(1)
	int8s   = fixed(1)
	int16s  = fixed(2)
	int32s  = fixed(4)
	int64s  = fixed(8)
	uuid    = fixed(16)
	// str is nullable or not: the decoder rejects a null where none is allowed.
	str  = field{kind: kindString, to: math.MaxInt16}
	blob = field{kind: kindBytes, to: math.MaxInt16}
)

// shapes maps an API key to the layout of its request, for every request that can be served, as in
// Kafka's message definitions up to 4.3. TestShapesAgreeWithEncoder encodes each version of each
// request with kmsg and checks that the walk ends exactly at the last byte.
var shapes = map[int16]shape{
	0: {9, []field{ // Produce
		str.since(3), int16s, int32s,
		rows(str.until(12), uuid.since(13), rows(int32s, blob)),
	}},
	1: {12, []field{ // Fetch
		int32s.until(14), int32s, int32s, int32s.since(3), int8s.since(4), int32s.since(7), int32s.since(7),
		rows(str.until(12), uuid.since(13), rows(
			int32s, int32s.since(9), int64s, int32s.since(12), int64s.since(5), int32s,
			uuid.since(17).asTag(0), int64s.since(18).asTag(1))),
		rows(str.until(12), uuid.since(13), array(int32s)).since(7),
		str.since(11),
		str.since(12).asTag(0), structure(int32s, int64s).since(15).asTag(1),
	}},
	2: {6, []field{ // ListOffsets
		int32s, int8s.since(2),
		rows(str, rows(int32s, int32s.since(4), int64s, int32s.until(0))),
		int32s.since(10),
	}},
	3: {9, []field{ // Metadata
		rows(uuid.since(10), str), boolean.since(4), boolean.since(8).until(10), boolean.since(8),
	}},
	8: {8, []field{ // OffsetCommit
		str, int32s.since(1), str.since(1), str.since(7), int64s.since(2).until(4),
		rows(str.until(9), uuid.since(10), rows(int32s, int64s, int64s.since(1).until(1), int32s.since(6), str)),
	}},
	9: {6, []field{ // OffsetFetch
		str.until(7), rows(str, array(int32s)).until(7),
		rows(str, str.since(9), int32s.since(9), rows(str.until(9), uuid.since(10), array(int32s))).since(8),
		boolean.since(7),
	}},
	10: {3, []field{str.until(3), int8s.since(1), array(str).since(4)}}, // FindCoordinator
	11: {6, []field{ // JoinGroup
		str, int32s, int32s.since(1), str, str.since(5), str, rows(str, blob), str.since(8),
	}},
	12: {4, []field{str, int32s, str, str.since(3)}},                                              // Heartbeat
	13: {4, []field{str, str.until(2), rows(str, str, str.since(5)).since(3)}},                    // LeaveGroup
	14: {4, []field{str, int32s, str, str.since(3), str.since(5), str.since(5), rows(str, blob)}}, // SyncGroup
	15: {5, []field{array(str), boolean.since(3)}},                                                // DescribeGroups
	16: {3, []field{array(str).since(4), array(str).since(5)}},                                    // ListGroups
	18: {3, []field{str.since(3), str.since(3)}},                                                  // ApiVersions
	19: {5, []field{ // CreateTopics
		rows(str, int32s, int16s, rows(int32s, array(int32s)), rows(str, str)), int32s, boolean.since(1),
	}},
	20: {4, []field{array(str).until(5), rows(str, uuid).since(6), int32s}},             // DeleteTopics
	21: {2, []field{rows(str, rows(int32s, int64s)), int32s}},                           // DeleteRecords
	22: {2, []field{str, int32s, int64s.since(3), int16s.since(3)}},                     // InitProducerId
	23: {4, []field{int32s.since(3), rows(str, rows(int32s, int32s.since(2), int32s))}}, // OffsetForLeaderEpoch
	32: {4, []field{rows(int8s, str, array(str)), boolean.since(1), boolean.since(3)}},  // DescribeConfigs
	34: {2, []field{rows(str, rows(str, array(int32s)))}},                               // AlterReplicaLogDirs
	35: {2, []field{rows(str, array(int32s))}},                                          // DescribeLogDirs
	37: {2, []field{rows(str, int32s, rows(array(int32s))), int32s, boolean}},           // CreatePartitions
	42: {2, []field{array(str)}},                                                        // DeleteGroups
	43: {2, []field{int8s.since(1), rows(str, array(int32s)), int32s}},                  // ElectLeaders
	44: {1, []field{rows(int8s, str, rows(str, int8s, str)), boolean}},                  // IncrementalAlterConfigs
	45: {0, []field{int32s, boolean.since(1), rows(str, rows(int32s, array(int32s)))}},  // AlterPartitionReassignments
	46: {0, []field{int32s, rows(str, array(int32s))}},                                  // ListPartitionReassignments
	55: {0, []field{rows(str, rows(int32s))}},                                           // DescribeQuorum
	57: {0, []field{int32s, rows(str, int16s, int8s), boolean.since(1)}},                // UpdateFeatures
	60: {0, []field{boolean, int8s.since(1), boolean.since(2)}},                         // DescribeCluster
	64: {0, []field{int32s}},                                                            // UnregisterBroker
	75: {0, []field{rows(str), int32s, nullable(str, int32s)}},                          // DescribeTopicPartitions
}
