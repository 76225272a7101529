package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// An event in binary mode is published as JSON. One that is not valid is refused
// with a reason.
func ExampleCloudEvents() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b broker.Memory
	orders, err := b.Subscribe(ctx, "orders", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer orders.Close()
	h := handler.CloudEvents(&b, nil)
	for _, source := range []string{"/shop", ""} {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(`{"item":"tea"}`))
		r.Header.Set("Ce-Specversion", "1.0")
		r.Header.Set("Ce-Type", "com.example.ordered")
		r.Header.Set("Ce-Source", source)
		r.Header.Set("Ce-Id", "7")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Print(w.Body)
	}
	d, err := orders.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", d.Body)
	// Output:
	// {"id":"7"}
	// {"id":"goapi","code":400,"detail":"invalid CloudEvent: source: it is empty","status":"Bad Request"}
	// {"specversion":"1.0","id":"7","source":"/shop","type":"com.example.ordered","datacontenttype":"application/json","data":{"item":"tea"}}
}
