package protocol

import "strconv"

// ErrorCode is an error as the Kafka protocol carries it: a number that every client of every version knows by heart.
// The codes themselves, their names and their messages are in error_table.go.
type ErrorCode int16

// Name is Kafka's name of the error, such as UNKNOWN_TOPIC_OR_PARTITION; a code that Kafka does not know is named by its number.
func (c ErrorCode) Name() string {
	if !c.known() {
		return "ERROR_" + strconv.Itoa(int(c))
	}
	return errorTable[c+1].name
}

// Message is Kafka's default text for the error: what a client shows when the response carries no message of its own.
func (c ErrorCode) Message() string {
	if !c.known() {
		return ""
	}
	return errorTable[c+1].message
}

// Retriable tells whether clients treat the error as one that may go away by itself.
func (c ErrorCode) Retriable() bool { return c.known() && errorTable[c+1].retriable }

// String is Name.
func (c ErrorCode) String() string { return c.Name() }

func (c ErrorCode) known() bool { return c >= -1 && int(c)+1 < len(errorTable) }
