package handler_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/handler"
)

// A browser's EventSource receives what others publish on the topics that it
// may receive.
func ExampleBroker() {
	h := handler.Broker(new(broker.Memory), &handler.BrokerOptions{
		Publish:   []string{"orders.*"},
		Subscribe: []string{"orders.*"},
	})
	srv := httptest.NewServer(h)
	defer srv.Close()
	if err := exampleBroker(srv.URL + "/?topic=orders.new"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 202 Accepted
	// data: one tea
}

func exampleBroker(url string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"&format=raw", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	events, err := new(http.Transport).RoundTrip(r)
	if err != nil {
		return err
	}
	defer events.Body.Close()

	r, err = http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("one tea"))
	if err != nil {
		return err
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	fmt.Println(res.Status)

	lines := bufio.NewScanner(events.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data:") {
			fmt.Println(lines.Text())
			return nil
		}
	}
	return lines.Err()
}
