package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

const formatHelp = `how to print a record, as kcat has it:
%t topic, %p partition, %o offset, %T timestamp in ms, %k key, %s value, %h headers,
%K and %S length of key and value (-1: null), %% a percent sign; \n \r \t \0 \xHH`

// printer appends one record in the requested format.
type printer func(dst []byte, r *kgo.Record) ([]byte, error)

// parseFormat compiles a format in kcat's style.
func parseFormat(format string) (printer, error) {
	text := unescape(format)
	var parts []func([]byte, *kgo.Record) []byte
	literal := []byte{}
	flush := func() {
		if len(literal) > 0 {
			text := literal
			parts = append(parts, func(dst []byte, _ *kgo.Record) []byte { return append(dst, text...) })
			literal = nil
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			literal = append(literal, text[i])
			continue
		}
		i++
		if i == len(text) {
			return nil, fmt.Errorf("--format ends in %%: write %%%% for a percent sign")
		}
		if text[i] == '%' {
			literal = append(literal, '%')
			continue
		}
		field, ok := recordFields[text[i]]
		if !ok {
			return nil, fmt.Errorf("--format has %%%c: want one of %%t %%p %%o %%T %%k %%s %%h %%K %%S %%%%", text[i])
		}
		flush()
		parts = append(parts, field)
	}
	flush()
	return func(dst []byte, r *kgo.Record) ([]byte, error) {
		for _, part := range parts {
			dst = part(dst, r)
		}
		return dst, nil
	}, nil
}

var recordFields = map[byte]func([]byte, *kgo.Record) []byte{
	't': func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Topic...) },
	'p': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(r.Partition), 10) },
	'o': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Offset, 10) },
	'T': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10) },
	'k': func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Key...) },
	's': func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Value...) },
	'K': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, lengthOf(r.Key), 10) },
	'S': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, lengthOf(r.Value), 10) },
	'h': appendHeaders,
}

func lengthOf(p []byte) int64 {
	if p == nil {
		return -1
	}
	return int64(len(p))
}

func appendHeaders(dst []byte, r *kgo.Record) []byte {
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, h.Key...)
		dst = append(dst, '=')
		if h.Value == nil {
			dst = append(dst, "NULL"...)
		} else {
			dst = append(dst, h.Value...)
		}
	}
	return dst
}

// jsonRecord is a record as a line of JSON. Bytes that are not UTF-8 are in the field that ends in
// _base64 instead. null means null.
type jsonRecord struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

func printJSONRecord(dst []byte, r *kgo.Record) ([]byte, error) {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = jsonText(r.Key)
	j.Value, j.ValueBase64 = jsonText(r.Value)
	for _, h := range r.Headers {
		header := jsonHeader{Key: h.Key}
		header.Value, header.ValueBase64 = jsonText(h.Value)
		j.Headers = append(j.Headers, header)
	}
	line, err := json.Marshal(j)
	return append(append(dst, line...), '\n'), err
}

func jsonText(p []byte) (text *string, encoded string) {
	switch {
	case p == nil:
		return nil, ""
	case utf8.Valid(p):
		s := string(p)
		return &s, ""
	default:
		return nil, base64.StdEncoding.EncodeToString(p)
	}
}
