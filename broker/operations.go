package broker

import "math"

// The sets of authorized operations that Kafka returns without an authorizer: all that make sense
// for the resource. Bit n means operation n of org.apache.kafka.common.acl.AclOperation.
const (
	topicOperations   = opRead | opWrite | opCreate | opDelete | opAlter | opDescribe | opDescribeConfigs | opAlterConfigs
	groupOperations   = opRead | opDelete | opDescribe | opDescribeConfigs | opAlterConfigs
	clusterOperations = opCreate | opAlter | opDescribe | opClusterAction | opDescribeConfigs | opAlterConfigs | opIdempotentWrite

	// operationsNotRequested is the value of the field if the request did not ask for it.
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

// operations returns the set if it was requested.
func operations(requested bool, set int32) int32 {
	if !requested {
		return operationsNotRequested
	}
	return set
}
