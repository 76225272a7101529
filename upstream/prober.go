package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/goapi-dev/goapi/registry"
)

// maxProbeBody is how much of the answer to a probe is read, so that the
// connection can be used again.
const maxProbeBody = 4 << 10

// ProbeTCP returns a Prober for nodes that can serve when they accept a
// connection. It dials with dial, which keeps away from addresses that no node
// may have; see [Guard].
func ProbeTCP(dial func(ctx context.Context, network, address string) (net.Conn, error)) Prober {
	return func(ctx context.Context, n *registry.Node) error {
		conn, err := dial(ctx, "tcp", n.Address)
		if err != nil {
			return fmt.Errorf("upstream: probe: %w", err)
		}
		return conn.Close()
	}
}

// ProbeHTTP returns a Prober for nodes that can serve when they answer a GET of
// the URL that url returns with a status from 200 to 399. Redirects are not
// followed.
func ProbeHTTP(t http.RoundTripper, url func(*registry.Node) string) Prober {
	return func(ctx context.Context, n *registry.Node) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(n), http.NoBody)
		if err != nil {
			return fmt.Errorf("upstream: probe: %w", err)
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			return fmt.Errorf("upstream: probe: %w", err)
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, maxProbeBody) // what matters is the status
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("upstream: probe: status %d", resp.StatusCode)
		}
		return nil
	}
}
