package kv

import (
	"errors"
	"fmt"
	"strings"
)

// Holds reports whether the condition is true of its key's pair, which is the zero Pair if the key
// does not exist.
func (c Comparison) Holds(pair Pair) bool {
	switch c.Target {
	case TargetCreateRevision:
		return pair.CreateRevision == c.Revision
	case TargetModRevision:
		return pair.ModRevision == c.Revision
	case TargetValue:
		return pair.Exists() && string(pair.Value) == c.Value
	default:
		return false
	}
}

// CheckTxn returns an error for a transaction that etcd rejects whatever it contains: one that is
// too large, or that writes a key twice, or both writes and deletes a key.
func CheckTxn(comparisons []Comparison, ops []Op) error {
	if n := max(len(comparisons), len(ops)); n > MaxTxnOps {
		return fmt.Errorf("write: %d operations are too many for one transaction", n)
	}
	puts := map[string]bool{}
	for _, op := range ops {
		if op.Key == "" {
			return errors.New("write: a key is empty")
		}
		if op.Kind == OpPut && puts[op.Key] {
			return fmt.Errorf("write: the key %s is written twice in one transaction", op.Key)
		}
		puts[op.Key] = puts[op.Key] || op.Kind == OpPut
	}
	for _, op := range ops {
		for _, put := range ops {
			if put.Kind != OpPut {
				continue
			}
			if op.Kind == OpDelete && put.Key == op.Key || op.Kind == OpDeletePrefix && strings.HasPrefix(put.Key, op.Key) {
				return fmt.Errorf("write: the key %s is written and deleted in one transaction", put.Key)
			}
		}
	}
	return nil
}
