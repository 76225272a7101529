package handler

import (
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/goapi-dev/goapi"
)

// TestSocketBudget reads messages of several clients that share a budget: what
// a client holds beyond what each may is taken from it, and comes back.
func TestSocketBudget(t *testing.T) {
	shared := newBudget(16 << 10)
	var a, b socket
	for _, c := range []*socket{&a, &b} {
		c.budget, c.limit = shared, 1<<20
	}
	fill := func(c *socket, size int, want error) {
		t.Helper()
		c.release()
		err := c.fill(strings.NewReader(strings.Repeat("x", size)))
		if (err == nil) != (want == nil) || goapi.Status(err) != goapi.Status(want) {
			t.Errorf("a message of %d bytes = %v, want %v", size, err, want)
		}
		if err == nil && len(c.in) != size {
			t.Errorf("%d bytes were read, want %d", len(c.in), size)
		}
	}
	full := goapi.NewError(http.StatusServiceUnavailable, "", nil)
	fill(&a, 10_000, nil)
	fill(&b, 3000, nil) // is never counted
	fill(&b, 5000, full)
	b.release()
	if free := shared.free.Load(); free != 0 {
		t.Errorf("%d bytes are free, want 0: a holds 16 KiB", free)
	}
	fill(&a, 3000, nil)
	fill(&b, 5000, nil)
	fill(&a, 20_000, full)
	a.release()
	b.release()
	if free := shared.free.Load(); free != 16<<10 {
		t.Errorf("%d bytes are free in the end, want all 16 KiB", free)
	}
}

// TestSocketWithoutBudget holds what a message may take by itself: no more than
// its limit, however large it is.
func TestSocketWithoutBudget(t *testing.T) {
	c := socket{limit: 10_000}
	if err := c.fill(strings.NewReader(strings.Repeat("x", 10_000))); err != nil || len(c.in) != 10_000 || cap(c.in) > 12_000 {
		t.Errorf("a message at the limit = %d of %d bytes, %v; want it with little beyond", len(c.in), cap(c.in), err)
	}
	c.release()
	if c.in != nil {
		t.Error("the buffer of a large message is kept")
	}
	for _, limit := range []int64{10_000, 0, -1} {
		c = socket{limit: limit}
		if err := c.fill(strings.NewReader(strings.Repeat("x", 20_000))); !errors.Is(err, websocket.ErrMessageTooBig) {
			t.Errorf("a message over the limit %d = %v, want %v", limit, err, websocket.ErrMessageTooBig)
		}
	}
	c = socket{limit: 100}
	broken := errors.New("broken")
	if err := c.fill(io.MultiReader(strings.NewReader("x"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a message that breaks off = %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzHeads has a client's bytes come in pieces of any size: whether a message
// is too large does not depend on them, and a slow reading of all of it agrees.
func FuzzHeads(f *testing.F) {
	f.Add([]byte("\x81\x85\x00\x00\x00\x00hello\x81\x00"), uint8(1), uint16(4))
	f.Add([]byte("\x01\x83\x00\x00\x00\x00abc\x89\x80\x00\x00\x00\x00\x80\x83\x00\x00\x00\x00def"), uint8(3), uint16(5))
	f.Add([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00xx"), uint8(2), uint16(9))
	f.Add([]byte("\x82\xfe\x10\x00\x00\x00\x00\x00xx"), uint8(7), uint16(4096))
	f.Fuzz(func(t *testing.T, sent []byte, step uint8, limit uint16) {
		h := heads{limit: int64(limit)}
		for p := sent; len(p) > 0; {
			n := min(int(step)+1, len(p))
			h.scan(p[:n])
			p = p[n:]
		}
		if want := announces(sent, uint64(limit)); h.over != want {
			t.Errorf("scan(%q) in steps of %d: over = %t, want %t", sent, int(step)+1, h.over, want)
		}
	})
}

// announces says whether frames announce a message of more than limit bytes.
func announces(b []byte, limit uint64) bool {
	var message uint64
	for len(b) >= 2 {
		size := uint64(b[1] & 0x7f)
		head := 2
		if more := map[uint64]int{126: 2, 127: 8}[size]; more > 0 {
			if size, head = 0, head+more; len(b) < head {
				return false
			}
			for _, c := range b[2:head] {
				size = size<<8 | uint64(c)
			}
		}
		if b[1] >= 0x80 {
			head += 4
		}
		if len(b) < head {
			return false
		}
		if kind := b[0] & 0xf; kind < 8 && size <= math.MaxInt64 {
			if kind != 0 {
				message = 0
			}
			if message += size; message > limit {
				return true
			}
		}
		if b = b[head:]; uint64(len(b)) <= size {
			return false
		}
		b = b[size:]
	}
	return false
}
