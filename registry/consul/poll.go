package consul

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/goapi-dev/goapi/registry"
)

const (
	// leastPace is the least time from one question of a poll to the next, and
	// perByte what is added to it for the size of the answer: a catalog that
	// is large and never at rest must keep neither the agent nor us busy.
	leastPace = 5 * time.Millisecond
	perByte   = 300 * time.Nanosecond
	// patience is how many times as long a poll waits that nobody is in need of.
	patience = 4
)

// What a watcher asks without end.
const (
	// pollBell tells of the checks that do not pass, and comes whenever any
	// check changes. It is small, and so at once.
	pollBell = iota
	// pollNames tells of all services by name, with their tags, and comes
	// whenever anything that is registered changes.
	pollNames
	// pollChecks tells of all checks. It holds the tags of each service, and is
	// asked when the bell has rung.
	pollChecks
	polls
)

// A poll is a question that is asked again whenever it was answered.
type poll struct {
	question

	id   int
	read func([]byte) (view, error)
	// wanted says when to ask; nil for one that blocks at the agent.
	wanted *wanted
}

// wanted says when a question is to be asked.
type wanted struct {
	now   chan struct{} // holds one token when there is need of an answer
	later chan struct{} // holds one token when there may be news in it
}

// newPolls returns the questions of a watcher: as many for ten thousand
// services as for one. That of all checks is asked when it is wanted.
func newPolls(checks *wanted) [polls]poll {
	return [polls]poll{
		{
			question: question{
				path: pathChecks, filter: `Status != "passing"`,
				wait: 10 * time.Second, // bounds how long an agent is believed that is silent
			},
			id: pollBell, read: readChecks,
		},
		{question: question{path: pathNames, wait: 5 * time.Minute}, id: pollNames, read: readNames},
		{question: question{path: pathChecks}, id: pollChecks, read: readChecks, wanted: checks},
	}
}

// An answer is what came of a poll.
type answer struct {
	poll  int
	view  view
	index uint64
	// reset says that the index went backwards: what was told before is no
	// ground to compare with.
	reset bool
	err   error // the last of a poll
}

// run asks until ctx is done or the agent fails, and hands on what is news.
func (p poll) run(ctx context.Context, a *agent, answers chan<- answer) {
	for last := uint64(0); ctx.Err() == nil; {
		begun := time.Now()
		next, size := p.once(ctx, a, last)
		if next.index != last || next.err != nil {
			select {
			case answers <- next:
			case <-ctx.Done():
				return
			}
		}
		if next.err != nil {
			return
		}
		last = next.index
		if p.wanted == nil {
			p.index = last
		}
		if next.reset {
			p.index = 0
		}
		p.rest(ctx, begun, time.Duration(size)*perByte)
	}
}

// rest waits after an answer that is worth some time, and longer while nobody
// is in need of the next.
func (p poll) rest(ctx context.Context, begun time.Time, worth time.Duration) {
	sleep(ctx, time.Until(begun.Add(leastPace+worth)))
	if p.wanted == nil {
		sleep(ctx, time.Until(begun.Add(patience*worth)))
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-p.wanted.now:
		return
	case <-p.wanted.later:
	}
	timer := time.NewTimer(patience * worth)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-p.wanted.now:
	case <-timer.C:
	}
}

// once asks once, after an answer of the index last. It returns also how large
// the answer was.
func (p poll) once(ctx context.Context, a *agent, last uint64) (answer, int) {
	data, index, err := a.ask(ctx, p.question)
	next := answer{poll: p.id, index: index, reset: index < last, err: err}
	if next.err == nil && index != last {
		next.view, next.err = p.read(data)
	}
	return next, len(data)
}

// sleep waits, and no longer than ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// A view is what an answer tells of things: enough to see which of them are
// new, gone or others.
type view map[string]thing

// A thing belongs to a service, or to all that are on a node of Consul's.
type thing struct {
	service string
	node    string
	mark    uint64 // of its content
}

// diff calls yield for what is in one of two views only, or differs.
func (v view) diff(old view, yield func(thing)) {
	for key, t := range v {
		if before, ok := old[key]; !ok || before != t {
			yield(t)
		}
	}
	for key, t := range old {
		if _, ok := v[key]; !ok {
			yield(t)
		}
	}
}

// readChecks returns the checks of an answer.
func readChecks(data []byte) (view, error) {
	var checks []struct {
		Node        string
		CheckID     string
		ServiceName string
		ModifyIndex uint64
	}
	if err := json.Unmarshal(data, &checks); err != nil {
		return nil, fmt.Errorf("%w: the checks of Consul are not understood: %w", registry.ErrUnavailable, err)
	}
	v := make(view, len(checks))
	for _, c := range checks {
		v[c.Node+"\x00"+c.CheckID] = thing{c.ServiceName, c.Node, c.ModifyIndex}
	}
	return v, nil
}

// readNames returns the services of an answer.
func readNames(data []byte) (view, error) {
	var names map[string]tagSum
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("%w: the services of Consul are not understood: %w", registry.ErrUnavailable, err)
	}
	delete(names, ownService)
	v := make(view, len(names))
	for name, sum := range names {
		v[name] = thing{service: name, mark: uint64(sum)}
	}
	return v, nil
}

// A tagSum stands for a list of tags in any order.
type tagSum uint64

// UnmarshalJSON implements [json.Unmarshaler]. It need not know where one tag
// ends: the same tags have the same parts.
func (s *tagSum) UnmarshalJSON(data []byte) error {
	for part := range bytes.SplitSeq(bytes.Trim(data, "[] \t\r\n"), []byte(",")) {
		sum := sha256.Sum256(bytes.TrimSpace(part))
		*s += tagSum(binary.LittleEndian.Uint64(sum[:]))
	}
	return nil
}
