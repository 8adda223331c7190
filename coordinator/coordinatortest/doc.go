// Package coordinatortest has what tests of coordinators need: [TestLog], which
// every implementation of coordinator.Log must pass, and [MemLog], one in memory.
package coordinatortest
