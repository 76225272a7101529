package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/goapi-dev/goapi/registry"
)

// TestGRPC calls a server of gRPC, which announces no route, through the
// gateway: once, as a stream, and where nobody serves; in clear text and over
// TLS.
func TestGRPC(t *testing.T) {
	cert, key, pool := certificate(t)
	for _, tt := range []struct {
		name  string
		flags []string
		creds credentials.TransportCredentials
	}{
		{"clear text", nil, insecure.NewCredentials()},
		{"TLS", []string{"--tls-cert", cert, "--tls-key", key}, credentials.NewClientTLSFromCert(pool, "localhost")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startGateway(t, tt.flags...)
			p.register(&registry.Service{Name: "grpc.health.v1", Version: "1", Nodes: []*registry.Node{healthNode(t)}}, 0)
			conn, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(tt.creds))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c, want := grpc_health_v1.NewHealthClient(conn), grpc_health_v1.HealthCheckResponse_SERVING
			if rsp, err := c.Check(t.Context(), new(grpc_health_v1.HealthCheckRequest)); err != nil || rsp.GetStatus() != want {
				t.Errorf("Check = %v, %v; want %v", rsp, err, want)
			}
			watch, err := c.Watch(t.Context(), new(grpc_health_v1.HealthCheckRequest))
			if err != nil {
				t.Fatal(err)
			}
			if rsp, err := watch.Recv(); err != nil || rsp.GetStatus() != want {
				t.Errorf("Watch = %v, %v; want %v", rsp, err, want)
			}
			if err := conn.Invoke(t.Context(), "/no.such.Service/Call", new(grpc_health_v1.HealthCheckRequest), new(grpc_health_v1.HealthCheckResponse)); status.Code(err) != codes.Unimplemented {
				t.Errorf("a call of nobody's method = %v, want %v", err, codes.Unimplemented)
			}
		})
	}
}

// healthNode starts a server of grpc.health.v1 in this process.
func healthNode(t *testing.T) *registry.Node {
	t.Helper()
	l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &registry.Node{ID: "health-1", Address: l.Addr().String(), Metadata: map[string]string{"protocol": "grpc"}}
}

// certificate writes a certificate for localhost and its key to files, and
// returns them with a pool that trusts it.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), pool
}
