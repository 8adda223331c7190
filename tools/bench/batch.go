package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// payloadSeed makes the records of every run the same.
const payloadSeed = 20261130

// words are what records are made of. A record is text that lz4 halves, as logs and events are.
var words = strings.Fields(`account address amount approved arrived basket blocked browser cancelled
	card carrier catalog category changed checkout city closed code collected color confirmed country
	created currency customer declined delivered device discount email expired failed gateway invoice
	item language loaded locked mobile moved opened order packed paid parcel payment pending phone
	picked price product quantity received refund rejected removed reserved returned session shipped
	signed status stock stored street updated user value viewed voucher warehouse weight`)

// payloads returns n values of size bytes each, the same in every run.
func payloads(n, size int) [][]byte {
	random := rand.New(rand.NewPCG(payloadSeed, uint64(size)))
	values := make([][]byte, n)
	for i := range values {
		text := fmt.Appendf(nil, `{"id":"%016x","message":"`, random.Uint64())
		for len(text) < size {
			if random.IntN(4) == 0 {
				text = fmt.Appendf(text, "%d ", random.IntN(1_000_000))
			} else {
				text = append(append(text, words[random.IntN(len(words))]...), ' ')
			}
		}
		values[i] = text[:size:size]
	}
	return values
}

// The places of fields in a record batch.
const (
	batchLength     = 8 // the length counts what follows itself
	batchChecksum   = 17
	batchAttributes = 21
	batchLastDelta  = 23
	batchCount      = 57
	batchHeader     = 61
	afterLength     = batchLength + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// buildBatch returns a record batch of these values, without a producer id.
func buildBatch(values [][]byte, lz4 bool) ([]byte, error) {
	var records []byte
	for i, value := range values {
		record := kmsg.Record{OffsetDelta: int32(i), Value: value}
		body := record.AppendTo(nil)[1:] // after the length, which is 0 and takes one byte
		records = append(binary.AppendVarint(records, int64(len(body))), body...)
	}
	attributes := kgo.CodecNone
	if lz4 {
		compressor, err := kgo.DefaultCompressor(kgo.Lz4Compression())
		if err != nil {
			return nil, fmt.Errorf("compress a batch: %w", err)
		}
		records, attributes = compressor.Compress(new(bytes.Buffer), records)
	}
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		Length:               int32(batchHeader - afterLength + len(records)),
		PartitionLeaderEpoch: -1,
		Magic:                2,
		Attributes:           int16(attributes),
		LastOffsetDelta:      int32(len(values) - 1),
		FirstTimestamp:       now,
		MaxTimestamp:         now,
		ProducerID:           -1,
		ProducerEpoch:        -1,
		FirstSequence:        -1,
		NumRecords:           int32(len(values)),
		Records:              records,
	}
	encoded := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(encoded[batchChecksum:], crc32.Checksum(encoded[batchAttributes:], castagnoli))
	return encoded, nil
}
