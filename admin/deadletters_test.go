package admin_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/push"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/router"
	"github.com/goapi-dev/goapi/upstream"
)

// TestClientDeadLetters asks for dead letters of a service that is not there.
func TestClientDeadLetters(t *testing.T) {
	b, pools := new(broker.Memory), upstream.NewPools(nil)
	p := push.New(b, router.NewLive(new(registry.Memory), pools, nil), pools, nil)
	for _, id := range []string{"1", "2"} {
		header := map[string]string{"Goapi-Dead-Letter": "given-up", "Goapi-Dead-Letter-Service": "mailer", "Goapi-Dead-Letter-Topic": "orders"}
		if err := b.Publish(t.Context(), "_dead-letters", &broker.Message{ID: id, Header: header, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(newAPI(t, &admin.Options{Token: "s3cret", DeadLetters: p.Handler()}))
	defer srv.Close()
	c := admin.NewClient(srv.URL, "s3cret")

	list, err := c.DeadLetters(t.Context())
	if err != nil || len(list.DeadLetters) != 2 || list.DeadLetters[1].ID != "2" {
		t.Errorf("DeadLetters = %+v, %v; want both", list, err)
	}
	l, err := c.DeadLetter(t.Context(), "1")
	if err != nil || l.Service != "mailer" || string(l.Body) != "x" {
		t.Errorf("DeadLetter = %+v, %v; want the first", l, err)
	}
	want := "503 service mailer does not ask for topic orders now"
	if err := c.Replay(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Replay = %v, want %s", err, want)
	}
	codes := map[string]int{}
	err = c.ReplayEach(t.Context(), []string{"1", "2", "3", "1"}, func(id string, err error) {
		codes[id] += goapi.Status(err)
	})
	if diff := cmp.Diff(map[string]int{"1": 503, "2": 503, "3": 404}, codes); diff != "" || err != nil {
		t.Errorf("ReplayEach = %v (-want +got):\n%s", err, diff)
	}
	never := func(id string, err error) { t.Errorf("told of %s: %v", id, err) }
	for _, ids := range [][]string{nil, make([]string, 1001)} {
		if err := c.ReplayEach(t.Context(), ids, never); err == nil || !strings.Contains(err.Error(), "1 to 1000 dead letters") {
			t.Errorf("ReplayEach of %d = %v, want how many there may be", len(ids), err)
		}
	}
	if err := admin.NewClient(srv.URL, "wrong").ReplayEach(t.Context(), []string{"1"}, never); goapi.Status(err) != http.StatusUnauthorized {
		t.Errorf("ReplayEach without the token = %v, want 401", err)
	}
}

// TestClientDistrustsReplays has the client read what no gateway answers.
func TestClientDistrustsReplays(t *testing.T) {
	tests := []struct {
		name, answer string
		told         []string
		want         string
	}{
		{"all", `{"id":"1"}` + "\n" + `{"id":"2","error":{"id":"goapi","code":502,"detail":"refused","status":"Bad Gateway"}}`, []string{"1 <nil>", "2 goapi: 502 refused"}, ""},
		{"half", `{"id":"1"}` + "\n", []string{"1 <nil>"}, "broke off before the last 1 of 2"},
		{"none", "", nil, "broke off before the last 2 of 2"},
		{"broken off", `{"id":"1"}{"id":`, []string{"1 <nil>"}, "broke off"},
		{"something else", "<html>", nil, "broke off"},
		{"twice", `{"id":"1"}{"id":"1"}`, []string{"1 <nil>"}, `"1" that was not asked for`},
		{"another", `{"id":"` + strings.Repeat("x", 1000) + `"}`, nil, "x…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.answer) }))
			defer srv.Close()
			var told []string
			err := admin.NewClient(srv.URL, "").ReplayEach(t.Context(), []string{"1", "2"}, func(id string, err error) {
				text := "<nil>"
				if err != nil {
					text = err.Error()
				}
				told = append(told, id+" "+text)
			})
			if !slices.Equal(told, tt.told) {
				t.Errorf("told %q, want %q", told, tt.told)
			}
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || len(err.Error()) > 300) {
				t.Errorf("ReplayEach = %v, want %q", err, tt.want)
			}
		})
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	if err := admin.NewClient(srv.URL, "").ReplayEach(t.Context(), []string{"1"}, nil); !errors.Is(err, admin.ErrNoGateway) {
		t.Errorf("ReplayEach without a gateway = %v, want ErrNoGateway", err)
	}
}
