package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog takes the server's log to slog, and keeps what the server calls
// fatal: it does not return it, and must not end the process.
type serverLog struct {
	log   *slog.Logger
	debug bool

	mu    sync.Mutex
	cause error
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, debug: log.Enabled(context.Background(), slog.LevelDebug)}
}

// fatal returns the first fatal message as an error, or nil.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Noticef is the server's chatter about itself: what it tells at each start is
// detail to whoever runs a gateway.
func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Warnf implements the server's Logger.
func (l *serverLog) Warnf(format string, v ...any) { l.write(slog.LevelWarn, format, v) }

// Errorf implements the server's Logger.
func (l *serverLog) Errorf(format string, v ...any) { l.write(slog.LevelError, format, v) }

// Debugf implements the server's Logger.
func (l *serverLog) Debugf(format string, v ...any) { l.write(slog.LevelDebug, format, v) }

// Tracef implements the server's Logger. It is never turned on: it would log
// what messages hold.
func (l *serverLog) Tracef(string, ...any) {}

// Fatalf keeps the message for whoever starts the server.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = errors.New(fmt.Sprintf(format, v...)) //nolint:staticcheck // the format is the server's
	}
}

func (l *serverLog) write(level slog.Level, format string, v []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "nats server", slog.String("said", fmt.Sprintf(format, v...)))
	}
}
