package metadata

import (
	"bytes"
	"math"
	"strconv"
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
		field := s.field()
		if field < 0 || seen&(1<<field) != 0 {
			return v, false
		}
		seen |= 1 << field
		s.member(field, &v)
		if s.skip('}') {
			return v, !s.failed && len(s.rest) == 0 && v.V <= valueVersion
		}
		if s.failed || !s.skip(',') {
			return v, false
		}
	}
}

// partitionFields are the fields of a partitionValue in the order in which it has them.
var partitionFields = [...]string{
	"v", "replicas", "isr", "isr_epochs", "isr_dirs", "adding", "removing", "elr", "elr_epochs", "elr_dirs",
	"leader", "leader_epoch", "leader_broker_epoch", "unclean_epoch", "lossy_epoch", "partition_epoch", "created_ms",
}

// member takes the value of one of partitionFields.
func (s *scanner) member(field int, v *partitionValue) {
	switch partitionFields[field] {
	case "v":
		v.V = version(s.int32())
	case "replicas":
		v.Replicas = s.int32s()
	case "isr":
		v.ISR = s.int32s()
	case "isr_epochs":
		v.ISREpochs = s.int64s()
	case "isr_dirs":
		v.ISRDirs = s.directories()
	case "adding":
		v.Adding = s.int32s()
	case "removing":
		v.Removing = s.int32s()
	case "elr":
		v.ELR = s.int32s()
	case "elr_epochs":
		v.ELREpochs = s.int64s()
	case "elr_dirs":
		v.ELRDirs = s.directories()
	case "leader":
		v.Leader = s.int32()
	case "leader_epoch":
		v.LeaderEpoch = s.int32()
	case "leader_broker_epoch":
		v.LeaderBrokerEpoch = s.int64()
	case "unclean_epoch":
		v.UncleanEpoch = s.int32()
	case "lossy_epoch":
		v.LossyEpoch = s.int32()
	case "partition_epoch":
		v.PartitionEpoch = s.int32()
	case "created_ms":
		v.CreatedMs = s.int64()
	}
}

// scanner takes one token after the other off JSON without blanks.
type scanner struct {
	rest   []byte
	failed bool
}

// field takes the name of a field and returns its place in partitionFields, -1 if it is none of them.
func (s *scanner) field() int {
	if !s.skip('"') {
		return -1
	}
	end := bytes.IndexByte(s.rest, '"')
	if end < 0 {
		return -1
	}
	for i, name := range partitionFields {
		if string(s.rest[:end]) == name {
			s.rest = s.rest[end+1:]
			if !s.skip(':') {
				return -1
			}
			return i
		}
	}
	return -1
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
	if !s.skip('"') || end != idEncoding.EncodedLen(len(id)) || bytes.ContainsAny(s.rest[:end], "\r\n") { // which the decoder skips
		s.failed = true
		return id
	}
	if _, err := idEncoding.Decode(id[:], s.rest[:end]); err != nil {
		s.failed = true
	}
	s.rest = s.rest[end+1:]
	return id
}

// list takes a list whose elements one takes.
func (s *scanner) list(one func()) {
	if !s.skip('[') {
		s.failed = true
		return
	}
	for first := true; !s.failed && !s.skip(']'); first = false {
		if !first && !s.skip(',') {
			s.failed = true
			return
		}
		one()
	}
}

func (s *scanner) int32s() []int32 {
	all := make([]int32, 0, 4)
	s.list(func() { all = append(all, s.int32()) })
	return all
}

func (s *scanner) int64s() []int64 {
	all := make([]int64, 0, 3)
	s.list(func() { all = append(all, s.int64()) })
	return all
}

func (s *scanner) directories() []DirectoryID {
	all := make([]DirectoryID, 0, 3)
	s.list(func() { all = append(all, s.directory()) })
	return all
}

// appendPartition is what encode makes of a partition's value, without what makes that slow. It
// is for values without unknown fields, whose replicas and ISR are not nil.
func appendPartition(b []byte, v *partitionValue) []byte {
	b = appendNumber(append(b, '{'), "v", int64(v.V))
	b = appendList(b, "replicas", v.Replicas, appendInt)
	b = appendList(b, "isr", v.ISR, appendInt)
	b = appendSome(b, "isr_epochs", v.ISREpochs, appendInt)
	b = appendSome(b, "isr_dirs", v.ISRDirs, appendDirectory)
	b = appendSome(b, "adding", v.Adding, appendInt)
	b = appendSome(b, "removing", v.Removing, appendInt)
	b = appendSome(b, "elr", v.ELR, appendInt)
	b = appendSome(b, "elr_epochs", v.ELREpochs, appendInt)
	b = appendSome(b, "elr_dirs", v.ELRDirs, appendDirectory)
	b = appendNumber(b, "leader", int64(v.Leader))
	b = appendNumber(b, "leader_epoch", int64(v.LeaderEpoch))
	b = appendNumber(b, "leader_broker_epoch", v.LeaderBrokerEpoch)
	if v.UncleanEpoch != 0 {
		b = appendNumber(b, "unclean_epoch", int64(v.UncleanEpoch))
	}
	if v.LossyEpoch != 0 {
		b = appendNumber(b, "lossy_epoch", int64(v.LossyEpoch))
	}
	b = appendNumber(b, "partition_epoch", int64(v.PartitionEpoch))
	b = appendNumber(b, "created_ms", v.CreatedMs)
	return append(b, '}')
}

func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), name...), '"', ':')
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(b, name), n, 10)
}

func appendInt[T int32 | int64](b []byte, n T) []byte { return strconv.AppendInt(b, int64(n), 10) }

func appendDirectory(b []byte, id DirectoryID) []byte {
	return append(idEncoding.AppendEncode(append(b, '"'), id[:]), '"')
}

func appendList[T any](b []byte, name string, all []T, one func([]byte, T) []byte) []byte {
	b = append(appendName(b, name), '[')
	for i, element := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, element)
	}
	return append(b, ']')
}

// appendSome is appendList of a field that an empty list leaves out.
func appendSome[T any](b []byte, name string, all []T, one func([]byte, T) []byte) []byte {
	if len(all) == 0 {
		return b
	}
	return appendList(b, name, all, one)
}
