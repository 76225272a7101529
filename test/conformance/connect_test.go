package conformance_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// notGRPC is a case whose request is none of gRPC, an image. Its status, 415, is
// right; but the suite takes any JSON of an error for that of the Connect
// protocol, and the gateway has a form of its own.
const notGRPC = "**/unexpected-content-type"

// TestConnect has the clients of the Connect conformance suite call its server
// through the gateway: those made with connect-go, and those made with grpc-go.
func TestConnect(t *testing.T) {
	runner := tool(t, "connectrpc.com/conformance/cmd/connectconformance")
	reference := tool(t, "connectrpc.com/conformance/cmd/referenceserver")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		config string
		cases  int // there are at least so many
	}{
		{"gRPC in clear text", "grpc.yaml", 1181},
		{"gRPC-Web in clear text", "grpcweb.yaml", 1894},
		{"both over TLS", "tls.yaml", 732},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := exec.CommandContext(t.Context(), runner, "--mode", "server", "--conf", filepath.Join("testdata", tt.config),
				"--skip", notGRPC, "--", self)
			run.Env = append(os.Environ(), envServer+"="+reference)
			out, err := run.CombinedOutput()
			cases, passed, failed := totals(out)
			t.Logf("Connect suite, %s: %d cases, %d passed, %d failed", tt.name, cases, passed, failed)
			if err != nil || failed != 0 || passed != cases || cases < tt.cases {
				t.Errorf("%d of %d cases passed, %d failed, %v; want all of at least %d\n%s", passed, cases, failed, err, tt.cases, out)
			}
		})
	}
}

// totals reads the last lines of the runner.
func totals(out []byte) (cases, passed, failed int) {
	m := regexp.MustCompile(`Total cases: (\d+)\n(\d+) passed, (\d+) failed`).FindSubmatch(out)
	if m == nil {
		return 0, 0, 0
	}
	number := func(b []byte) int {
		n, _ := strconv.Atoi(string(b)) // digits
		return n
	}
	return number(m[1]), number(m[2]), number(m[3])
}

// serveBehindGateway is a server as the runner wants it: it reads what to serve,
// says where, and serves until ctx is done. The server itself is command, which
// is such a server too, and never speaks anything but gRPC in clear text.
func serveBehindGateway(ctx context.Context, command string, in io.Reader, out io.Writer) error {
	asked, err := readMessage(in)
	if err != nil {
		return err
	}
	want, err := decodeRequest(asked)
	if err != nil {
		return err
	}
	backend := exec.CommandContext(ctx, command)
	backend.Cancel = func() error { return backend.Process.Signal(os.Interrupt) }
	backend.Stderr = os.Stderr
	stdin, err := backend.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := backend.StdoutPipe()
	if err != nil {
		return err
	}
	if err = backend.Start(); err != nil {
		return err
	}
	defer func() {
		_ = backend.Process.Kill() // if it lives yet
		_ = backend.Wait()
	}()
	if err = writeMessage(stdin, want.forBackend()); err != nil {
		return err
	}
	answered, err := readMessage(stdout)
	if err != nil {
		return err
	}
	address, err := decodeAddress(answered)
	if err != nil {
		return err
	}
	var conf *tls.Config
	if want.tls {
		pair, err := tls.X509KeyPair(want.cert, want.key)
		if err != nil {
			return err
		}
		conf = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	gateway, run, err := listen(ctx, "connectrpc.conformance.v1", address, conf)
	if err != nil {
		return err
	}
	if err = writeMessage(out, encodeAddress(gateway.Addr().String(), want.cert)); err != nil {
		return err
	}
	return run(ctx)
}

// Messages between the runner and a server are each preceded by their length.

func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeMessage(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...))
	return err
}

// The fields of connectrpc.conformance.v1.ServerCompatRequest, of its TLSCreds,
// and of ServerCompatResponse, whose Go is internal to the suite.
const (
	requestProtocol = 1
	requestVersion  = 2
	requestTLS      = 4
	requestLimit    = 6
	requestCreds    = 7

	credsCert = 1
	credsKey  = 2

	responseHost = 1
	responsePort = 2
	responseCert = 3

	protocolGRPC = 2 // PROTOCOL_GRPC
	versionHTTP2 = 2 // HTTP_VERSION_2
)

// compatRequest is what the runner wants served.
type compatRequest struct {
	tls       bool
	limit     uint64
	cert, key []byte
}

func decodeRequest(msg []byte) (*compatRequest, error) {
	r := new(compatRequest)
	var creds []byte
	err := fields(msg, func(num protowire.Number, n uint64, b []byte) {
		switch num {
		case requestTLS:
			r.tls = n != 0
		case requestLimit:
			r.limit = n
		case requestCreds:
			creds = b
		}
	})
	return r, errors.Join(err, fields(creds, func(num protowire.Number, _ uint64, b []byte) {
		switch num {
		case credsCert:
			r.cert = b
		case credsKey:
			r.key = b
		}
	}))
}

// forBackend returns the request as it goes to the server behind the gateway.
func (r *compatRequest) forBackend() []byte {
	var msg []byte
	for _, f := range []struct {
		num   protowire.Number
		value uint64
	}{{requestProtocol, protocolGRPC}, {requestVersion, versionHTTP2}, {requestLimit, r.limit}} {
		msg = protowire.AppendTag(msg, f.num, protowire.VarintType)
		msg = protowire.AppendVarint(msg, f.value)
	}
	return msg
}

func decodeAddress(msg []byte) (string, error) {
	var host, port string
	err := fields(msg, func(num protowire.Number, n uint64, b []byte) {
		switch num {
		case responseHost:
			host = string(b)
		case responsePort:
			port = strconv.FormatUint(n, 10)
		}
	})
	return net.JoinHostPort(host, port), err
}

func encodeAddress(address string, cert []byte) []byte {
	host, portText, _ := net.SplitHostPort(address) // of a listener
	port, _ := strconv.ParseUint(portText, 10, 16)
	var msg []byte
	msg = protowire.AppendTag(msg, responseHost, protowire.BytesType)
	msg = protowire.AppendString(msg, host)
	msg = protowire.AppendTag(msg, responsePort, protowire.VarintType)
	msg = protowire.AppendVarint(msg, port)
	msg = protowire.AppendTag(msg, responseCert, protowire.BytesType)
	return protowire.AppendBytes(msg, cert)
}

// fields calls each with the fields of a message: numbers in n, and what has a
// length in b.
func fields(msg []byte, each func(num protowire.Number, n uint64, b []byte)) error {
	for len(msg) > 0 {
		num, kind, size := protowire.ConsumeTag(msg)
		if size < 0 {
			return protowire.ParseError(size)
		}
		msg = msg[size:]
		var n uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, size = protowire.ConsumeBytes(msg)
		default:
			size = protowire.ConsumeFieldValue(num, kind, msg)
		}
		if size < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(size))
		}
		msg = msg[size:]
		each(num, n, bytes.Clone(b))
	}
	return nil
}
