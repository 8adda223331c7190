package metadata

import (
	"bytes"
	"math"
	"strconv"
)

// scanPartition reads a partition's value as encode writes it, without encoding/json: after a
// failover every broker reads tens of thousands, and encoding/json is slow. It returns false for
// everything else, above all for a value with an unknown field; decode reads that.
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

// partitionFields are the fields of a partitionValue in their order there.
var partitionFields = [...]string{
	"v", "replicas", "isr", "isr_epochs", "isr_dirs", "adding", "removing", "elr", "elr_epochs", "elr_dirs",
	"leader", "leader_epoch", "leader_broker_epoch", "unclean_epoch", "lossy_epoch", "partition_epoch", "created_ms",
}

// member reads the value of one of partitionFields into v.
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

// scanner reads JSON without whitespace token by token. failed is set at the first unexpected one.
type scanner struct {
	rest   []byte
	failed bool
}

// field reads the name of a field and the colon, and returns its index in partitionFields, -1 if
// unknown.
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

// int64 reads an integer in JSON's spelling, of up to 18 digits.
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
	// The decoder skips line ends, which encode never writes.
	if !s.skip('"') || end != idEncoding.EncodedLen(len(id)) || bytes.ContainsAny(s.rest[:end], "\r\n") {
		s.failed = true
		return id
	}
	if _, err := idEncoding.Decode(id[:], s.rest[:end]); err != nil {
		s.failed = true
	}
	s.rest = s.rest[end+1:]
	return id
}

// list reads a list. one reads one element.
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

// appendPartition returns what encode makes of a partition's value, but faster. The value must have
// no unknown fields, and its replicas and ISR must not be nil.
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

// appendSome is appendList for a field that is left out if the list is empty.
func appendSome[T any](b []byte, name string, all []T, one func([]byte, T) []byte) []byte {
	if len(all) == 0 {
		return b
	}
	return appendList(b, name, all, one)
}
