package metadata

import (
	"strings"
)

// maxTopicName is Kafka's limit in bytes: topic, a dash and a partition number must fit into a file
// name.
const maxTopicName = 249

// ValidateTopicName checks a topic name by Kafka's rules.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return refuse(ErrInvalidTopicName, "the empty string is not allowed")
	case name == "." || name == "..":
		return refuse(ErrInvalidTopicName, "'.' or '..' is not allowed")
	case len(name) > maxTopicName:
		return refuse(ErrInvalidTopicName, "the length of '%s' is longer than the max allowed length %d", name, maxTopicName)
	}
	for _, c := range []byte(name) {
		legal := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !legal {
			return refuse(ErrInvalidTopicName, "'%.300s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return nil
}

// collisionName returns the same string for two topics whose names metric systems confuse.
func collisionName(name string) string { return strings.ReplaceAll(name, ".", "_") }
