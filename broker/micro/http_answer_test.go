package micro_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/registry"
)

// TestHTTPSwitchesProtocols: a subscriber that takes the connection over, and
// keeps it, did not take the message.
func TestHTTPSwitchesProtocols(t *testing.T) {
	reg := new(registry.Memory)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Errorf("reading a request: %v", err)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("Publish() does not return")
		}
	})
	err = reg.Register(t.Context(), &registry.Service{Name: "micro.http.broker", Version: "workers", Nodes: []*registry.Node{{
		ID: "orders-1", Address: l.Addr().String(), Metadata: metadata("orders"),
	}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = openHTTP(t, reg, nil).Publish(bound(t), "orders", &broker.Message{})
	close(ended)
	_ = l.Close()
	serving.Wait()
	if !errors.Is(err, broker.ErrUnavailable) || !strings.Contains(err.Error(), "answered 101") {
		t.Errorf("Publish() error = %v, want ErrUnavailable with the reason", err)
	}
}

// TestHTTPEndlessAnswer: whatever would end the reader of an answer else, its body
// is closed in time.
func TestHTTPEndlessAnswer(t *testing.T) {
	reg := new(registry.Memory)
	newSubscriber(t, reg, "micro.http.broker", "workers", "orders-1", metadata("orders"), 200)
	body, end := io.Pipe()
	defer end.Close()
	client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: body}, nil
	})}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	b := openHTTP(t, reg, &micro.HTTPOptions{Client: client})
	if err := b.Publish(ctx, "orders", &broker.Message{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish() error = %v, want DeadlineExceeded", err)
	}
}
