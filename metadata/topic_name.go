package metadata

import (
	"fmt"
	"strings"
)

// maxTopicName is Kafka's limit in bytes: topic, a dash and a partition number must fit into a file
// name.
const maxTopicName = 249

// ValidateTopicName checks a topic name by Kafka's rules.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the empty string is not allowed", ErrInvalidTopicName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: '.' or '..' is not allowed", ErrInvalidTopicName)
	case len(name) > maxTopicName:
		return fmt.Errorf("%w: the length of '%s' is longer than the max allowed length %d", ErrInvalidTopicName, name, maxTopicName)
	}
	for _, c := range []byte(name) {
		legal := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !legal {
			return fmt.Errorf("%w: '%.300s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", ErrInvalidTopicName, name)
		}
	}
	return nil
}

// collisionName returns the same string for two topics whose names metric systems confuse.
func collisionName(name string) string { return strings.ReplaceAll(name, ".", "_") }
