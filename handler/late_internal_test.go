package handler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestLateContext holds that a context ends as that of the standard library
// would, whether somebody has waited for its end before or not.
func TestLateContext(t *testing.T) {
	type key struct{}
	tests := []struct {
		name string
		end  func(c *lateContext, parent context.CancelFunc)
		want error
	}{
		{"not at all", func(*lateContext, context.CancelFunc) {}, nil},
		{"by its time", func(*lateContext, context.CancelFunc) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
		{"with its parent", func(_ *lateContext, parent context.CancelFunc) { parent() }, context.Canceled},
		{"by who made it", func(c *lateContext, _ context.CancelFunc) { c.cancel() }, context.Canceled},
	}
	for _, tt := range tests {
		for _, early := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, end := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
					defer end()
					c := within(parent, time.Minute)
					defer c.cancel()
					if early {
						<-waited(c)
					}
					tt.end(c, end)
					synctest.Wait()
					if got := c.Err(); !errors.Is(got, tt.want) {
						t.Errorf("Err() = %v, want %v", got, tt.want)
					}
					select {
					case <-c.Done():
						if tt.want == nil {
							t.Error("Done() is closed")
						}
					default:
						if tt.want != nil {
							t.Error("Done() is not closed")
						}
					}
					if got := c.Err(); !errors.Is(got, tt.want) {
						t.Errorf("Err() after Done() = %v, want %v", got, tt.want)
					}
					if c.Value(key{}) != "v" {
						t.Error("Value() is not the parent's")
					}
				})
			})
		}
	}
}

// waited returns a channel that is closed once somebody waits for the end of a
// context, and of one that is made of it.
func waited(c context.Context) <-chan struct{} {
	ready := make(chan struct{})
	go func() { // ends with c
		child, cancel := context.WithCancel(c)
		defer cancel()
		done := child.Done()
		close(ready)
		<-done
	}()
	return ready
}

func TestLateContextDeadline(t *testing.T) {
	parent, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	want, _ := parent.Deadline()
	if got, ok := within(parent, time.Minute).Deadline(); got != want || !ok {
		t.Errorf("Deadline() = %v, %v; want the parent's, %v", got, ok, want)
	}
	if got, _ := within(parent, time.Millisecond).Deadline(); !got.Before(want) {
		t.Errorf("Deadline() = %v, want one before the parent's, %v", got, want)
	}
}
