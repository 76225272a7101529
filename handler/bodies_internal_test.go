package handler

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/goapi-dev/goapi"
)

// zeros returns a request with a body of so many bytes, whose length is announced or
// not.
func zeros(ctx context.Context, size int, known bool) *http.Request {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(make([]byte, size)))
	if !known {
		r.ContentLength = -1
	}
	return r
}

func TestWholeBody(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		known  bool
		limit  int64
		room   int64
		held   int64 // at least
		status int   // of the error; 0 for none
	}{
		{"small", 100, true, 1 << 20, 100 << 10, 0, 0},
		{"as much as is free for each", smallBody, true, 1 << 20, 100 << 10, 0, 0},
		{"large", 90 << 10, true, 1 << 20, 100 << 10, 90 << 10, 0},
		{"large, of unknown length", 90 << 10, false, 1 << 20, 200 << 10, 90 << 10, 0},
		{"larger than the room", 300 << 10, true, 1 << 20, 100 << 10, 100 << 10, 0},
		{"at the limit", 1 << 20, true, 1 << 20, 2 << 20, 1 << 20, 0},
		{"at the limit, of unknown length", 1 << 20, false, 1 << 20, 2 << 20, 1 << 20, 0},
		{"beyond the limit", 1<<20 + 1, true, 1 << 20, 2 << 20, 0, http.StatusRequestEntityTooLarge},
		{"beyond the limit, of unknown length", 1<<20 + 1, false, 1 << 20, 4 << 20, 0, http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			room := NewBodies(tt.room)
			b := wholeBody{room: room}
			body, err := b.read(httptest.NewRecorder(), zeros(t.Context(), tt.size, tt.known), tt.limit)
			if tt.status != 0 {
				if goapi.Status(err) != tt.status {
					t.Errorf("read = %v, want status %d", err, tt.status)
				}
			} else if err != nil || len(body) != tt.size || b.held < tt.held || b.held > tt.room {
				t.Errorf("read = %d bytes, %v, which hold %d; want %d that hold at least %d", len(body), err, b.held, tt.size, tt.held)
			}
			b.release()
			if room.free != tt.room {
				t.Errorf("%d bytes of room are free when all is released, want %d", room.free, tt.room)
			}
		})
	}
}

func TestWholeBodyOfALiar(t *testing.T) { // no server lets it through
	r := zeros(t.Context(), 300<<10, true)
	r.ContentLength = 100 << 10
	b := wholeBody{room: NewBodies(1 << 20)}
	if body, err := b.read(httptest.NewRecorder(), r, 1<<20); err != nil || len(body) != 300<<10 {
		t.Errorf("read = %d bytes, %v", len(body), err)
	}
}

func TestWholeBodyWithoutRoom(t *testing.T) {
	var b wholeBody
	defer b.release()
	if body, err := b.read(httptest.NewRecorder(), zeros(t.Context(), 3<<20, true), 4<<20); err != nil || len(body) != 3<<20 {
		t.Errorf("read = %d bytes, %v; want all", len(body), err)
	}
}

// TestAnnouncedIsNotHeld: a client that announces a large body and sends little of
// it holds nothing.
func TestAnnouncedIsNotHeld(t *testing.T) {
	room := NewBodies(100 << 10)
	src, client := io.Pipe()
	r := httptest.NewRequest(http.MethodPost, "/", src)
	r.ContentLength = 90 << 10
	b := wholeBody{room: room}
	done := make(chan error)
	go func() {
		_, err := b.read(httptest.NewRecorder(), r, 1<<20)
		done <- err
	}()
	_, _ = client.Write(make([]byte, 10<<10))
	room.mu.Lock()
	free := room.free
	room.mu.Unlock()
	if free != 100<<10 {
		t.Errorf("%d bytes of room are free beside a body that is only announced, want all", free)
	}
	client.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; goapi.Status(err) != http.StatusBadRequest {
		t.Errorf("read of a body that breaks off = %v", err)
	}
}

func TestBodiesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := NewBodies(100)
		if err := room.take(t.Context(), 80); err != nil {
			t.Fatal(err)
		}
		var (
			mu    sync.Mutex
			order []string
			wg    sync.WaitGroup
		)
		for _, who := range []struct {
			name string
			size int64
		}{{"large", 90}, {"small", 10}} {
			wg.Go(func() {
				if err := room.take(t.Context(), who.size); err != nil {
					t.Errorf("take of %d = %v", who.size, err)
				}
				mu.Lock()
				order = append(order, who.name)
				mu.Unlock()
			})
			synctest.Wait()
		}
		time.Sleep(time.Second)
		room.give(80)
		wg.Wait()
		if got := strings.Join(order, " "); room.free != 0 || got != "large small" && got != "small large" {
			t.Errorf("%d are free after %q, want none, and both", room.free, got)
		}
	})
}

func TestBodiesRefuse(t *testing.T) {
	tests := []struct {
		name   string
		gone   bool // the client
		after  time.Duration
		status int
	}{
		{"after a while", false, roomTime, http.StatusServiceUnavailable},
		{"when the client is gone", true, time.Second, goapi.StatusClientClosedRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				room := NewBodies(100)
				if err := room.take(t.Context(), 80); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.gone {
					time.AfterFunc(time.Second, cancel)
				}
				began := time.Now()
				behind := make(chan error)
				go func() {
					time.Sleep(time.Second / 2)
					behind <- room.take(t.Context(), 20) // which has room, but is behind
				}()
				err := room.take(ctx, 30)
				if goapi.Status(err) != tt.status || time.Since(began) != tt.after {
					t.Errorf("take = %v after %v, want status %d after %v", err, time.Since(began), tt.status, tt.after)
				}
				var refused *goapi.Error
				if tt.status == http.StatusServiceUnavailable && (!errors.As(err, &refused) || refused.Header.Get("Retry-After") == "") {
					t.Errorf("take = %#v, want a Retry-After", err)
				}
				if err := <-behind; err != nil {
					t.Errorf("take behind one that gives up = %v", err)
				}
				room.give(100)
				if room.free != 100 || len(room.turns) != 0 {
					t.Errorf("%d are free, %d wait, want 100 and none", room.free, len(room.turns))
				}
			})
		})
	}
}

// TestBodiesAddUp has bodies of any size come and go: at no time do they have more
// than there is, and in the end all is free.
func TestBodiesAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.Int64Range(1, 200), 1, 30).Draw(rt, "sizes")
		synctest.Test(t, func(t *testing.T) {
			room := NewBodies(100)
			var wg sync.WaitGroup
			for i, size := range sizes {
				wg.Go(func() {
					time.Sleep(time.Duration(i%7) * time.Second)
					share := room.share(size)
					if room.take(t.Context(), share) != nil {
						return
					}
					room.mu.Lock()
					if room.free < 0 {
						rt.Errorf("%d are free", room.free)
					}
					room.mu.Unlock()
					time.Sleep(time.Duration(size) * 20 * time.Millisecond)
					room.give(share)
				})
			}
			wg.Wait()
			if room.free != 100 || len(room.turns) != 0 {
				rt.Errorf("%d are free, %d wait, want 100 and none", room.free, len(room.turns))
			}
		})
	})
}

// TestRPCWaitsForRoom: of calls whose bodies do not have room together, all are
// served, one after the other.
func TestRPCWaitsForRoom(t *testing.T) {
	room := NewBodies(300 << 10)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			b := wholeBody{room: room}
			defer b.release()
			if body, err := b.read(httptest.NewRecorder(), zeros(t.Context(), 200<<10, true), 1<<20); err != nil || len(body) != 200<<10 {
				t.Errorf("read = %d bytes, %v", len(body), err)
			}
		})
	}
	wg.Wait()
}
