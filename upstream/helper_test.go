package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("connection refused")

func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("10.0.0.%d:80", i+1)
	}
	return list
}

// nodes returns nodes "1" to n at 10.0.0.1 and following.
func nodes(n int) []*registry.Node {
	list := make([]*registry.Node, 0, n)
	for i, a := range addresses(n) {
		list = append(list, &registry.Node{ID: strconv.Itoa(i + 1), Address: a})
	}
	return list
}

func service(version string, nodes ...*registry.Node) *registry.Service {
	return &registry.Service{Name: "greeter", Version: version, Nodes: nodes}
}

// anything holds for every announcement.
func anything(*registry.Service) bool { return true }

// withVersion holds for the announcements of one version.
func withVersion(v string) func(*registry.Service) bool {
	return func(s *registry.Service) bool { return s.Version == v }
}

// refuse is an attempt that reaches nothing.
func refuse(context.Context, *upstream.Try) error { return errRefused }

// answer is an attempt that succeeds.
func answer(_ context.Context, t *upstream.Try) error {
	t.Sent()
	t.Answered()
	return nil
}

// A fleet is what the nodes of a Set do with attempts, by id; those that are
// not in it answer. It counts the attempts.
type fleet struct {
	does map[string]func(context.Context, *upstream.Try) error

	mu    sync.Mutex
	tries map[string]int
}

func (f *fleet) attempt(ctx context.Context, t *upstream.Try) error {
	f.mu.Lock()
	if f.tries == nil {
		f.tries = make(map[string]int)
	}
	f.tries[t.Node.ID]++
	do := f.does[t.Node.ID]
	f.mu.Unlock()
	if do == nil {
		do = answer
	}
	return do(ctx, t)
}

// count returns how often a node was tried.
func (f *fleet) count(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tries[id]
}

// set changes what a node does.
func (f *fleet) set(id string, do func(context.Context, *upstream.Try) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.does[id] = do
}

// state returns the state of a node of a Set.
func state(t *testing.T, s *upstream.Set, id string) upstream.NodeState {
	t.Helper()
	for _, st := range s.Nodes() {
		if st.Node.ID == id {
			return st
		}
	}
	t.Fatalf("Nodes() has no node %q", id)
	return upstream.NodeState{}
}

// ids returns the ids of a Set's nodes, in order.
func ids(s *upstream.Set) string {
	list := make([]string, 0, s.Len())
	for _, st := range s.Nodes() {
		list = append(list, st.Node.ID)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// greeters returns the Set of a new pool with nodes "1" to n.
func greeters(n int) *upstream.Set {
	return upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", nodes(n)...)}).All()
}
