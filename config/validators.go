package config

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// validator checks a value of the right type, and describes what it allows.
type validator struct {
	check   func(value string) error
	allowed string
}

// between accepts numbers from low to high. Its errors use Kafka's words.
func between(low, high int64) validator {
	v := validator{allowed: fmt.Sprintf("[%d,...,%d]", low, high)}
	if high == math.MaxInt64 {
		v.allowed = fmt.Sprintf("[%d,...]", low)
	}
	v.check = func(value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
			return err
		case n < low:
			return fmt.Errorf("Value must be at least %d", low) //nolint:staticcheck // Kafka's words, shown to clients as they are
		case n > high:
			return fmt.Errorf("Value must be no more than %d", high) //nolint:staticcheck // Kafka's words, shown to clients as they are
		}
		return nil
	}
	return v
}

func atLeast(low int64) validator { return between(low, math.MaxInt64) }

// minusOneOr accepts -1 and what v accepts.
func minusOneOr(v validator) validator {
	return validator{allowed: "-1 or " + v.allowed, check: func(value string) error {
		if value == "-1" {
			return nil
		}
		return v.check(value)
	}}
}

// upTo accepts numbers of type DOUBLE from 0 to high.
func upTo(high float64) validator {
	const low = 0
	return validator{allowed: fmt.Sprintf("[%v,...,%v]", low, high), check: func(value string) error {
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
			return err
		case n < low:
			return fmt.Errorf("Value must be at least %v", low) //nolint:staticcheck // Kafka's words, shown to clients as they are
		case n > high:
			return fmt.Errorf("Value must be no more than %v", high) //nolint:staticcheck // Kafka's words, shown to clients as they are
		}
		return nil
	}}
}

// oneOf accepts exactly these words.
func oneOf(words ...string) validator {
	return validator{allowed: "[" + strings.Join(words, ", ") + "]", check: func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("String must be one of: %s", strings.Join(words, ", ")) // Kafka's words, shown to clients as they are
		}
		return nil
	}}
}

// directories accepts a list of different paths.
func directories() validator {
	return validator{allowed: "paths", check: func(value string) error {
		var seen []string
		for _, path := range splitList(value) {
			switch clean := filepath.Clean(path); {
			case path == "" || strings.ContainsAny(path, "\r\n"):
				return fmt.Errorf("%q is no path", path)
			case slices.Contains(seen, clean):
				return fmt.Errorf("%s is there twice", path)
			default:
				seen = append(seen, clean)
			}
		}
		if len(seen) == 0 {
			return fmt.Errorf("at least one directory must be named")
		}
		return nil
	}}
}

// cleanupPolicies accepts a list without repetition of compact and delete; it may be empty.
func cleanupPolicies() validator {
	word := oneOf("compact", "delete")
	return validator{allowed: "[compact, delete]", check: func(value string) error {
		policies := splitList(value)
		for i, policy := range policies {
			if err := word.check(policy); err != nil {
				return err
			}
			if slices.Contains(policies[:i], policy) {
				return fmt.Errorf("%s is repeated", policy)
			}
		}
		return nil
	}}
}

const replicaList = "[partitionId]:[brokerId],[partitionId]:[brokerId],..."

// throttledReplicas accepts a list of PARTITION:BROKER, or * alone. Items may be empty, as in
// Kafka.
func throttledReplicas() validator {
	return validator{allowed: "* or " + replicaList, check: func(value string) error {
		items := splitList(value)
		if strings.Join(items, "") == "*" {
			return nil
		}
		for _, item := range items {
			partition, broker, two := strings.Cut(item, ":")
			if item != "" && (!two || !isID(partition) || !isID(broker)) {
				return fmt.Errorf("%q: must be the literal '*' or a list of replicas in the following format: %s", item, replicaList) // Kafka's words
			}
		}
		return nil
	}}
}

// isID reports whether a text is the number of a partition or a broker, without a sign.
func isID(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}
