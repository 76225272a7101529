// Package nats connects to NATS: one connection for each URL, shared by all
// that use it, and a server with JetStream that runs inside this process.
//
// [Conns] opens connections and counts who uses them. A connection comes back
// by itself for as long as somebody holds it; meanwhile whatever is published
// on it fails at once and is never kept for later. [Start] starts a [Server],
// which the URL "embedded:" stands for.
package nats

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// ErrUnavailable is returned when no server of a URL can be reached.
var ErrUnavailable = errors.New("nats: unavailable")

const (
	// connectTimeout bounds the attempt to reach one server.
	connectTimeout = 2 * time.Second
	// pingInterval and maxPings bound how long a connection whose other end
	// vanished looks alive.
	pingInterval = 10 * time.Second
	maxPings     = 2
	// minDelay and maxDelay bound the wait between attempts to come back.
	minDelay = 50 * time.Millisecond
	maxDelay = 2 * time.Second
)

// connOptions are what all connections have in common; where is how logs name
// the server.
func connOptions(name, where string, log *slog.Logger) []natsgo.Option {
	log = log.With(slog.String("url", where))
	return []natsgo.Option{
		natsgo.Name(name),
		natsgo.Timeout(connectTimeout),
		natsgo.PingInterval(pingInterval),
		natsgo.MaxPingsOutstanding(maxPings),
		natsgo.MaxReconnects(-1),
		natsgo.CustomReconnectDelay(reconnectDelay),
		natsgo.IgnoreAuthErrorAbort(), // a token that is wrong for now may be right again
		natsgo.ReconnectBufSize(-1),
		natsgo.NoCallbacksAfterClientClose(),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			log.Warn("connection to NATS lost", slog.Any("error", err))
		}),
		natsgo.ReconnectHandler(func(*natsgo.Conn) {
			log.Info("connection to NATS is back")
		}),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			log.Warn("connection to NATS", slog.Any("error", err))
		}),
	}
}

// reconnectDelay returns how long to wait once all servers have been tried n
// times. It is never the same for all clients of a server that went away.
func reconnectDelay(n int) time.Duration {
	d := maxDelay
	if n < 6 { // 50 ms × 2⁵ is near enough to 2 s
		d = minDelay << max(n-1, 0)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // jitter is no secret
}

// orDiscard returns log, or one that is silent.
func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
