package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// serve answers requests on one connection with what answer returns for their correlation id.
func serve(t *testing.T, answer func(correlation uint32) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		c, acceptErr := l.Accept()
		if acceptErr != nil {
			return
		}
		defer c.Close()
		for {
			head := make([]byte, 4)
			if _, readErr := io.ReadFull(c, head); readErr != nil {
				return
			}
			request := make([]byte, binary.BigEndian.Uint32(head))
			if _, readErr := io.ReadFull(c, request); readErr != nil {
				return
			}
			body := answer(binary.BigEndian.Uint32(request[4:]))
			if _, writeErr := c.Write(body); writeErr != nil || body == nil {
				return
			}
		}
	}()
	return l.Addr().String()
}

func framed(correlation uint32, body []byte) []byte {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	return append(binary.BigEndian.AppendUint32(frame, correlation), body...)
}

func TestAsk(t *testing.T) {
	want := kmsg.NewPtrMetadataResponse()
	want.SetVersion(metadataVersion)
	want.ControllerID = 7
	address := serve(t, func(correlation uint32) []byte {
		return framed(correlation, want.AppendTo([]byte{1, 5, 2, 'a', 'b'})) // a tagged field in the header
	})
	c, err := dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 3 {
		got, err := c.ask(metadataRequest(""))
		if err != nil {
			t.Fatal(err)
		}
		if got.(*kmsg.MetadataResponse).ControllerID != 7 {
			t.Errorf("the response is %+v", got)
		}
	}
}

func TestAskRefusesAnotherResponse(t *testing.T) {
	address := serve(t, func(correlation uint32) []byte { return framed(correlation+1, []byte{0}) })
	if _, err := metadataOf(t.Context(), address, ""); !errors.Is(err, errMalformed) {
		t.Errorf("the error is %v", err)
	}
}

// TestAskEndsWithItsContext: a broker that does not answer holds nothing up.
func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked, answer := make(chan struct{}), make(chan struct{})
	address := serve(t, func(uint32) []byte {
		close(asked)
		<-answer
		return nil
	})
	defer close(answer)
	ended := make(chan error)
	go func() {
		_, err := metadataOf(ctx, address, "")
		ended <- err
	}()
	<-asked
	cancel()
	if err := <-ended; err == nil {
		t.Error("there is no error")
	}
}

func TestSkipTags(t *testing.T) {
	for _, c := range []struct{ in, want []byte }{
		{[]byte{0, 9}, []byte{9}},
		{[]byte{2, 1, 2, 'a', 'b', 7, 0, 9}, []byte{9}},
		{[]byte{0}, []byte{}},
	} {
		if got, err := skipTags(c.in); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%v leaves %v, %v; want %v", c.in, got, err, c.want)
		}
	}
	for _, damaged := range [][]byte{{}, {1}, {1, 1}, {1, 1, 3, 'a'}, {0xff}} {
		if _, err := skipTags(damaged); !errors.Is(err, errMalformed) {
			t.Errorf("%v has the error %v", damaged, err)
		}
	}
}
