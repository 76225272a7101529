package handler_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/goapi-dev/goapi/handler"
)

func TestCloudEventsWebhook(t *testing.T) {
	ask := func(opts *handler.CloudEventsOptions, header ...string) *httptest.ResponseRecorder {
		b := new(tap)
		w := sendEvent(handler.CloudEvents(b, opts), http.MethodOptions, "/a", "", header...)
		if len(b.came) > 0 {
			t.Error("a request for permission was published")
		}
		return w
	}
	some := &handler.CloudEventsOptions{WebhookOrigins: []string{"emitter.example.com", "*.apps.example.com"}, WebhookRate: 100}
	all := &handler.CloudEventsOptions{WebhookOrigins: []string{"*"}}
	const origin, asked = "WebHook-Request-Origin", "WebHook-Request-Rate"
	tests := []struct {
		name   string
		opts   *handler.CloudEventsOptions
		header []string
		status int
		rate   string
	}{
		{"default", nil, []string{origin, "emitter.example.com"}, 403, ""},
		{"listed", some, []string{origin, "emitter.example.com"}, 200, "100"},
		{"listed, in capitals", some, []string{origin, "Emitter.Example.COM"}, 200, "100"},
		{"below one that is listed", some, []string{origin, "a.b.apps.example.com"}, 200, "100"},
		{"not below", some, []string{origin, "apps.example.com"}, 403, ""},
		{"not listed", some, []string{origin, "evil.test"}, 403, ""},
		{"a lower rate", some, []string{origin, "emitter.example.com", asked, "7"}, 200, "7"},
		{"a higher rate", some, []string{origin, "emitter.example.com", asked, "700"}, 200, "100"},
		{"any", all, []string{origin, "any.test"}, 200, "*"},
		{"any, with a rate", all, []string{origin, "any.test", asked, "7"}, 200, "*"},
		{"with a callback", all, []string{origin, "any.test", "WebHook-Request-Callback", "http://127.0.0.1:1/"}, 200, "*"},
		{"no rate", all, []string{origin, "any.test", asked, "0"}, 400, ""},
		{"a word for a rate", all, []string{origin, "any.test", asked, "all"}, 400, ""},
		{"two rates", all, []string{origin, "any.test", asked, "1", asked, "2"}, 400, ""},
		{"no host", all, []string{origin, "a b"}, 400, ""},
		{"empty", all, []string{origin, ""}, 400, ""},
		{"two senders", all, []string{origin, "a.test", origin, "b.test"}, 400, ""},
		{"nobody asks", all, nil, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(tt.opts, tt.header...)
			h := w.Header()
			if w.Code != tt.status || h.Get("Webhook-Allowed-Rate") != tt.rate || (h.Get("Webhook-Allowed-Origin") != "") != (tt.rate != "") {
				t.Errorf("answer = %d %v, want %d with the rate %q", w.Code, h, tt.status, tt.rate)
			}
			if tt.rate != "" && h.Get("Webhook-Allowed-Origin") != tt.header[1] || tt.status == 200 && h.Get("Allow") != "POST" {
				t.Errorf("header = %v, want the origin that asked, and Allow: POST", h)
			}
		})
	}
	b := new(tap)
	wantError(t, postEvent(handler.CloudEvents(b, some), "/a", "x", inHeaders(origin, "evil.test")...), http.StatusForbidden, "evil.test")
	acceptedID(t, postEvent(handler.CloudEvents(b, some), "/a", "x", inHeaders(origin, "emitter.example.com")...))
	limited := &handler.CloudEventsOptions{WebhookOrigins: []string{"*"}, Publish: handler.PublishOptions{Topics: []string{"b"}}}
	if w := ask(limited, origin, "a.test"); w.Code != http.StatusForbidden || w.Header().Get("Webhook-Allowed-Origin") != "" {
		t.Errorf("for a topic that is not open: %d %v, want 403 without permission", w.Code, w.Header())
	}
}
