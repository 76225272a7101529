package handler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/handler"
)

// TestWebLosesNothing has both sides send before the other can expect it:
// behind the head of the request, and behind that of the answer.
func TestWebLosesNothing(t *testing.T) {
	for _, size := range []int{0, 1, 5000, 100_000} {
		early := strings.Repeat("e", size)
		service := switching(t, early, func(c net.Conn, r *bufio.Reader) {
			got := make([]byte, size)
			if _, err := io.ReadFull(r, got); err == nil && string(got) == early {
				_, _ = io.WriteString(c, "all here")
			}
		})
		c := dial(t, serveWeb(t, nil, service))
		send(t, c, askHead+"\r\n"+early)
		r := bufio.NewReader(c)
		skipHead(t, r)
		expectText(t, r, early+"all here")
	}
}

// TestWebHalfClose has one side end its direction while the other goes on.
func TestWebHalfClose(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		service := switching(t, "", func(c net.Conn, r *bufio.Reader) {
			all, err := io.ReadAll(r)
			if err == nil {
				fmt.Fprintf(c, "%s, and no more", all)
			}
		})
		c, r := open(t, serveWeb(t, nil, service))
		send(t, c, "one")
		closeWrite(t, c)
		if got, err := io.ReadAll(r); string(got) != "one, and no more" || err != nil {
			t.Errorf("read %q, %v, want all that the service sent, and its end", got, err)
		}
	})
	t.Run("service", func(t *testing.T) {
		said := make(chan string, 1)
		service := switching(t, "bye", func(c net.Conn, r *bufio.Reader) {
			closeWrite(t, c)
			all, err := io.ReadAll(r)
			said <- fmt.Sprint(string(all), err)
		})
		c, r := open(t, serveWeb(t, nil, service))
		if got, err := io.ReadAll(r); string(got) != "bye" || err != nil {
			t.Errorf("read %q, %v, want %q, and its end", got, err, "bye")
		}
		send(t, c, "not yet")
		closeWrite(t, c)
		if got := receive(t, said); got != "not yet<nil>" {
			t.Errorf("the service has read %s, want all, and its end", got)
		}
	})
}

// TestWebReset has one side reset the connection: so must the other see it.
func TestWebReset(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		said := make(chan string, 1)
		service := switching(t, "", func(c net.Conn, r *bufio.Reader) {
			_, err := io.Copy(c, r)
			said <- fmt.Sprint(errors.Is(err, syscall.ECONNRESET))
		})
		c, r := open(t, serveWeb(t, nil, service))
		send(t, c, "ping")
		expectText(t, r, "ping")
		reset(t, c)
		if got := receive(t, said); got != "true" {
			t.Error("the service has not seen that the client reset the connection")
		}
	})
	t.Run("service", func(t *testing.T) {
		service := switching(t, "", func(c net.Conn, r *bufio.Reader) {
			if _, err := r.ReadByte(); err == nil {
				reset(t, c)
			}
		})
		c, r := open(t, serveWeb(t, nil, service))
		send(t, c, "x")
		if _, err := r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read error = %v, want that the connection was reset", err)
		}
		c.Close()
	})
	t.Run("client, while the service floods", func(t *testing.T) {
		said := make(chan string, 1)
		service := switching(t, "", func(c net.Conn, _ *bufio.Reader) {
			for {
				if _, err := c.Write(make([]byte, 1<<10)); err != nil {
					said <- fmt.Sprint(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
					return
				}
			}
		})
		c, r := open(t, serveWeb(t, nil, service))
		if _, err := r.ReadByte(); err != nil {
			t.Fatal(err)
		}
		reset(t, c)
		if got := receive(t, said); got != "true" {
			t.Error("the service has not seen that the client reset the connection")
		}
	})
}

// TestWebBackPressure has a service that floods a client which does not read:
// the service must wait, and the client get it all in the end.
func TestWebBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		var written atomic.Int64
		c := upgradePipes(t, func(c net.Conn, _ *bufio.Reader) {
			for written.Load() < size {
				n, err := c.Write(make([]byte, 1<<10))
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		synctest.Wait()
		if n := written.Load(); n > 64<<10 {
			t.Errorf("the service could send %d bytes to a client that reads none", n)
		}
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("the client has read %d bytes, %v, want %d", n, err, size)
		}
	})
}

// TestWebGarbage has both sides send what is no protocol at all.
func TestWebGarbage(t *testing.T) {
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	service := switching(t, "", func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	c, r := open(t, serveWeb(t, nil, service))
	go func() {
		_, _ = c.Write(garbage) // what comes back tells
	}()
	expectText(t, r, string(garbage))
}

// TestWebOtherConnections has connections of a kind that the gateway knows
// nothing of: it can neither end one direction alone, nor reset them.
func TestWebOtherConnections(t *testing.T) {
	ended := make(chan string, 1)
	service := switching(t, "", func(c net.Conn, r *bufio.Reader) {
		_, err := io.Copy(c, r)
		ended <- fmt.Sprint(err)
	})
	var d net.Dialer
	h := webHandler(t, &handler.WebOptions{HTTP: handler.HTTPOptions{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, address)
			return plain{c}, err
		},
	}})
	srv := httptest.NewUnstartedServer(goapi.With(webRoute(service), h))
	srv.Listener = plainListener{srv.Listener}
	srv.Start()
	t.Cleanup(srv.Close)
	c, r := open(t, srv.Listener.Addr().String())
	for _, size := range []int{1, 1 << 10, 1<<10 + 1, 9 << 10, 1 << 20, 1} {
		text := strings.Repeat("x", size)
		go func() { _, _ = io.WriteString(c, text) }() // what comes back tells
		expectText(t, r, text)
	}
	closeWrite(t, c)
	if got := receive(t, ended); got != "<nil>" {
		t.Errorf("the service has read %s, want the end", got)
	}
}

// plain is a connection that has no more than it must.
type plain struct{ net.Conn }

type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plain{c}, nil
}

// TestWebMaxConnections has more clients than are taken.
func TestWebMaxConnections(t *testing.T) {
	service := switching(t, "", func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	h := webHandler(t, &handler.WebOptions{MaxConnections: 2})
	ended := make(chan string, 4) // one for each request
	gw := listen(t, goapi.With(webRoute(service), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		ended <- ""
	})))
	first, _ := open(t, gw)
	open(t, gw)
	got := exchange(t, gw, askHead+"\r\n")
	if finalStatus(got) != 503 || !strings.Contains(got, "Retry-After: 1\r\n") {
		t.Errorf("answer = %q, want 503 with Retry-After", got)
	}
	receive(t, ended)
	first.Close()
	receive(t, ended)
	open(t, gw)
}

// TestWebIdle has connections in which little moves.
func TestWebIdle(t *testing.T) {
	const wait = 4*time.Minute + 59*time.Second
	tests := []struct {
		name    string
		client  func(net.Conn)
		service func(net.Conn)
		want    time.Duration // until the connection ends
	}{
		{"nothing", func(net.Conn) {}, func(net.Conn) {}, 5 * time.Minute},
		{"the client speaks", speak(wait, 10), func(net.Conn) {}, 10*wait + 5*time.Minute},
		{"the service speaks", func(net.Conn) {}, speak(wait, 10), 10*wait + 5*time.Minute},
		{"both do", speak(wait, 1), speak(wait+time.Minute, 1), wait + 6*time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := upgradePipes(t, func(c net.Conn, r *bufio.Reader) {
					go tt.service(c)
					_, _ = io.Copy(io.Discard, r)
				})
				start := time.Now()
				go tt.client(c)
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("the connection ended after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// TestWebClientStopsReading has a client that takes nothing more of what the
// service sends.
func TestWebClientStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		c := upgradePipes(t, func(c net.Conn, _ *bufio.Reader) {
			_, err := c.Write(make([]byte, 1<<20))
			ended <- err
		})
		start := time.Now()
		if _, err := io.ReadFull(c, make([]byte, 1<<10)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("the service could send, want a connection that ends")
		}
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("it ended after %v, want 5m", took)
		}
	})
}

// TestWebEndsWithTheRequest has a server that gives up the requests it serves.
func TestWebEndsWithTheRequest(t *testing.T) {
	service := switching(t, "", func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) })
	srv := httptest.NewUnstartedServer(goapi.With(webRoute(service), webHandler(t, nil)))
	base, cut := context.WithCancel(t.Context())
	srv.Config.BaseContext = func(net.Listener) context.Context { return base }
	srv.Start()
	t.Cleanup(srv.Close)
	_, r := open(t, srv.Listener.Addr().String())
	cut()
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("read error = %v, want the end", err)
	}
}

// speak says something every so often.
func speak(every time.Duration, times int) func(net.Conn) {
	return func(c net.Conn) {
		for range times {
			time.Sleep(every)
			if _, err := io.WriteString(c, "a"); err != nil {
				return
			}
		}
	}
}

// upgradePipes returns an upgraded connection through a gateway to a service.
// No bytes leave the bubble.
func upgradePipes(t *testing.T, talk func(net.Conn, *bufio.Reader)) net.Conn {
	t.Helper()
	h := webHandler(t, &handler.WebOptions{HTTP: handler.HTTPOptions{DialContext: pipeTo(func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if _, err := io.WriteString(c, switchHead+"\r\n"); err == nil {
			talk(c, r)
		}
	})}})
	c := servePipe(t, goapi.With(webRoute("node:80"), h))
	send(t, c, askHead+"\r\n")
	skipHead(t, bufio.NewReaderSize(c, 16)) // nothing follows yet
	return c
}

// closeWrite ends what c is sent.
func closeWrite(t testing.TB, c net.Conn) {
	t.Helper()
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("%T has no CloseWrite", c)
	}
	if err := half.CloseWrite(); err != nil {
		t.Error(err)
	}
}

// reset ends a connection without its end.
func reset(t testing.TB, c net.Conn) {
	t.Helper()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", c)
	}
	if err := errors.Join(tcp.SetLinger(0), tcp.Close()); err != nil {
		t.Error(err)
	}
}
