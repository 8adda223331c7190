package broker

import "math"

// What Kafka without an authorizer answers to "which operations may I": all that make sense for the resource, as a set of bits, bit n
// standing for operation n of org.apache.kafka.common.acl.AclOperation.
const (
	topicOperations   = opRead | opWrite | opCreate | opDelete | opAlter | opDescribe | opDescribeConfigs | opAlterConfigs
	groupOperations   = opRead | opDelete | opDescribe | opDescribeConfigs | opAlterConfigs
	clusterOperations = opCreate | opAlter | opDescribe | opClusterAction | opDescribeConfigs | opAlterConfigs | opIdempotentWrite

	// operationsNotRequested stands in the field when the request did not ask.
	operationsNotRequested = math.MinInt32
)

const (
	opRead int32 = 1 << (iota + 3)
	opWrite
	opCreate
	opDelete
	opAlter
	opDescribe
	opClusterAction
	opDescribeConfigs
	opAlterConfigs
	opIdempotentWrite
)

// operations is the set if it was asked for.
func operations(requested bool, set int32) int32 {
	if !requested {
		return operationsNotRequested
	}
	return set
}
