package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// encode returns a request as franz-go writes it, without the frame's length.
func encode(req kmsg.Request, correlationID int32, clientID string) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, correlationID)[4:]
}

func TestHeadersOfEveryVersion(t *testing.T) {
	for key := range shapes {
		for version := range kmsg.RequestForKey(key).MaxVersion() + 1 {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			frame := encode(req, 77, "me")
			h, body, err := ParseRequestHeader(frame)
			if err != nil {
				t.Fatalf("%s v%d: %v", APIName(key), version, err)
			}
			if want := (RequestHeader{Key: key, Version: version, CorrelationID: 77, ClientID: "me"}); h != want {
				t.Fatalf("header %+v, want %+v", h, want)
			}
			if want := req.AppendTo(nil); !bytes.Equal(body, want) {
				t.Fatalf("%s v%d: body %x, want %x", APIName(key), version, body, want)
			}
		}
	}
}

func TestHeaderVersionZeroHasNoClientID(t *testing.T) {
	h, body, err := ParseRequestHeader([]byte{0, 7, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1})
	if err != nil || h.CorrelationID != 9 || !bytes.Equal(body, []byte{0, 0, 0, 1}) {
		t.Fatalf("%+v, %x, %v", h, body, err)
	}
}

func TestHeaderSkipsTags(t *testing.T) {
	frame := []byte{0, 60, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 2, 0, 1, 'x', 9, 2, 'y', 'z', 'b'}
	h, body, err := ParseRequestHeader(frame)
	if err != nil || h.ClientID != "" || string(body) != "b" {
		t.Fatalf("%+v, %q, %v", h, body, err)
	}
}

func TestBadHeaders(t *testing.T) {
	for name, frame := range map[string][]byte{
		"short":              {0, 3, 0, 0, 0, 0, 0},
		"no client id":       {0, 3, 0, 0, 0, 0, 0, 1},
		"client id too long": {0, 3, 0, 0, 0, 0, 0, 1, 0, 5, 'a'},
		"tag too long":       {0, 60, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 200, 1, 'x'},
		"no tags":            {0, 60, 0, 0, 0, 0, 0, 1, 0, 0},
		"too many tags":      {0, 60, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, err := ParseRequestHeader(frame)
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v", err)
			}
			if len(frame) >= 8 && h.CorrelationID != 1 {
				t.Fatalf("the fields before the error are lost: %+v", h)
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	for _, c := range []struct {
		key      int16
		flexible bool
		want     []byte
	}{
		{3, false, []byte{0, 0, 0, 4}},
		{3, true, []byte{0, 0, 0, 4, 0}},
		{18, true, []byte{0, 0, 0, 4}}, // a client reads it before any version is agreed on
	} {
		if got := AppendResponseHeader(nil, c.key, 4, c.flexible); !bytes.Equal(got, c.want) {
			t.Errorf("API %d flexible %v: %x, want %x", c.key, c.flexible, got, c.want)
		}
	}
}

func FuzzRequestHeader(f *testing.F) {
	f.Add(encode(kmsg.NewPtrMetadataRequest(), 1, "client"))
	f.Add([]byte{0, 7, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := ParseRequestHeader(frame)
		switch {
		case err != nil && !errors.Is(err, ErrMalformed):
			t.Fatal(err)
		case err == nil && (len(body) > len(frame)-8 || !bytes.HasSuffix(frame, body)):
			t.Fatalf("body %x of frame %x", body, frame)
		case len(frame) >= 8 && h.CorrelationID != int32(binary.BigEndian.Uint32(frame[4:])):
			t.Fatalf("correlation id %d", h.CorrelationID)
		}
	})
}
