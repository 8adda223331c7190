package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/objstore"
)

// Run checks all guarantees of objstore.Bucket. open returns an empty bucket; Run closes it.
func Run(t *testing.T, open func(t *testing.T) objstore.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(suite)
	}{
		{"PutThenGetStatList", suite.putThenGetStatList},
		{"PutReplaces", suite.putReplaces},
		{"PutBeginsAtTheBodysPosition", suite.putBeginsAtTheBodysPosition},
		{"PutOfNothing", suite.putOfNothing},
		{"PutOfBoundaries", suite.putOfBoundaries},
		{"PutWhoseBodyFailsChangesNothing", suite.putWhoseBodyFailsChangesNothing},
		{"PutIfAbsentLosesToWhatIsThere", suite.putIfAbsentLosesToWhatIsThere},
		{"PutIfAbsentHasOneWinner", suite.putIfAbsentHasOneWinner},
		{"PutIfAbsentAfterDelete", suite.putIfAbsentAfterDelete},
		{"BigObject", suite.bigObject},
		{"Ranges", suite.ranges},
		{"MissingObjects", suite.missingObjects},
		{"DeleteIsIdempotent", suite.deleteIsIdempotent},
		{"DeleteAll", suite.deleteAll},
		{"DeleteAllGoesOnAfterABadKey", suite.deleteAllGoesOnAfterABadKey},
		{"CheckLeavesNothing", suite.checkLeavesNothing},
		{"ListIsInLexicalOrder", suite.listIsInLexicalOrder},
		{"ListPages", suite.listPages},
		{"ListCanBeLeftAndUsedWithin", suite.listCanBeLeftAndUsedWithin},
		{"CanceledCallsChangeNothing", suite.canceledCallsChangeNothing},
		{"BadKeys", suite.badKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t)
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			c.test(suite{t, b})
		})
	}
}

// suite is one test and its bucket.
type suite struct {
	*testing.T
	b objstore.Bucket
}

func put(t *testing.T, b objstore.Bucket, key, content string) {
	t.Helper()
	if err := b.Put(t.Context(), key, strings.NewReader(content), objstore.PutOptions{}); err != nil {
		t.Fatalf("Put %s: %v", key, err)
	}
}

// get returns the whole object.
func get(t *testing.T, b objstore.Bucket, key string) string {
	t.Helper()
	info, err := b.Stat(t.Context(), key)
	if err != nil {
		t.Fatalf("Stat %s: %v", key, err)
	}
	p := make([]byte, info.Size)
	if _, err = b.GetRange(t.Context(), key, 0, p); err != nil {
		t.Fatalf("GetRange %s: %v", key, err)
	}
	return string(p)
}

func list(t *testing.T, b objstore.Bucket, prefix string) []string {
	t.Helper()
	keys := []string{}
	for info, err := range b.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List %q: %v", prefix, err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func (t suite) putThenGetStatList() {
	before := time.Now()
	put(t.T, t.b, "a/b.log", "hello")
	if got := get(t.T, t.b, "a/b.log"); got != "hello" {
		t.Errorf("content %q", got)
	}
	info, err := t.b.Stat(t.Context(), "a/b.log")
	if err != nil {
		t.Fatal(err)
	}
	if info.Key != "a/b.log" || info.Size != 5 {
		t.Errorf("Stat: %+v", info)
	}
	if age := info.ModTime.Sub(before); age < -2*time.Second || age > time.Minute {
		t.Errorf("modified at %v, put at %v", info.ModTime, before)
	}
	for listed, err := range t.b.List(t.Context(), "") {
		if err != nil || listed.Key != info.Key || listed.Size != info.Size || !listed.ModTime.Truncate(time.Second).Equal(info.ModTime.Truncate(time.Second)) {
			t.Errorf("List: %+v, %v; Stat: %+v", listed, err, info)
		}
	}
}

func (t suite) putReplaces() {
	put(t.T, t.b, "k", "a longer first content")
	put(t.T, t.b, "k", "second")
	if got := get(t.T, t.b, "k"); got != "second" {
		t.Errorf("content %q", got)
	}
}

func (t suite) putBeginsAtTheBodysPosition() {
	body := strings.NewReader("0123456789")
	if _, err := body.Seek(4, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := t.b.Put(t.Context(), "k", body, objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := get(t.T, t.b, "k"); got != "456789" {
		t.Errorf("content %q", got)
	}
}

func (t suite) putOfNothing() {
	put(t.T, t.b, "empty", "")
	if info, err := t.b.Stat(t.Context(), "empty"); err != nil || info.Size != 0 {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	if n, err := t.b.GetRange(t.Context(), "empty", 0, make([]byte, 1)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("GetRange: %d, %v", n, err)
	}
}

// errBody is the error of a failing body.
var errBody = errors.New("the disk fails")

// failingBody fails after half of its bytes.
type failingBody struct {
	*bytes.Reader
}

func (f failingBody) Read(p []byte) (int, error) {
	half := f.Size() / 2
	read := f.Size() - int64(f.Len())
	if read >= half {
		return 0, errBody
	}
	return f.Reader.Read(p[:min(int64(len(p)), half-read)])
}

// putWhoseBodyFailsChangesNothing tests bodies of one request and, in a store with multipart
// uploads, of several.
func (t suite) putWhoseBodyFailsChangesNothing() {
	put(t.T, t.b, "there", "before")
	const several = 10 << 20 // bytes; several requests in a store with multipart uploads
	for _, size := range []int{100, 3 << 20, several} {
		for _, key := range []string{"there", "new"} {
			err := t.b.Put(t.Context(), key, failingBody{bytes.NewReader(make([]byte, size))}, objstore.PutOptions{})
			if !errors.Is(err, errBody) || errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("Put %s of a body of %d bytes that fails: %v", key, size, err)
			}
		}
	}
	if got := get(t.T, t.b, "there"); got != "before" {
		t.Errorf("content of %d bytes", len(got))
	}
	if keys := list(t.T, t.b, ""); !slices.Equal(keys, []string{"there"}) {
		t.Errorf("keys %q", keys)
	}
	if err := t.b.Put(t.Context(), "new", bytes.NewReader(make([]byte, several)), objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Errorf("Put after those that failed: %v", err)
	}
}

// putOfBoundaries stores a body that looks like the boundaries of multipart messages. They must not
// end the upload.
func (t suite) putOfBoundaries() {
	var content strings.Builder
	for _, boundary := range []string{"varve-4f0d6c1e9b7a", "boundary", "====", "", "END_OF_PART"} {
		fmt.Fprintf(&content, "\r\n--%s\r\nContent-Type: text/plain\r\n\r\nx\r\n--%s--\r\n", boundary, boundary)
	}
	content.WriteString("0\r\n\r\nPUT / HTTP/1.1\r\n\r\n")
	put(t.T, t.b, "k", content.String())
	if got := get(t.T, t.b, "k"); got != content.String() {
		t.Errorf("content of %d bytes, not %d", len(got), content.Len())
	}
}

func (t suite) putIfAbsentLosesToWhatIsThere() {
	put(t.T, t.b, "k", "first")
	for _, size := range []int{0, 10, 3 << 20} {
		err := t.b.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), objstore.PutOptions{IfAbsent: true})
		if !errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("Put of %d bytes: %v", size, err)
		}
	}
	if got := get(t.T, t.b, "k"); got != "first" {
		t.Errorf("content of %d bytes", len(got))
	}
}

func (t suite) putIfAbsentHasOneWinner() {
	for round := range 8 {
		key := fmt.Sprintf("race/%d", round)
		const racers = 16
		var g errgroup.Group
		begin := make(chan struct{}) // closed below
		wins := make([]bool, racers)
		for i := range racers {
			g.Go(func() error {
				<-begin
				err := t.b.Put(t.Context(), key, strings.NewReader(fmt.Sprintf("racer %d", i)), objstore.PutOptions{IfAbsent: true})
				if errors.Is(err, objstore.ErrExists) {
					return nil
				}
				wins[i] = err == nil
				return err
			})
		}
		close(begin)
		if err := g.Wait(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		winner := slices.Index(wins, true)
		if winner < 0 || slices.Contains(wins[winner+1:], true) {
			t.Fatalf("round %d: winners %v", round, wins)
		}
		if got := get(t.T, t.b, key); got != fmt.Sprintf("racer %d", winner) {
			t.Errorf("round %d: racer %d won, but the object is %q", round, winner, got)
		}
	}
}

func (t suite) putIfAbsentAfterDelete() {
	put(t.T, t.b, "k", "first")
	if err := t.b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if err := t.b.Put(t.Context(), "k", strings.NewReader("second"), objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	if got := get(t.T, t.b, "k"); got != "second" {
		t.Errorf("content %q", got)
	}
}

func (t suite) bigObject() {
	content := make([]byte, 40<<20+17)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content) // never fails
	if err := t.b.Put(t.Context(), "big", bytes.NewReader(content), objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	info, err := t.b.Stat(t.Context(), "big")
	if err != nil || info.Size != int64(len(content)) {
		t.Fatalf("Stat: %+v, %v", info, err)
	}
	chunk := make([]byte, 4<<20)
	for off := 0; off < len(content); off += len(chunk) {
		want := content[off:min(off+len(chunk), len(content))]
		n, readErr := t.b.GetRange(t.Context(), "big", int64(off), chunk)
		if n != len(want) || (readErr != nil) != (n < len(chunk)) || !bytes.Equal(chunk[:n], want) {
			t.Fatalf("GetRange from %d: %d of %d bytes, %v", off, n, len(want), readErr)
		}
	}
	// The bytes differ: with equal bytes a repeated Put may report that it won.
	content[len(content)/2]++
	err = t.b.Put(t.Context(), "big", bytes.NewReader(content), objstore.PutOptions{IfAbsent: true})
	if !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second Put: %v", err)
	}
}

func (t suite) ranges() {
	put(t.T, t.b, "k", "0123456789")
	for _, c := range []struct {
		off  int64
		n    int
		want string
		end  bool
	}{
		{0, 10, "0123456789", false},
		{0, 1, "0", false},
		{9, 1, "9", false},
		{3, 4, "3456", false},
		{3, 0, "", false},
		{0, 11, "0123456789", true},
		{7, 100, "789", true},
		{10, 1, "", true},
		{11, 1, "", true},
		{1 << 40, 5, "", true},
	} {
		p := make([]byte, c.n)
		n, err := t.b.GetRange(t.Context(), "k", c.off, p)
		if string(p[:n]) != c.want || errors.Is(err, io.ErrUnexpectedEOF) != c.end || (err != nil) != c.end {
			t.Errorf("GetRange of %d bytes from %d: %q, %v", c.n, c.off, p[:n], err)
		}
	}
	if _, err := t.b.GetRange(t.Context(), "k", -1, make([]byte, 1)); err == nil {
		t.Error("GetRange from -1 succeeded")
	}
}

func (t suite) missingObjects() {
	put(t.T, t.b, "a/b", "x")
	for _, key := range []string{"a", "a/c", "a/b/c", "b"} {
		if _, err := t.b.Stat(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Stat %s: %v", key, err)
		}
		_, err := t.b.GetRange(t.Context(), key, 0, make([]byte, 1))
		if !errors.Is(err, objstore.ErrNotFound) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("GetRange %s: %v", key, err)
		}
	}
	if keys := list(t.T, t.b, "none/"); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
}

func (t suite) listIsInLexicalOrder() {
	// '-' and '.' sort before '/', so a-b and a.log precede a/1.
	keys := []string{"A", "a-b", "a.log", "a/1", "a/10", "a/2", "a/b/c", "a/b-c", "a0", "b/x", "z"}
	for _, key := range []string{"z", "a/b/c", "a0", "a/2", "a-b", "A", "a/10", "b/x", "a.log", "a/1", "a/b-c"} {
		put(t.T, t.b, key, "x")
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/1", "a/b", "a/b/", "a-", "b/x", "c"} {
		want := []string{}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := list(t.T, t.b, prefix); !slices.Equal(got, want) {
			t.Errorf("List %q: %q, not %q", prefix, got, want)
		}
	}
}

func (t suite) listPages() {
	const n = 1234 // stores list pages of 1000
	var g errgroup.Group
	g.SetLimit(16)
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprintf("pages/%d/%05d", i%7, i)
		g.Go(func() error {
			return t.b.Put(t.Context(), want[i], strings.NewReader("x"), objstore.PutOptions{})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := list(t.T, t.b, "pages/"); !slices.Equal(got, want) {
		t.Errorf("%d keys of %d, or another order", len(got), n)
	}
}

func (t suite) listCanBeLeftAndUsedWithin() {
	for _, key := range []string{"a", "b", "c", "d"} {
		put(t.T, t.b, key, "x")
	}
	for info, err := range t.b.List(t.Context(), "") {
		if err != nil || info.Key != "a" {
			t.Errorf("first: %+v, %v", info, err)
		}
		break
	}
	for info, err := range t.b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if err = t.b.Delete(t.Context(), info.Key); err != nil {
			t.Error(err)
		}
	}
	if keys := list(t.T, t.b, ""); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func (t suite) canceledCallsChangeNothing() {
	put(t.T, t.b, "k", "content")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) || errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("Put", t.b.Put(ctx, "k", strings.NewReader("other"), objstore.PutOptions{}))
	check("Put of a new key", t.b.Put(ctx, "new", strings.NewReader("other"), objstore.PutOptions{IfAbsent: true}))

	// Canceled halfway.
	half, cancelHalf := context.WithCancel(t.Context())
	check("Put that is canceled", t.b.Put(half, "half", cancelingBody{bytes.NewReader(make([]byte, 8<<20)), cancelHalf}, objstore.PutOptions{}))

	if got := get(t.T, t.b, "k"); got != "content" {
		t.Errorf("content %q", got)
	}
	if keys := list(t.T, t.b, ""); !slices.Equal(keys, []string{"k"}) {
		t.Errorf("keys %q", keys)
	}
}

// cancelingBody cancels its request after half of its bytes.
type cancelingBody struct {
	*bytes.Reader
	cancel context.CancelFunc
}

func (c cancelingBody) Read(p []byte) (int, error) {
	if int64(c.Len()) <= c.Size()/2 {
		c.cancel()
	}
	return c.Reader.Read(p[:min(len(p), 64<<10)])
}

func (t suite) badKeys() {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a b", "a\x00", "a\n", "é", "a\\b", "a__0x2fb", "a.attrs",
		".varve-tmp/x", ".varve-check/x", strings.Repeat("k", 901),
	} {
		_, statErr := t.b.Stat(t.Context(), key)
		_, getErr := t.b.GetRange(t.Context(), key, 0, make([]byte, 1))
		for what, err := range map[string]error{
			"Put": t.b.Put(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{}), "Stat": statErr, "GetRange": getErr,
			"Delete": t.b.Delete(t.Context(), key),
		} {
			if !errors.Is(err, objstore.ErrInvalidKey) {
				t.Errorf("%s %q: %v", what, key, err)
			}
		}
	}
}
