package push

import (
	"net/http"

	"github.com/goapi-dev/goapi/client"
)

func newTransport(o *client.Options) *http.Transport { _ = o.OrDefault(); return new(http.Transport) }
