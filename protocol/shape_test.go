package protocol

import (
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// fill sets every field of a request to a random value. Arrays and byte fields get up to three
// elements; some pointers and slices stay nil.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 1)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int64N(100) - 1)
	case reflect.Float64:
		v.SetFloat(r.Float64())
	case reflect.String:
		v.SetString("name"[:r.IntN(5)])
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(r.Uint64N(256))
		}
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Slice:
		if r.IntN(5) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
			for i := range v.Len() {
				fill(r, v.Index(i))
			}
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			for range r.IntN(3) {
				v.Addr().Interface().(*kmsg.Tags).Set(1000+r.Uint32N(5), make([]byte, r.IntN(4)))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fill(r, v.Field(i))
			}
		}
	}
}

// randomRequest returns a request of a version with random contents. The version is set last
// because kmsg keeps it in a field.
func randomRequest(r *rand.Rand, key, version int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(r, reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req
}

// The shapes and kmsg's encoder are two independent descriptions of the same messages. The walk
// over an encoded message must succeed and end exactly at its last byte: with that byte cut off it
// must fail.
func TestShapesAgreeWithEncoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for key := range shapes {
		top := kmsg.RequestForKey(key).MaxVersion()
		for version := range top + 1 {
			if skipped(key, version) {
				continue
			}
			for range 200 {
				body := randomRequest(r, key, version).AppendTo(nil)
				w := walker{cursor: cursor{src: body}, version: version, flexible: version >= shapes[key].flexible}
				w.structure(shapes[key].fields)
				if w.err != nil || len(w.src) != 0 {
					t.Fatalf("%s v%d: %d bytes left of %d, %v: %x", APIName(key), version, len(w.src), len(body), w.err, body)
				}
				if len(body) == 0 {
					continue
				}
				if _, err := CheckBody(key, version, body[:len(body)-1]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%s v%d cut short: %v: %x", APIName(key), version, err, body)
				}
			}
		}
	}
}

// skipped reports whether kmsg has a version that Kafka 4.3 does not. This package does not
// describe those.
func skipped(key, version int16) bool {
	switch key {
	case 18:
		return version > 4
	case 42:
		return version > 2
	default:
		return false
	}
}

func TestShapesKnowWhenMessagesBecomeFlexible(t *testing.T) {
	for key, s := range shapes {
		req := kmsg.RequestForKey(key)
		for version := range req.MaxVersion() + 1 {
			req.SetVersion(version)
			if got := version >= s.flexible; got != req.IsFlexible() {
				t.Errorf("%s v%d: flexible is %v", APIName(key), version, got)
			}
		}
	}
}

func TestCheckBodyCountsElements(t *testing.T) {
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	name := "t"
	for range 7 {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	req.UnknownTags.Set(5, nil)
	n, err := CheckBody(3, 9, req.AppendTo(nil))
	if err != nil || n != 8 {
		t.Fatalf("elements %d, %v", n, err)
	}
}

func TestCheckBodyDoesNotAllocate(t *testing.T) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(17)
	req.Topics = []kmsg.FetchRequestTopic{{Partitions: make([]kmsg.FetchRequestTopicPartition, 100)}}
	body := req.AppendTo(nil)
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := CheckBody(1, 17, body); err != nil {
			t.Error(err)
		}
	})
	if allocated > 0 {
		t.Errorf("%v allocations", allocated)
	}
}

// Each of these bodies makes kmsg allocate gigabytes or loop for minutes.
func TestCheckBodyRefusesWhatDecodersChokeOn(t *testing.T) {
	// The array of 16 million is followed by that many bytes, but by far fewer elements.
	announced := binary.BigEndian.AppendUint32(nil, 1<<24)
	many := append(announced, make([]byte, 1<<24)...)
	cases := map[string]struct {
		key, version int16
		body         []byte
	}{
		"array as long as the frame has bytes": {3, 8, many},
		"array longer than the frame":          {3, 8, announced},
		"four thousand million tags":           {60, 0, []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		"tags in a nested known tag":           {1, 15, nestedTags()},
		"negative compact length":              {42, 2, []byte{0x80, 0x80, 0x80, 0x80, 0x10}},
		"empty":                                {0, 9, nil},
		"unknown API":                          {999, 0, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := CheckBody(c.key, c.version, c.body); !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Fatalf("took %s", d)
			}
		})
	}
}

// nestedTags is a Fetch request whose replica state, itself a tagged field, announces 2^32-1 tagged
// fields.
func nestedTags() []byte {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(15)
	body := req.AppendTo(nil)
	state := append(make([]byte, 12), 0xff, 0xff, 0xff, 0xff, 0x0f)
	body[len(body)-1] = 1 // one tagged field
	return append(append(body, 1, byte(len(state))), state...)
}

// kmsg must decode every body that passes CheckBody without running out of data, in memory that
// follows the count.
func FuzzBody(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for key := range shapes {
		version := kmsg.RequestForKey(key).MaxVersion()
		f.Add(key, version, randomRequest(r, key, version).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		req := kmsg.RequestForKey(key)
		if req == nil || version < 0 || version > req.MaxVersion() {
			return
		}
		n, err := CheckBody(key, version, body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if n > len(body) {
			t.Fatalf("%d elements in %d bytes", n, len(body))
		}
		req.SetVersion(version)
		// kmsg rejects nulls where Kafka has none. It must not run out of data otherwise, and must
		// not panic.
		_ = req.ReadFrom(body)
	})
}

func TestEncodedRequestsSurviveMutation(t *testing.T) {
	keys := slices.Sorted(maps.Keys(shapes))
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SampledFrom(keys).Draw(rt, "api")
		version := rapid.Int16Range(0, kmsg.RequestForKey(key).MaxVersion()).Draw(rt, "version")
		body := randomRequest(rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)), key, version).AppendTo(nil)
		for range rapid.IntRange(0, 4).Draw(rt, "mutations") {
			if len(body) > 0 {
				body[rapid.IntRange(0, len(body)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "byte")
			}
		}
		if _, err := CheckBody(key, version, body); err == nil {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			_ = req.ReadFrom(body)
		}
	})
}
