package micro_test

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/broker/micro"
	"github.com/goapi-dev/goapi/registry"
)

func ExampleMarshal() {
	data, err := micro.Marshal("greeter.hello", &broker.Message{
		ID:     "1",
		Header: map[string]string{"Content-Type": "application/json"},
		Body:   []byte(`{"name":"john"}`),
		Time:   time.Unix(0, 0),
	})
	fmt.Println(string(data), err)
	// Output: {"Header":{"Content-Type":"application/json","Goapi-Mark":"1970-01-01T00:00:00Z greeter.hello 1","Micro-Id":"1","Micro-Topic":"greeter.hello"},"Body":"eyJuYW1lIjoiam9obiJ9"} <nil>
}

func ExampleHTTP() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var reg registry.Memory // services of go-micro use the same
	b, err := micro.OpenHTTP(ctx, &url.URL{Scheme: "http+micro"}, &reg, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	s, err := b.Subscribe(ctx, "greeter.hello", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := b.Publish(ctx, "greeter.hello", &broker.Message{Body: []byte("hello")}); err != nil {
		fmt.Println(err)
		return
	}
	d, err := s.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", d.Topic, d.Body)
	// Output: greeter.hello: hello
}
