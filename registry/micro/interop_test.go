package micro_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	conns "github.com/goapi-dev/goapi/nats"
	"github.com/goapi-dev/goapi/registry"
	"github.com/goapi-dev/goapi/registry/registrytest"
)

// What go-micro sends and expects, as it was captured.

const (
	subjectQuery = "micro.nats.query"
	subjectWatch = "micro.nats.watch"
)

// captured returns the payloads of a capture that were sent to a subject.
func captured(t testing.TB, file, subject string) [][]byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var payloads [][]byte
	lines := bytes.Split(data, []byte("\n"))
	for i, line := range lines {
		fields := strings.Fields(string(line))
		if len(fields) > 2 && (fields[0] == "PUB" || fields[0] == "MSG") && strings.HasPrefix(fields[1], subject) {
			payloads = append(payloads, bytes.TrimRight(lines[i+1], "\r"))
		}
	}
	if len(payloads) == 0 {
		t.Fatalf("%s holds nothing for %s", file, subject)
	}
	return payloads
}

// TestAnswersGoMicro asks as clients of go-micro do.
func TestAnswersGoMicro(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr() + brief
	services := captured(t, "query.txt", "_INBOX")[1:3] // the answers to "list"
	r := open(t, address, nil)
	for _, data := range services {
		var s registry.Service
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		registrytest.Register(t, r, &s, time.Minute)
	}
	questions := append(captured(t, "query.txt", subjectQuery), captured(t, "register-get-deregister.txt", subjectQuery)...)
	want := [][][]byte{services[:1], services, services, nil, services[:1]} // get, list, list, get of another, get
	if len(questions) != len(want) {
		t.Fatalf("%d questions were captured, want %d", len(questions), len(want))
	}
	nc := connect(t, address)
	for i, question := range questions {
		t.Run(string(question), func(t *testing.T) {
			got := ask(t, nc, question, len(want[i]))
			if len(got) != len(want[i]) {
				t.Fatalf("%d answers, want %d", len(got), len(want[i]))
			}
			for _, data := range want[i] {
				if !containsJSON(t, got, data) {
					t.Errorf("the answers are\n%s, want one of them to be\n%s", bytes.Join(got, []byte("\n")), data)
				}
			}
		})
	}
}

// TestTellsGoMicro holds what is told of changes to what go-micro tells.
func TestTellsGoMicro(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr() + brief
	told := captured(t, "register-get-deregister.txt", subjectWatch)
	var change struct{ Service registry.Service }
	if err := json.Unmarshal(told[0], &change); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, address)
	sub, err := nc.SubscribeSync(subjectWatch)
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	r := open(t, address, nil)
	registrytest.Register(t, r, &change.Service, time.Minute)
	registrytest.Register(t, r, &change.Service, time.Minute)
	if err := r.Deregister(t.Context(), &registry.Service{Name: change.Service.Name, Nodes: change.Service.Nodes}); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]byte{told[0], told[0], told[1]} {
		m, err := sub.NextMsgWithContext(bound(t, deadline))
		if err != nil {
			t.Fatal(err)
		}
		if !equalJSON(t, m.Data, want) {
			t.Errorf("change %d is\n%s, want\n%s", i, m.Data, want)
		}
	}
}

// TestFollowsGoMicro finds a provider that says, byte for byte, what one of
// go-micro says, follows it, and loses it.
func TestFollowsGoMicro(t *testing.T) {
	address := "nats+micro://" + start(t, &conns.ServerOptions{Address: "127.0.0.1:0"}).Addr()
	answers := captured(t, "query.txt", "_INBOX")[1:3]
	told := captured(t, "register-get-deregister.txt", subjectWatch)
	const one, two, other = "greetergrpc-26d4caa8-c98d-4ac1-9415-26cd4b56253d", "greeternats-fc0c3e7c-3943-4af7-b7a4-b04bd7068846",
		"tmpnats-be3d3ef1-764c-4afe-bc6a-808e1360ee52"

	kill := provide(t, address, answers...)
	r := open(t, address+brief, nil)
	w := registrytest.Watch(t, r)
	before := w.Await("a state", registrytest.AnyState)
	if !registrytest.HasNodes(one, two)(before) {
		t.Fatalf("the first Next() = %q, want both nodes", nodes(before))
	}
	got, err := r.Get(t.Context(), "greeternats")
	if err != nil || len(got) != 1 {
		t.Fatalf("Get() = %v, %v, want one", got, err)
	}
	if n := got[0]; n.Version != "latest" || len(n.Endpoints) != 9 || n.Nodes[0].Address != "127.0.0.1:19003" || n.Nodes[0].Metadata["protocol"] != "mucp" {
		t.Errorf("Get() = %+v, want what was answered", n)
	}
	nc := connect(t, address)
	publish(t, nc, subjectWatch, told[0])
	after := w.Await("a node that was registered", registrytest.HasNodes(one, two, other))
	if before[0] != after[0] || before[1] != after[1] {
		t.Error("services that did not change are other pointers, want the same")
	}
	publish(t, nc, subjectWatch, told[1])
	w.Await("a node that was deregistered to be gone", registrytest.HasNodes(one, two))

	publish(t, nc, subjectWatch, told[0]) // of a provider that does not answer
	w.Await("a node that was registered", registrytest.HasNodes(one, two, other))
	w.Await("a node whose provider does not answer to be gone", registrytest.HasNodes(one, two))

	kill()
	killed := time.Now()
	w.Await("the nodes of a provider that was killed to be gone", registrytest.HasNodes())
	if took := time.Since(killed); took < 200*time.Millisecond {
		t.Errorf("they were gone after %v, want three questions 80 ms apart at least", took)
	}
}

// provide answers questions as providers of go-micro do, until the test ends or
// it is killed.
func provide(t testing.TB, address string, services ...[]byte) (kill func()) {
	t.Helper()
	nc := connect(t, address)
	names := make([]string, len(services))
	for i, data := range services {
		var s struct{ Name string }
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		names[i] = s.Name
	}
	_, err := nc.Subscribe(subjectQuery, func(m *natsgo.Msg) {
		var q struct {
			Action  string
			Service *struct{ Name string }
		}
		if err := json.Unmarshal(m.Data, &q); err != nil {
			t.Errorf("a question is no JSON: %s", m.Data)
		}
		for i, data := range services {
			if q.Action == "list" || q.Action == "get" && q.Service.Name == names[i] {
				_ = nc.Publish(m.Reply, data)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	return nc.Close
}

// connect opens a connection that is closed when the test ends.
func connect(t testing.TB, address string) *natsgo.Conn {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(address, "nats+micro://"), "?")
	nc, err := natsgo.Connect("nats://"+host, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond), natsgo.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func flush(t testing.TB, nc *natsgo.Conn) {
	t.Helper()
	if err := nc.FlushWithContext(bound(t, deadline)); err != nil {
		t.Fatal(err)
	}
}

func publish(t testing.TB, nc *natsgo.Conn, subject string, data []byte) {
	t.Helper()
	if err := nc.Publish(subject, data); err != nil {
		t.Fatal(err)
	}
}

// ask returns the answers to a question: as many as are expected, and those that
// come within 100 ms, which is how long go-micro waits.
func ask(t testing.TB, nc *natsgo.Conn, question []byte, expected int) [][]byte {
	t.Helper()
	inbox := natsgo.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err == nil {
		err = nc.PublishRequest(subjectQuery, inbox, question)
	}
	if err != nil {
		t.Fatal(err)
	}
	var answers [][]byte
	for {
		wait := deadline
		if len(answers) >= expected {
			wait = 100 * time.Millisecond
		}
		m, err := sub.NextMsg(wait)
		if errors.Is(err, natsgo.ErrTimeout) {
			return answers
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, m.Data)
	}
}

func containsJSON(t testing.TB, list [][]byte, want []byte) bool {
	for _, data := range list {
		if equalJSON(t, data, want) {
			return true
		}
	}
	return false
}

// equalJSON says whether two texts are the same, but for the order of keys.
func equalJSON(t testing.TB, a, b []byte) bool {
	t.Helper()
	var one, other any
	if err := errors.Join(json.Unmarshal(a, &one), json.Unmarshal(b, &other)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(one, other)
}
