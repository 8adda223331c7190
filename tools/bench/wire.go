package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The versions of requests that are sent over plain connections. They are the last ones that name
// topics by their names, and Kafka 3 and 4 serve them.
const (
	produceVersion  = 9
	fetchVersion    = 12
	metadataVersion = 9
	quorumVersion   = 0
)

const (
	connBuffer  = 256 << 10
	answerLimit = 15 * time.Second // of a request that is not part of a load
	largestBody = 128 << 20
)

var errMalformed = errors.New("malformed response")

// conn is a plain connection to a broker. It is used by one goroutine.
type conn struct {
	net.Conn
	reader      *bufio.Reader
	format      *kmsg.RequestFormatter
	correlation int32
	release     func() bool
	frame       []byte // of the latest response
}

// dial connects to a broker. The connection is closed when ctx ends, so that a broker that does not
// answer holds nothing up.
func dial(ctx context.Context, address string) (*conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to a broker: %w", err)
	}
	return &conn{
		Conn:    nc,
		reader:  bufio.NewReaderSize(nc, connBuffer),
		format:  kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")),
		release: context.AfterFunc(ctx, func() { _ = nc.Close() }),
	}, nil
}

// onConnections runs use on n connections to a broker, each with its number from 0, and waits for
// all. The first error ends them.
func onConnections(ctx context.Context, n int, address string, use func(i int, c *conn) error) error {
	g, ctx := newGroup(ctx)
	for i := range n {
		g.run(ctx, func(ctx context.Context) error {
			c, err := dial(ctx, address)
			if err != nil {
				return err
			}
			defer c.close()
			return use(i, c)
		})
	}
	return g.wait(ctx)
}

func (c *conn) close() {
	c.release()
	_ = c.Close() // nothing was left to be sent
}

// encode returns the bytes of a request, with its length. setCorrelation numbers it before each
// time that it is sent.
func (c *conn) encode(dst []byte, request kmsg.Request) []byte {
	return c.format.AppendRequest(dst[:0], request, 0)
}

// setCorrelation puts a correlation id into an encoded request: it follows the length, the key and
// the version.
func setCorrelation(request []byte, id int32) {
	binary.BigEndian.PutUint32(request[8:], uint32(id))
}

// send writes an encoded request under the next correlation id and returns that id.
func (c *conn) send(request []byte) (int32, error) {
	id := c.correlation
	c.correlation++
	setCorrelation(request, id)
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("send a request: %w", err)
	}
	return id, nil
}

// receive reads the response to the request with this id. The response is valid until the next one.
func (c *conn) receive(id int32, response kmsg.Response) error {
	size, err := c.begin(id)
	if err != nil {
		return err
	}
	if cap(c.frame) < size {
		c.frame = make([]byte, size)
	}
	c.frame = c.frame[:size]
	if _, err = io.ReadFull(c.reader, c.frame); err != nil {
		return fmt.Errorf("read a response: %w", err)
	}
	body := c.frame
	if response.IsFlexible() {
		if body, err = skipTags(body); err != nil {
			return err
		}
	}
	if err = response.ReadFrom(body); err != nil {
		return fmt.Errorf("decode a response to %s: %w", kmsg.NameForKey(response.Key()), err)
	}
	return nil
}

// begin reads the length and the correlation id of a response and returns the bytes that follow.
func (c *conn) begin(id int32) (int, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.reader, head[:]); err != nil {
		return 0, fmt.Errorf("read a response: %w", err)
	}
	size, got := int32(binary.BigEndian.Uint32(head[:])), int32(binary.BigEndian.Uint32(head[4:]))
	if size < 4 || size > largestBody || got != id {
		return 0, fmt.Errorf("%w: %d bytes for request %d, where %d is next", errMalformed, size, got, id)
	}
	return int(size) - 4, nil
}

// skipTags returns what follows the tagged fields of a response's header.
func skipTags(b []byte) ([]byte, error) {
	next := func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt32 {
			b = nil
			return 0
		}
		b = b[n:]
		return int(v)
	}
	for count := next(); count > 0; count-- {
		next() // the tag
		size := next()
		if len(b) < size {
			b = nil
		}
		if b == nil {
			break
		}
		b = b[size:]
	}
	if b == nil {
		return nil, fmt.Errorf("%w: tagged fields", errMalformed)
	}
	return b, nil
}

// ask sends one request on a connection of its own and returns the response.
func ask(ctx context.Context, address string, request kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.ask(request)
}

// ask sends one request and returns the response. No other request may be in flight.
func (c *conn) ask(request kmsg.Request) (kmsg.Response, error) {
	id, err := c.send(c.encode(nil, request))
	if err != nil {
		return nil, err
	}
	response := request.ResponseKind()
	response.SetVersion(request.GetVersion())
	return response, c.receive(id, response)
}

// metadataRequest asks for the brokers and for one topic; without a name for no topic.
func metadataRequest(topic string) *kmsg.MetadataRequest {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(metadataVersion)
	request.Topics = []kmsg.MetadataRequestTopic{} // nil asks for all
	if topic != "" {
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = new(topic)
		request.Topics = append(request.Topics, one)
	}
	return request
}

// metadataOf returns what one broker knows.
func metadataOf(ctx context.Context, address, topic string) (*kmsg.MetadataResponse, error) {
	response, err := ask(ctx, address, metadataRequest(topic))
	if err != nil {
		return nil, err
	}
	return response.(*kmsg.MetadataResponse), nil
}
