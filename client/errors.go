package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ExplainedError is an error with a text that says what to do. Unwrap returns the cause.
type ExplainedError struct {
	text  string
	cause error
}

func (e *ExplainedError) Error() string { return e.text }

// Unwrap returns the cause.
func (e *ExplainedError) Unwrap() error { return e.cause }

// Explain turns an error of the network, of the protocol or of kgo into one line that says what to
// do. It returns nil, and errors for which it has no better text, unchanged, but on one line.
func (c *Client) Explain(err error) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*ExplainedError](err); done {
		return err
	}
	if text := c.words(err); text != "" {
		return &ExplainedError{text: text, cause: err}
	}
	if text := err.Error(); strings.ContainsAny(text, "\r\n") {
		return &ExplainedError{text: strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; "), cause: err}
	}
	return err
}

func (c *Client) words(err error) string {
	where := strings.Join(c.options.Bootstrap, ",")
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		where = op.Addr.String()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("cannot find the host %q: check the name in --bootstrap, or what the broker advertises", dns.Name)
	}
	if text := c.tlsWords(err, where); text != "" {
		return text
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		return fmt.Sprintf("%s closed the connection: is it a Kafka listener? The broker's log may say why", where)
	}
	if strings.Contains(err.Error(), "invalid large response size") { // kgo exports no error for it
		return fmt.Sprintf("%s answers something other than Kafka: is the port right? Varve's own are 9092 for Kafka and 9644 for HTTP", where)
	}
	if protocol, ok := errors.AsType[*kerr.Error](err); ok {
		return protocolWords(protocol)
	}
	if shards, ok := errors.AsType[*kadm.ShardErrors](err); ok && len(shards.Errs) > 0 {
		// kgo exports no error for it
		if inner := shards.Errs[0].Err; strings.Contains(inner.Error(), "unknown broker") {
			return "there is no such broker in the cluster"
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no broker at %s: start one with \"varve broker start\", or name another with --bootstrap HOST:PORT", where)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("no route to %s: check the address in --bootstrap and the network", where)
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return fmt.Sprintf("no answer from %s within %v: is it up, and is it a Kafka listener? --timeout waits longer", where, c.options.Timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("%s closed the connection before it answered: the broker's log may say why", where)
	case errors.Is(err, kgo.ErrClientClosed):
		return "the client is closed"
	}
	return ""
}

// tlsWords returns the text for an error of TLS: where it is missing or not expected, and
// certificates that are not trusted.
func (c *Client) tlsWords(err error, where string) string {
	text := err.Error()
	_, firstRead := errors.AsType[*kgo.ErrFirstReadEOF](err)
	if c.options.TLS == nil {
		if firstRead || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return fmt.Sprintf("%s closed the connection before it answered: if it is a Kafka listener with TLS, add --tls; otherwise the broker's log may say why", where)
		}
		return ""
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the certificate of %s is not for that name (%s): name the broker as its certificate does, or correct what it advertises", where, host.Error())
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Sprintf("the certificate of %s has expired, or is not valid yet: %s", where, invalid.Error())
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Sprintf("the certificate of %s is of an authority that is not known here: name the authority with --ca-file FILE", where)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Sprintf("%s does not speak TLS: leave --tls out, or is the port another one?", where)
	}
	switch {
	// crypto/tls exports no error for these
	case strings.Contains(text, "remote error: tls: certificate required"):
		return fmt.Sprintf("%s asks for a certificate of this client: give --cert-file and --key-file", where)
	case strings.Contains(text, "remote error: tls: unknown certificate authority"), strings.Contains(text, "remote error: tls: bad certificate"),
		strings.Contains(text, "remote error: tls: expired certificate"):
		_, why, _ := strings.Cut(text, "remote error: tls: ")
		return fmt.Sprintf("%s does not accept the certificate in --cert-file: %s", where, why)
	case strings.Contains(text, "remote error: tls: protocol version not supported"):
		return fmt.Sprintf("%s and this client have no version of TLS in common", where)
	case firstRead || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("%s closed the connection before it answered: is it a Kafka listener with TLS? If it is one without, leave --tls out", where)
	}
	return ""
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// protocolWords has advice for frequent codes. For the others it returns Kafka's description.
func protocolWords(err *kerr.Error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return "it does not exist (\"varve topic list\" shows what does)"
	case errors.Is(err, kerr.TopicAlreadyExists):
		return "it exists already"
	case errors.Is(err, kerr.InvalidTopicException):
		return "the name is not allowed: use up to 249 of a-z A-Z 0-9 . _ -"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "the replication factor is larger than the number of brokers, or not positive"
	case errors.Is(err, kerr.GroupIDNotFound):
		return "it does not exist (\"varve group list\" shows what does)"
	case errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.CoordinatorLoadInProgress):
		return "the group's coordinator is not ready yet: try again in a moment"
	case errors.Is(err, kerr.LeaderNotAvailable), errors.Is(err, kerr.NotLeaderForPartition):
		return "the partition has no leader at the moment: try again, and see \"varve topic describe\""
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return "the record is larger than the topic allows (max.message.bytes)"
	case errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return "fewer replicas are in sync than min.insync.replicas asks for"
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "this is not allowed for this user (" + err.Message + ")"
	default:
		return err.Description + " (" + err.Message + ")"
	}
}

// about adds the thing that an error is about. The broker's message takes precedence over the text
// for its code.
func (c *Client) about(what, message string, err error) error {
	if err == nil {
		return nil
	}
	if message != "" && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return &ExplainedError{text: what + ": " + strings.ReplaceAll(message, "\n", " "), cause: err}
	}
	return fmt.Errorf("%s: %w", what, c.Explain(err))
}
