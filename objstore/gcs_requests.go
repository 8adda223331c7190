package objstore

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// gcsStore speaks the JSON API of Google Cloud Storage: the five requests that
// a Bucket is made of. Google's client library for it weighs 20 MB in the
// binary (ADR 9).
type gcsStore struct {
	client   *http.Client // adds the credentials
	endpoint string       // scheme and host
	bucket   string
}

// gcsError is an answer that says no.
type gcsError struct {
	status  int
	message string
}

// Error is the server's own message, in one line.
func (e *gcsError) Error() string { return fmt.Sprintf("HTTP status %d: %s", e.status, e.message) }

// HTTPStatusCode is what httpStatus asks for.
func (e *gcsError) HTTPStatusCode() int { return e.status }

// gcsObject is the part of an object's metadata that matters here.
type gcsObject struct {
	Name        string    `json:"name"`
	ContentType string    `json:"contentType,omitempty"`
	CRC32C      string    `json:"crc32c,omitempty"`
	Size        int64     `json:"size,string,omitempty"`
	Updated     time.Time `json:"updated,omitzero"`
}

func (o gcsObject) info() ObjectInfo {
	return ObjectInfo{Key: o.Name, Size: o.Size, ModTime: o.Updated}
}

// objectFields is what of an object's metadata is asked for.
const objectFields = "name,size,updated"

func (s gcsStore) objectURL(key string, query url.Values) string {
	return s.objects() + "/" + url.PathEscape(key) + "?" + query.Encode()
}

func (s gcsStore) objects() string {
	return s.endpoint + "/storage/v1/b/" + url.PathEscape(s.bucket) + "/o"
}

// put is one multipart/related request: the object's metadata with its CRC32C,
// which the server checks, then the bytes. The body is read twice, for the
// checksum and for transmission, and nothing of it is kept in memory. The
// request is never repeated here: of a conditional one whose answer was lost
// the second would report the first one's success as a conflict.
func (s gcsStore) put(ctx context.Context, key string, body *body, ifAbsent bool) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, &contextReader{err: ctx.Err, r: body}); err != nil {
		return fmt.Errorf("read the body for its checksum: %w", err)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("go back to the start of the body: %w", err)
	}
	crc := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	metadata, err := json.Marshal(gcsObject{Name: key, ContentType: contentType, CRC32C: crc})
	if err != nil {
		return err
	}
	const boundary = "varve-4f0d6c1e9b7a"
	head := fmt.Sprintf("--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n--%s\r\nContent-Type: %s\r\n\r\n", boundary, metadata, boundary, contentType)
	tail := "\r\n--" + boundary + "--\r\n"

	query := url.Values{"uploadType": {"multipart"}, "fields": {"size"}}
	if ifAbsent {
		query.Set("ifGenerationMatch", "0")
	}
	target := s.endpoint + "/upload/storage/v1/b/" + url.PathEscape(s.bucket) + "/o?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, io.MultiReader(strings.NewReader(head), body, strings.NewReader(tail)))
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(head)+len(tail)) + body.size
	req.Header.Set("Content-Type", "multipart/related; boundary="+boundary)
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	return errors.Join(drain(resp), resp.Body.Close())
}

// open asks for n bytes of the object from off, or what there is of them, and
// returns the whole object's size with them.
func (s gcsStore) open(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.objectURL(key, url.Values{"alt": {"media"}}), http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	resp, err := s.do(req)
	if err != nil {
		return nil, 0, err
	}
	_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if resp.StatusCode != http.StatusPartialContent || err != nil {
		_ = resp.Body.Close() // the error that matters is another
		return nil, 0, fmt.Errorf("%w: asked for a range, got status %d with Content-Range %q", ErrUnavailable, resp.StatusCode, resp.Header.Get("Content-Range"))
	}
	return resp.Body, size, nil
}

func (s gcsStore) stat(ctx context.Context, key string) (ObjectInfo, error) {
	var o gcsObject
	err := s.getJSON(ctx, s.objectURL(key, url.Values{"fields": {objectFields}}), &o)
	return o.info(), err
}

func (s gcsStore) remove(ctx context.Context, key string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.objectURL(key, nil), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	return errors.Join(drain(resp), resp.Body.Close())
}

// gcsPage is one answer to a listing, in the order of the names' bytes.
type gcsPage struct {
	Items []gcsObject `json:"items"`
	Next  string      `json:"nextPageToken"`
}

func (s gcsStore) listPage(ctx context.Context, prefix, token string, most int) (page gcsPage, err error) {
	query := url.Values{"maxResults": {strconv.Itoa(most)}, "fields": {"items(" + objectFields + "),nextPageToken"}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	if token != "" {
		query.Set("pageToken", token)
	}
	err = s.getJSON(ctx, s.objects()+"?"+query.Encode(), &page)
	return page, err
}

func (s gcsStore) list(ctx context.Context, prefix string) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		for token := ""; ; {
			page, err := s.listPage(ctx, prefix, token, listPage)
			if err != nil {
				yield(ObjectInfo{}, err)
				return
			}
			for _, o := range page.Items {
				if !yield(o.info(), nil) {
					return
				}
			}
			if token = page.Next; token == "" {
				return
			}
		}
	}
}

func (s gcsStore) getJSON(ctx context.Context, target string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.do(req)
	if err != nil {
		return err
	}
	err = json.NewDecoder(resp.Body).Decode(into)
	if err != nil {
		err = fmt.Errorf("%w: %w", errShortAnswer, err)
	}
	return errors.Join(err, drain(resp), resp.Body.Close())
}

// do sends a request; an answer other than 2xx is a *gcsError. The caller
// closes the answer's body.
func (s gcsStore) do(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", "varve")
	resp, err := s.client.Do(req)
	if err != nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }() // the error that matters is another
	const enough = 4 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, enough)) // a message that breaks off is still one
	var answer struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &answer) == nil && answer.Error.Message != "" {
		text = []byte(answer.Error.Message)
	}
	return nil, &gcsError{status: resp.StatusCode, message: strings.Join(strings.Fields(string(text)), " ")}
}

// drain reads what is left of an answer, so that its connection can be used
// again.
func drain(resp *http.Response) error {
	_, err := io.Copy(io.Discard, resp.Body)
	return err
}
