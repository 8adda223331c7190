package metadata

import (
	"bytes"
	"math"
	"slices"
)

// scanPartition reads a partition's value as encode writes it, without what makes JSON
// slow: a failover has every broker read tens of thousands. It reports false of everything
// else, above all of a value with a field that it does not know; decode reads that.
func scanPartition(value []byte) (v partitionValue, ok bool) {
	s := scanner{rest: value}
	if !s.skip('{') {
		return v, false
	}
	for seen := uint32(0); ; {
		field := slices.IndexFunc(partitionFields, func(f partitionField) bool { return bytes.HasPrefix(s.rest, f.name) })
		if field < 0 || seen&(1<<field) != 0 {
			return v, false
		}
		seen |= 1 << field
		s.rest = s.rest[len(partitionFields[field].name):]
		partitionFields[field].scan(&s, &v)
		if s.skip('}') {
			return v, !s.failed && len(s.rest) == 0 && v.V <= valueVersion
		}
		if s.failed || !s.skip(',') {
			return v, false
		}
	}
}

type partitionField struct {
	name []byte // with the quotes and the colon
	scan func(s *scanner, v *partitionValue)
}

// partitionFields are the fields of a partitionValue in the order in which it has them.
var partitionFields = []partitionField{
	{[]byte(`"v":`), func(s *scanner, v *partitionValue) { v.V = version(s.int32()) }},
	{[]byte(`"replicas":`), func(s *scanner, v *partitionValue) { v.Replicas = scanList(s, s.int32) }},
	{[]byte(`"isr":`), func(s *scanner, v *partitionValue) { v.ISR = scanList(s, s.int32) }},
	{[]byte(`"isr_epochs":`), func(s *scanner, v *partitionValue) { v.ISREpochs = scanList(s, s.int64) }},
	{[]byte(`"isr_dirs":`), func(s *scanner, v *partitionValue) { v.ISRDirs = scanList(s, s.directory) }},
	{[]byte(`"adding":`), func(s *scanner, v *partitionValue) { v.Adding = scanList(s, s.int32) }},
	{[]byte(`"removing":`), func(s *scanner, v *partitionValue) { v.Removing = scanList(s, s.int32) }},
	{[]byte(`"elr":`), func(s *scanner, v *partitionValue) { v.ELR = scanList(s, s.int32) }},
	{[]byte(`"elr_epochs":`), func(s *scanner, v *partitionValue) { v.ELREpochs = scanList(s, s.int64) }},
	{[]byte(`"elr_dirs":`), func(s *scanner, v *partitionValue) { v.ELRDirs = scanList(s, s.directory) }},
	{[]byte(`"leader":`), func(s *scanner, v *partitionValue) { v.Leader = s.int32() }},
	{[]byte(`"leader_epoch":`), func(s *scanner, v *partitionValue) { v.LeaderEpoch = s.int32() }},
	{[]byte(`"leader_broker_epoch":`), func(s *scanner, v *partitionValue) { v.LeaderBrokerEpoch = s.int64() }},
	{[]byte(`"unclean_epoch":`), func(s *scanner, v *partitionValue) { v.UncleanEpoch = s.int32() }},
	{[]byte(`"partition_epoch":`), func(s *scanner, v *partitionValue) { v.PartitionEpoch = s.int32() }},
	{[]byte(`"created_ms":`), func(s *scanner, v *partitionValue) { v.CreatedMs = s.int64() }},
}

// scanner takes one token after the other off JSON without blanks.
type scanner struct {
	rest   []byte
	failed bool
}

func (s *scanner) skip(c byte) bool {
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// int64 takes an integer as JSON spells it, of up to 18 digits.
func (s *scanner) int64() int64 {
	negative := s.skip('-')
	n, digits := int64(0), 0
	for digits < len(s.rest) && s.rest[digits] >= '0' && s.rest[digits] <= '9' && digits < 19 {
		n = n*10 + int64(s.rest[digits]-'0')
		digits++
	}
	if digits == 0 || digits == 19 || digits > 1 && s.rest[0] == '0' {
		s.failed = true
		return 0
	}
	s.rest = s.rest[digits:]
	if negative {
		return -n
	}
	return n
}

func (s *scanner) int32() int32 {
	n := s.int64()
	s.failed = s.failed || n < math.MinInt32 || n > math.MaxInt32
	return int32(n)
}

func (s *scanner) directory() (id DirectoryID) {
	end := bytes.IndexByte(s.rest[min(1, len(s.rest)):], '"')
	if !s.skip('"') || end < 0 || id.UnmarshalText(s.rest[:end]) != nil {
		s.failed = true
		return id
	}
	s.rest = s.rest[end+1:]
	return id
}

// scanList takes a list.
func scanList[T any](s *scanner, one func() T) []T {
	if !s.skip('[') {
		s.failed = true
		return nil
	}
	all := make([]T, 0, 3)
	for !s.skip(']') {
		if len(all) > 0 && !s.skip(',') {
			s.failed = true
		}
		if s.failed {
			return nil
		}
		all = append(all, one())
	}
	return all
}
