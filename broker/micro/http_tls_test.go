package micro_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/registry"
)

// TestHTTPCertificates: subscribers that are secure with a certificate of their
// own making, as those of go-micro are, are posted to if that is asked for.
func TestHTTPCertificates(t *testing.T) {
	for _, tt := range []struct {
		url     string
		client  *http.Client
		reached bool
	}{
		{"http+micro:", nil, false},
		{"http+micro:?verify=true", nil, false},
		{"http+micro:?verify=false", nil, true},
		{"http+micro:?verify=false", &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "other"}}}, true},
	} {
		t.Run(tt.url, func(t *testing.T) {
			reg := new(registry.Memory)
			posts := make(chan string, 1)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { posts <- r.RequestURI }))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			t.Cleanup(s.Close)
			err := reg.Register(t.Context(), &registry.Service{Name: "micro.http.broker", Version: "ff.http.broadcast", Nodes: []*registry.Node{{
				ID: "orders-1", Address: s.Listener.Addr().String(), Metadata: map[string]string{"broker": "http", "topic": "orders", "secure": "true"},
			}}}, 0)
			if err != nil {
				t.Fatal(err)
			}
			b, err := micro.OpenHTTP(t.Context(), mustParse(t, tt.url), reg, &micro.HTTPOptions{Client: tt.client})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			err = b.Publish(bound(t), "orders", &broker.Message{ID: "1"})
			if got := len(posts) == 1; got != tt.reached || tt.reached != (err == nil) {
				t.Errorf("Publish() = %v with %d posts, want it posted: %v", err, len(posts), tt.reached)
			}
			if tt.client != nil && tt.client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify {
				t.Error("the caller's client was changed")
			}
		})
	}
	client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.EOF })}
	if b, err := micro.OpenHTTP(t.Context(), mustParse(t, "http+micro:?verify=false"), new(registry.Memory), &micro.HTTPOptions{Client: client}); err == nil {
		b.Close()
		t.Error("OpenHTTP() with a client that cannot = nil, want an error")
	}
}
