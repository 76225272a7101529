package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/server"
)

// envServer makes this test binary a server alone in its process: its value is
// the scheme.
const envServer = "GOAPI_TEST_SERVER"

func TestMain(m *testing.M) {
	if scheme := os.Getenv(envServer); scheme != "" {
		if err := serveAlone(scheme); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// serveAlone writes its address, and serves at /size how many pages the memory of
// its process has.
func serveAlone(scheme string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := &server.Options{}
	if scheme == "https" {
		opts.TLS = &tls.Config{Certificates: testCertificates(), MinVersion: tls.VersionTLS12}
	}
	s, err := server.Listen(ctx, "127.0.0.1:0", opts)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, s.Addr())
	return s.Run(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/size" {
			return
		}
		debug.FreeOSMemory()
		var size, resident int
		b, err := os.ReadFile("/proc/self/statm")
		if err == nil {
			_, err = fmt.Sscan(string(b), &size, &resident)
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(w, resident)
	}))
}

// testCertificates returns that of package httptest.
func testCertificates() []tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates
}
