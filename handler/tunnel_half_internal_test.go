package handler

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestTunnelHalf has a client that has ended what it sends, and may be gone: a
// service that neither ends nor sends anything then is not waited for as long
// as one of a client that is there.
func TestTunnelHalf(t *testing.T) {
	const short = 10 * time.Second
	tests := []struct {
		name string
		idle time.Duration
		end  bool          // whether the client ends what it sends, after a minute
		node time.Duration // how often the service sends something then, five times
		want time.Duration
	}{
		{"both are there", 5 * time.Minute, false, 0, 5 * time.Minute},
		{"the client has ended", 5 * time.Minute, true, 0, time.Minute + halfIdle},
		{"and the service sends", 5 * time.Minute, true, 29 * time.Second, time.Minute + 5*29*time.Second + halfIdle},
		{"a tunnel of little patience", 2*time.Minute - short, false, 0, 2*time.Minute - short},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nearClient, client := halfPipes()
				nearNode, node := halfPipes()
				pool := new(tunnelBuffers)
				go func() {
					newTunnel(newEnd(nearClient, nil, pool), newEnd(nearNode, nil, pool), tt.idle).run(context.Background())
				}()
				start := time.Now()
				go func() {
					time.Sleep(time.Minute)
					if tt.end {
						_ = client.CloseWrite() // of a pipe: cannot fail
					}
				}()
				go func() {
					if _, err := io.ReadAll(node); tt.node == 0 {
						return
					} else if err != nil {
						t.Error(err)
					}
					for range 5 {
						time.Sleep(tt.node)
						if _, err := node.Write([]byte("x")); err != nil {
							t.Error(err)
						}
					}
				}()
				if _, err := io.Copy(io.Discard, client); err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Error(err)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("the connection ended after %v, want %v", took, tt.want)
				}
				synctest.Wait()
				time.Sleep(time.Minute) // until the client has ended
			})
		})
	}
}

// halfPipe is an end of a connection in memory, whose directions end one by one.
type halfPipe struct {
	net.Conn // nil: deadlines are not set

	in  *io.PipeReader
	out *io.PipeWriter
}

// halfPipes returns both ends of a connection.
func halfPipes() (near, far *halfPipe) {
	a, b := io.Pipe()
	c, d := io.Pipe()
	return &halfPipe{in: a, out: d}, &halfPipe{in: c, out: b}
}

func (p *halfPipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *halfPipe) Write(b []byte) (int, error) { return p.out.Write(b) }
func (p *halfPipe) CloseWrite() error           { return p.out.Close() }

func (p *halfPipe) Close() error {
	_ = p.in.Close() // of a pipe: cannot fail
	return p.out.Close()
}
