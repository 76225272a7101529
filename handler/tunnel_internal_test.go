package handler

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestTunnelEnds has one end stop in many ways. What the other end must see is
// the same way, or the nearest that there is.
func TestTunnelEnds(t *testing.T) {
	conf := selfSigned(t)
	plain := func(near, far net.Conn) (net.Conn, net.Conn) { return near, far }
	secure := func(near, far net.Conn) (net.Conn, net.Conn) { return tls.Server(near, conf), tls.Client(far, conf) }
	reset := func(c net.Conn) {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		_ = c.(*net.TCPConn).SetLinger(0) // what the other side reads is the test
		_ = c.Close()
	}
	good := func(c net.Conn) { _ = c.Close() }
	tests := []struct {
		name         string
		client, node func(near, far net.Conn) (net.Conn, net.Conn)
		stop         func(net.Conn)
		want         error
	}{
		{"end", plain, plain, good, io.EOF},
		{"end, to TLS", plain, secure, good, io.EOF},
		{"end, from TLS", secure, plain, good, io.EOF},
		{"reset", plain, plain, reset, syscall.ECONNRESET},
		{"reset, to TLS", plain, secure, reset, syscall.ECONNRESET},
		{"reset, from TLS", secure, plain, reset, syscall.ECONNRESET},
		{"reset, TLS on both sides", secure, secure, reset, syscall.ECONNRESET},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, node := tunnelBetween(t, tt.client, tt.node)
			for _, c := range []struct{ from, to net.Conn }{{client, node}, {node, client}} { // also shakes hands
				go func() { _, _ = c.from.Write([]byte("hello")) }() // what arrives is the test
				if _, err := io.ReadFull(c.to, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
			}
			tt.stop(client)
			if _, err := node.Read(make([]byte, 1)); !errors.Is(err, tt.want) {
				t.Errorf("read error = %v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzTunnel sends bytes in pieces of any size in both directions at once: each
// side must get what the other sent, as it was, and then its end.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte("hello"), []byte(""), uint16(1))
	f.Add(bytes.Repeat([]byte("x"), 3*tunnelSize+1), bytes.Repeat([]byte("y"), tunnelSize), uint16(tunnelSize))
	f.Fuzz(func(t *testing.T, a, b []byte, size uint16) {
		plain := func(near, far net.Conn) (net.Conn, net.Conn) { return near, far }
		client, node := tunnelBetween(t, plain, plain)
		say := func(c net.Conn, p []byte) {
			step := int(size) + 1
			for len(p) > 0 {
				n, err := c.Write(p[:min(step, len(p))])
				if err != nil {
					return // the other side misses it
				}
				p = p[n:]
			}
			_ = c.(*net.TCPConn).CloseWrite() // the other side misses it
		}
		go say(client, a)
		go say(node, b)
		for _, side := range []struct {
			name string
			conn net.Conn
			want []byte
		}{{"node", node, a}, {"client", client, b}} {
			if got, err := io.ReadAll(side.conn); err != nil || !bytes.Equal(got, side.want) {
				t.Errorf("the %s has read %d bytes, %v, want %d", side.name, len(got), err, len(side.want))
			}
		}
	})
}

// BenchmarkTunnel guards what a message costs that goes there and back.
func BenchmarkTunnel(b *testing.B) {
	plain := func(near, far net.Conn) (net.Conn, net.Conn) { return near, far }
	client, node := tunnelBetween(b, plain, plain)
	go func() { _, _ = io.Copy(node, node) }() // ends with the connection
	message := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, message); err != nil {
			b.Fatal(err)
		}
	}
}

// tunnelBetween returns the far ends of the two connections of a tunnel, which
// wrap may lay something around.
func tunnelBetween(t testing.TB, client, node func(near, far net.Conn) (net.Conn, net.Conn)) (c, n net.Conn) {
	t.Helper()
	nearClient, c := client(tcpPair(t))
	nearNode, n := node(tcpPair(t))
	pool := new(tunnelBuffers)
	tun := newTunnel(newEnd(nearClient, nil, pool), newEnd(nearNode, nil, pool), time.Minute)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tun.run(context.Background())
	}()
	t.Cleanup(func() {
		_ = c.Close() // may be closed
		_ = n.Close()
		tun.close()
		<-done
	})
	return c, n
}

// tcpPair returns both ends of a connection.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// selfSigned returns what both ends of a TLS connection need.
func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"goapi.test"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: roots,
		ServerName: "goapi.test", MinVersion: tls.VersionTLS13,
	}
}
