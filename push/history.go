package push

import (
	"context"
	"errors"
)

var errNotYet = errors.New("push: not built")

// DeadLetters lists the dead letters, without their headers and bodies. It
// needs a broker with [broker.Capabilities.History] and Ordered. Errors of this
// and the next two are [*goapi.Error].
func (p *Pusher) DeadLetters(ctx context.Context) (*DeadLetterList, error) { return nil, errNotYet }

// DeadLetter returns a dead letter, whole.
func (p *Pusher) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) { return nil, errNotYet }

// Replay pushes a dead letter again, once and to its service only. When that
// succeeds it is listed no more.
func (p *Pusher) Replay(ctx context.Context, id string) error { return errNotYet }
