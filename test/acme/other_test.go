package acme_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/server/acme"
)

// envOther makes this test binary a gateway of its own: its value is other, in
// JSON.
const envOther = "GOAPI_TEST_OTHER"

// other is a gateway that nobody asks for proof.
type other struct {
	NATS, Directory, HTTP, TLS, Name string
	Trust                            []byte
}

// start returns when the gateway has its certificate, and has ended.
func (o other) start(t *testing.T) error {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envOther+"="+string(text))
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the other gateway: %w: %s", err, &out)
	}
	return nil
}

// runOther has a certificate issued.
func runOther(text string) error {
	var o other
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	conn, err := natsgo.Connect("nats://" + o.NATS)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	storage, err := acme.NATS(ctx, conn, nil)
	if err != nil {
		return err
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(o.Trust)
	m, err := acme.New(storage, &acme.Options{
		Domains: []string{o.Name}, Directory: o.Directory, Roots: trust, HTTP: o.HTTP, TLS: o.TLS,
	})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for ctx.Err() == nil {
		keys, _ := storage.List(ctx, "certificates", true)
		if slices.ContainsFunc(keys, func(k string) bool { return path.Base(k) == o.Name+".json" }) { // the last that is stored
			cancel()
			return <-done
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}
