package upstream

import (
	"context"
	"testing"

	"github.com/goapi-dev/goapi/registry"
)

// TestAnsweredAsItIsGivenUp has an answer come between the decision to give a try
// up and the end of its context: who looks at the context after Answered sees that
// it has ended.
func TestAnsweredAsItIsGivenUp(t *testing.T) {
	set := NewPools(nil).Update("greeter", []*registry.Service{{Name: "greeter", Nodes: []*registry.Node{{ID: "1", Address: "h:1"}}}}).All()
	err := set.Do(t.Context(), Call{}, func(ctx context.Context, try *Try) error {
		try.state.Or(hasExpired) // as the alarm does, which is about to end the context
		if ctx.Err() != nil {
			t.Fatal("the context has ended before the answer")
		}
		try.Answered()
		if ctx.Err() == nil {
			t.Error("the context has not ended after the answer")
		}
		return context.Cause(ctx)
	})
	if timeout, ok := err.(interface{ Timeout() bool }); !ok || !timeout.Timeout() {
		t.Errorf("Do = %v, want that the try has timed out", err)
	}
}
