package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
	"github.com/goapi-dev/goapi/proto"
)

// Any request below the mount is published, on the topic that its path names.
func ExampleEvent() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b broker.Memory
	signups, err := b.Subscribe(ctx, "users", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer signups.Close()

	mux := http.NewServeMux()
	mux.Handle("/events/", http.StripPrefix("/events", handler.Event(&b, nil)))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/events/users/signup", strings.NewReader(`{"name":"john"}`)))
	fmt.Println(w.Code)

	d, err := signups.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	var e proto.Event
	if err := json.Unmarshal(d.Body, &e); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.GetName(), e.GetData())
	// Output:
	// 202
	// signup {"name":"john"}
}
