package upstream_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/upstream"
)

// placed returns which node each of n users is served by.
func placed(t *testing.T, set *upstream.Set, n int) []string {
	t.Helper()
	list := make([]string, n)
	for i := range list {
		list[i] = servedBy(t, set, "header:X-User", http.Header{"X-User": {fmt.Sprint("user-", i)}})
	}
	return list
}

// servedBy returns the id of the node that serves a request.
func servedBy(t *testing.T, set *upstream.Set, by string, h http.Header) (id string) {
	t.Helper()
	err := set.Do(t.Context(), upstream.Call{Policy: &upstream.Policy{HashBy: by}, Header: h}, func(ctx context.Context, try *upstream.Try) error {
		id = try.Node.ID
		return answer(ctx, try)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestHashByMovesOnlyWhatItMust(t *testing.T) {
	const users = 2000
	pools := upstream.NewPools(nil)
	all := pools.Update("greeter", []*registry.Service{service("1", nodes(5)...)}).All()
	before := placed(t, all, users)
	counts := make(map[string]int)
	for i, id := range placed(t, all, users) {
		if id != before[i] {
			t.Fatalf("user %d went to node %s, then to %s", i, before[i], id)
		}
		counts[id]++
	}
	for id, n := range counts {
		if !about(n, users/5) {
			t.Errorf("node %s has %d of %d users, want about %d", id, n, users, users/5)
		}
	}
	pools.Update("greeter", []*registry.Service{service("1", nodes(4)...)})
	for i, id := range placed(t, all, users) {
		if id != before[i] && before[i] != "5" {
			t.Fatalf("user %d moved from node %s to %s when 5 left", i, before[i], id)
		}
	}
	pools.Update("greeter", []*registry.Service{service("1", nodes(6)...)})
	for i, id := range placed(t, all, users) {
		if id != before[i] && id != "6" {
			t.Fatalf("user %d moved from node %s to %s when 6 came", i, before[i], id)
		}
	}
}

func TestHashByWeighs(t *testing.T) {
	set := upstream.NewPools(nil).Update("greeter", []*registry.Service{service("1", with("1", "weight", "1"), with("2", "weight", "3"))}).All()
	n := 0
	for _, id := range placed(t, set, 4000) {
		if id == "1" {
			n++
		}
	}
	if !about(n, 1000) {
		t.Errorf("a node of weight 1 beside one of 3 has %d of 4000 users, want about 1000", n)
	}
}

func TestHashByLeavesANodeThatIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := greeters(3)
		before := placed(t, set, 300)
		f := &fleet{does: attempts{"1": refuse}}
		untilTried(t, "1", set, f)
		for i, id := range placed(t, set, 300) {
			if id == "1" || id != before[i] && before[i] != "1" {
				t.Fatalf("user %d went to node %s, and before to %s; 1 is ejected", i, id, before[i])
			}
		}
	})
}

func TestHashByLeavesANodeThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, _ := settled(t, 3)
		stuck := servedBy(t, set, "header:X-User", http.Header{"X-User": {"me"}})
		call := upstream.Call{Policy: &upstream.Policy{HashBy: "header:X-User"}, Header: http.Header{"X-User": {"me"}}, Idempotent: true}
		for i := range 10 {
			err := set.Do(t.Context(), call, only(stuck, hang))
			if err != nil {
				t.Errorf("request %d of a user on a stuck node = %v", i, err)
			}
		}
		if got := servedBy(t, set, "header:X-User", call.Header); got == stuck {
			t.Errorf("the user stays on node %s, which is stuck", got)
		}
	})
}

func TestHashByLeavesANodeThatIsStuckAndNotEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, f := beleaguered(t)
		user := 0
		for servedBy(t, set, "header:X-User", http.Header{"X-User": {strconv.Itoa(user)}}) != "2" {
			user++
		}
		call := upstream.Call{Policy: &upstream.Policy{HashBy: "header:X-User"}, Header: http.Header{"X-User": {strconv.Itoa(user)}}}
		before := f.count("2")
		var wg sync.WaitGroup
		for range 80 {
			wg.Go(func() { _ = set.Do(t.Context(), call, f.attempt) })
			time.Sleep(10 * ms)
		}
		if got := f.count("2") - before; got > 12 { // in 100 ms
			t.Errorf("a stuck node got %d of 80 requests of its user, want no more than in 100ms", got)
		}
		wg.Wait()
	})
}

func TestHashBy(t *testing.T) {
	tests := []struct {
		name, by string
		header   http.Header
		kept     bool
	}{
		{"header", "header:X-User", http.Header{"X-User": {"a"}}, true},
		{"header in small letters", "header:x-user", http.Header{"X-User": {"a"}}, true},
		{"no header", "header:X-User", nil, false},
		{"empty header", "header:X-User", http.Header{"X-User": {""}}, false},
		{"cookie", "cookie:session", http.Header{"Cookie": {"session=a"}}, true},
		{"cookie among others", "cookie:session", http.Header{"Cookie": {"a=b; session=a;c=d"}}, true},
		{"cookie in a second line", "cookie:session", http.Header{"Cookie": {"a=b", "session=a"}}, true},
		{"another cookie", "cookie:session", http.Header{"Cookie": {"mysession=a; Session=b; session"}}, false},
		{"empty cookie", "cookie:session", http.Header{"Cookie": {"session="}}, false},
		{"no cookie", "cookie:session", http.Header{"Cookie": {";;"}}, false},
		{"no kind", "session", http.Header{"Session": {"a"}}, false},
		{"unknown kind", "query:session", http.Header{"Session": {"a"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := greeters(4)
			ids := make(map[string]bool)
			for range 100 {
				ids[servedBy(t, set, tt.by, tt.header)] = true
			}
			if (len(ids) == 1) != tt.kept {
				t.Errorf("100 requests went to %d nodes, want one: %t", len(ids), tt.kept)
			}
		})
	}
}

func FuzzCookie(f *testing.F) {
	f.Add("session=a; b=c", "session")
	f.Add("a=b;;=;session", "a")
	f.Fuzz(func(t *testing.T, line, name string) {
		set := greeters(3)
		h := http.Header{"Cookie": {line}}
		if servedBy(t, set, "cookie:"+name, h) == "" {
			t.Fatal("no node")
		}
		cookies, err := http.ParseCookie(line)
		if err != nil || name == "" {
			return
		}
		for _, c := range cookies { // what the library finds is found: the first of a name
			if c.Name != name {
				continue
			}
			if c.Value == "" || c.Quoted {
				return
			}
			plain := http.Header{"Cookie": {name + "=" + c.Value}}
			if a, b := servedBy(t, set, "cookie:"+name, h), servedBy(t, set, "cookie:"+name, plain); a != b {
				t.Fatalf("cookie %q of %q leads to node %s, alone to %s", name, line, a, b)
			}
			return
		}
	})
}
