package protocol

import "strconv"

// ErrorCode is an error code of the Kafka protocol. Clients know the numbers, so they never change.
// The codes, their names and their messages are in error_table.go.
type ErrorCode int16

// Name is Kafka's name of the error, such as UNKNOWN_TOPIC_OR_PARTITION. A code that Kafka does not
// define is named by its number.
func (c ErrorCode) Name() string {
	if !c.known() {
		return "ERROR_" + strconv.Itoa(int(c))
	}
	return errorTable[c+1].name
}

// Message is Kafka's default text for the error. Clients show it when the response carries no
// message.
func (c ErrorCode) Message() string {
	if !c.known() {
		return ""
	}
	return errorTable[c+1].message
}

// Retriable reports whether clients treat the error as temporary.
func (c ErrorCode) Retriable() bool { return c.known() && errorTable[c+1].retriable }

// String is Name.
func (c ErrorCode) String() string { return c.Name() }

func (c ErrorCode) known() bool { return c >= -1 && int(c)+1 < len(errorTable) }
