package groups

import "time"

// groupType tells the kinds of groups apart; its text is Kafka's in ListGroups.
type groupType string

const typeClassic groupType = "classic"

// group is what offsets, listing, expiry and deletion need to know of a group of
// any type. Requests of one type's own protocol go to that type.
type group interface {
	groupType() groupType
	// stateName is the state as Kafka prints it.
	stateName() string
	// protocol names what its members speak; "" for a group without members ever.
	protocolKind() string
	// empty says that it has no members, and nobody who is about to be one.
	empty() bool
	// size is how many members it has.
	size() int
	// checkCommit is the error code for an offset commit by such a member.
	checkCommit(memberID string, instanceID *string, generation int32) int16
	// session is the session timeout that a commit of a member renews, if it does.
	session(memberID string) (time.Duration, bool)
	// subscribed says that members read the topic now, so that its offsets are in use.
	subscribed(topic string) bool
	// expiryBase is the time from which the retention of an offset counts, in ms;
	// false while its offsets do not expire.
	expiryBase(committed int64) (int64, bool)
}
